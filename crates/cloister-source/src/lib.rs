//! From Python text to what the model reads.
//!
//! [`analyse_source`] parses a text, tolerating errors, and returns its [`Unit`]s: every function, every method, the
//! statements of a class body, and the code at module level. A unit holds code only. Comments and docstrings are
//! taken out, so that no remark in the text can talk the model round, and characters that cannot be seen are shown as
//! escapes. Each line keeps its number in the file.
//!
//! [`windows`] cuts a unit into pieces that fit the model's context. [`SourceText`] converts between byte offsets,
//! UTF-16 offsets, and lines and columns.
//!
//! Nothing here fails: whatever is wrong with a text becomes a [`Notice`] beside the units that could be read.
//!
//! ```
//! use cloister_source::{Limits, analyse_source};
//!
//! let text = "import os\n\ndef run(cmd):\n    # harmless, honest\n    return os.system(cmd)\n";
//! let parsed = analyse_source(text, &Limits::default());
//! let unit = &parsed.units[0];
//! assert_eq!(unit.name, "run");
//! assert_eq!(unit.context[0].line.text, "import os");
//! assert_eq!(unit.lines.last().map(|line| (line.number, line.text.as_str())), Some((5, "    return os.system(cmd)")));
//! ```

mod characters;
mod context;
mod language;
mod layout;
mod lines;
mod names;
mod nesting;
mod notice;
mod outline;
mod reader;
mod text;
mod unit;
mod units;
mod windows;

pub use characters::visible;
pub use notice::{Notice, NoticeKind};
pub use text::{Position, Range, SourceText};
pub use unit::{ContextLine, ContextRole, MODULE_UNIT, Unit, UnitKind, UnitLine};
pub use windows::{Rendered, RenderedLine, Window, WindowOptions, Windows, windows};

use language::Verdict;

/// Bounds on the work that one text may cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text that are read; what follows the last whole line within them is left out with a notice.
    pub max_bytes: usize,
    /// Units that are returned; further ones are left out with a notice.
    pub max_units: usize,
    /// Syntax errors that are named one by one; further ones are only counted.
    pub max_syntax_notices: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 2 << 20, max_units: 20_000, max_syntax_notices: 5 }
    }
}

/// What was read from one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedSource {
    /// The units in the order of their first lines.
    pub units: Vec<Unit>,
    /// What the reader of the findings must know about the text.
    pub notices: Vec<Notice>,
}

/// Reads `text` as Python and returns its units.
///
/// Never fails and never recurses deeper than the nesting that CPython itself accepts. Syntax errors are tolerated:
/// the units that could be parsed are returned, each error is a notice. A text that is not Python at all gives one
/// notice and no units.
pub fn analyse_source(text: &str, limits: &Limits) -> ParsedSource {
    let source = SourceText::new(text);
    let mut notices = Vec::new();
    let end = readable_end(&source, limits, &mut notices);
    let text = &text[..end];
    if text.chars().all(|character| character.is_whitespace() || character == '\u{feff}') {
        notices.push(Notice::new(NoticeKind::Empty, "There is no code here: paste or open some Python.", None));
        return ParsedSource { units: Vec::new(), notices };
    }
    if language::is_binary(text) {
        let message = "This is not text but binary data: open a Python source file instead.";
        return ParsedSource { units: Vec::new(), notices: vec![Notice::new(NoticeKind::NotPython, message, None)] };
    }
    notices.extend(characters::notices(&source, text));

    let (parseable, left_out) = nesting::make_parseable(text);
    let outline = outline::Outline::parse(&parseable, &left_out);
    if let Verdict::NotPython(message) = language::judge(&source, &outline) {
        notices.push(Notice::new(NoticeKind::NotPython, message, None));
        return ParsedSource { units: Vec::new(), notices };
    }
    notices.extend(left_out.notice(&source));
    notices.extend(notice::syntax_notices(&source, &outline, limits.max_syntax_notices));

    let mut units = units::extract(&source, text, &outline);
    let is_explained = |notice: &Notice| matches!(notice.kind, NoticeKind::Truncated | NoticeKind::SyntaxError);
    if units.is_empty() && !notices.iter().any(is_explained) {
        let message = "There is nothing to check here: the text holds only comments, imports and the like.";
        notices.push(Notice::new(NoticeKind::Empty, message, None));
    }
    if units.len() > limits.max_units {
        let message = format!(
            "The text holds {} functions and other units; the first {} were checked. Split the file to check the rest.",
            units.len(),
            limits.max_units
        );
        units.truncate(limits.max_units);
        notices.push(Notice::new(NoticeKind::Truncated, message, None));
    }
    ParsedSource { units, notices }
}

/// Where the readable part of the text ends: after a whole line where the text is longer than the limit.
fn readable_end(source: &SourceText<'_>, limits: &Limits, notices: &mut Vec<Notice>) -> usize {
    let text = source.text();
    if text.len() <= limits.max_bytes {
        return text.len();
    }
    let mut end = limits.max_bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // A first line that alone passes the limit is cut inside: nothing better is left to do.
    if let Some(start) = source.line_bytes(source.line_of(end)).map(|line| line.start).filter(|start| *start > 0) {
        end = start;
    }
    let message = format!(
        "The text is {} bytes long; the first {end} bytes were checked. Split the file to check the rest.",
        text.len()
    );
    notices.push(Notice::new(NoticeKind::Truncated, message, Some(source.range(end..text.len()))));
    end
}
