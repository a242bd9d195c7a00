//! Whether a text is Python at all.

use std::collections::HashSet;

use ruff_python_ast::token::TokenKind;

use crate::outline::{EvidenceWeight, Outline};
use crate::text::SourceText;

/// What a text is.
pub(crate) enum Verdict {
    /// Python, perhaps with errors.
    Python,
    /// Something else; a sentence for the user.
    NotPython(&'static str),
}

/// How much of a text is looked at to tell binary data; characters.
const SAMPLE: usize = 8_192;

/// Whether more than a tenth of the first characters cannot be text.
pub(crate) fn is_binary(text: &str) -> bool {
    let mut all = 0;
    let mut odd = 0;
    for character in text.chars().take(SAMPLE) {
        all += 1;
        let is_odd =
            character == '\u{fffd}' || character.is_control() && !matches!(character, '\t' | '\n' | '\r' | '\u{c}');
        odd += usize::from(is_odd);
    }
    // A short snippet with a stray character is still a snippet.
    odd >= 8 && odd * 10 > all
}

/// Judges by the statements that were parsed on lines without errors against the lines with errors.
///
/// The parser tolerates anything, so it finds names and even calls in prose; what it does not find there is a function
/// or class with a body. Without one, the lines in good order must be at least as many as the others.
pub(crate) fn judge(source: &SourceText<'_>, outline: &Outline) -> Verdict {
    let faulty: HashSet<u32> =
        outline.faults.iter().filter(|fault| !fault.legacy).map(|fault| source.line_of(fault.bytes.start)).collect();
    let (mut expressions, mut simple, mut blocks, mut definitions) = (0, 0, 0, 0);
    let mut last_line = 0;
    for evidence in &outline.evidence {
        let line = source.line_of(evidence.start);
        if faulty.contains(&line) || line == last_line {
            continue;
        }
        last_line = line;
        match evidence.weight {
            EvidenceWeight::None => expressions += 1,
            EvidenceWeight::Simple => simple += 1,
            EvidenceWeight::Block => blocks += 1,
            EvidenceWeight::Definition => definitions += 1,
        }
    }
    let sound = simple + blocks + definitions;
    if outline.evidence.is_empty() && faulty.is_empty() {
        // Comments and strings only: Python without code.
        return Verdict::Python;
    }
    if sound == 0 || (definitions == 0 && faulty.len() + terminated_lines(outline) > simple + 2 * blocks) {
        return Verdict::NotPython(explain(source.text(), faulty.is_empty() && expressions > 0));
    }
    Verdict::Python
}

/// Lines that end in a semicolon: allowed in Python, usual elsewhere.
fn terminated_lines(outline: &Outline) -> usize {
    let pairs = outline.tokens.windows(2);
    pairs.filter(|pair| pair[0].kind == TokenKind::Semi && pair[1].kind == TokenKind::Newline).count()
}

fn explain(text: &str, is_valid: bool) -> &'static str {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    if start.starts_with('<') {
        return "This looks like HTML or XML, not Python: Cloister reads Python only.";
    }
    if start.starts_with(['{', '[']) && start.contains(':') {
        return "This looks like JSON or another data file, not Python: Cloister reads Python only.";
    }
    if is_valid {
        return "This holds no Python statement, so there is nothing to check: paste a function or a whole file.";
    }
    "This does not look like Python: most of its lines are no Python statements. Paste Python source code."
}
