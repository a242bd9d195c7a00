//! The parsed text, reduced to what the units are made of: statements by kind, tokens, errors and what to leave out.

use std::ops;

use ruff_python_ast::token::TokenKind;
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use ruff_text_size::{Ranged, TextRange};

use crate::characters::visible;
use crate::layout::Layout;
use crate::lines::Edit;
use crate::nesting::LeftOut;
use crate::reader::Reader;

/// How far before an error a statement of Python 2 is looked for; bytes.
const LEGACY_REACH: usize = 128;

/// One text, parsed. All offsets are bytes of the text as given.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// The statements at module level.
    pub(crate) statements: Vec<Statement>,
    /// The tokens that carry code, in order.
    pub(crate) tokens: Vec<Token>,
    /// The syntax errors, in order.
    pub(crate) faults: Vec<SyntaxFault>,
    /// Signs that the text is Python, in order.
    pub(crate) evidence: Vec<Evidence>,
    /// How far in the lines stand.
    pub(crate) layout: Layout,
    /// Comments, docstrings and code that nests too deeply: what no unit shows. Sorted and apart from each other.
    pub(crate) hidden: Vec<Edit>,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) bytes: ops::Range<usize>,
}

#[derive(Debug)]
pub(crate) struct SyntaxFault {
    pub(crate) message: String,
    pub(crate) bytes: ops::Range<usize>,
    /// Whether Python 2 accepts it.
    pub(crate) legacy: bool,
}

/// A statement as it occurs in Python and hardly elsewhere.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) start: usize,
    pub(crate) weight: EvidenceWeight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EvidenceWeight {
    /// A plain expression: any JSON file or word is one.
    None,
    /// An import, an assignment, a call or another simple statement.
    Simple,
    /// A block with its body.
    Block,
    /// A function or class with its body.
    Definition,
}

#[derive(Debug)]
pub(crate) struct Statement {
    /// With the decorators.
    pub(crate) bytes: ops::Range<usize>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Function(Definition),
    Class(Definition),
    Import(Import),
    /// An assignment to names only.
    Assign(Vec<String>),
    /// A statement that does nothing: `pass`, `...`, a bare annotation, `__all__ = …`.
    Inert,
    /// A string that stands alone, such as a docstring.
    Text,
    /// A compound statement.
    Block(Block),
    Other,
}

#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    /// The names of a function's parameters.
    pub(crate) parameters: Vec<String>,
    pub(crate) name_start: usize,
    /// Where the first statement of the body starts.
    pub(crate) body_start: usize,
    /// The body of a class; a function's is not taken apart.
    pub(crate) body: Vec<Statement>,
}

#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) suites: Vec<Vec<Statement>>,
    /// Whether it does nothing but choose a suite, as `try` and `if DEBUG` do.
    pub(crate) only_chooses: bool,
}

#[derive(Debug)]
pub(crate) struct Import {
    /// `import ` or `from module import `.
    pub(crate) prefix: String,
    pub(crate) parts: Vec<ImportPart>,
}

#[derive(Debug)]
pub(crate) struct ImportPart {
    /// The name that becomes known; `*` for all.
    pub(crate) name: String,
    /// `name` or `name as other`.
    pub(crate) text: String,
}

impl Outline {
    /// Parses a text that [`make_parseable`](crate::nesting::make_parseable) has returned.
    pub(crate) fn parse(text: &str, left_out: &LeftOut) -> Self {
        let Some(parsed) = parse_unchecked(text, ParseOptions::from(Mode::Module)).try_into_module() else {
            return Self::default();
        };
        let mut outline = Self::default();
        for token in parsed.tokens() {
            let bytes = bytes_of(token.range());
            match token.kind() {
                TokenKind::Comment => outline.hidden.push(Edit { bytes, with: "" }),
                TokenKind::NonLogicalNewline => {}
                kind => outline.tokens.push(Token { kind, bytes }),
            }
        }
        outline.layout = Layout::read(text, &outline.tokens);
        outline.hidden.extend(left_out.edits().map(|(bytes, with)| Edit { bytes, with }));
        let mut outline = Reader::read(outline, parsed.suite());
        outline.evidence.sort_by_key(|evidence| evidence.start);
        outline.hidden = Edit::apart(std::mem::take(&mut outline.hidden));
        let first_code =
            outline.tokens.iter().find(|token| token.kind != TokenKind::Indent).map(|token| token.bytes.start);
        outline.faults = parsed
            .errors()
            .iter()
            .map(|error| SyntaxFault {
                message: visible(&error.error.to_string().replace(['\n', '\r'], " ")),
                bytes: bytes_of(error.location),
                legacy: is_legacy(text, bytes_of(error.location)),
            })
            // A snippet cut from the inside of a class or function is indented as a whole: that is no fault.
            .filter(|fault| {
                first_code.is_none_or(|first| fault.bytes.end > first || fault.message != "Unexpected indentation")
            })
            .collect();
        outline
    }

    /// The tokens that start in the range.
    pub(crate) fn tokens_in(&self, bytes: &ops::Range<usize>) -> &[Token] {
        let first = self.tokens.partition_point(|token| token.bytes.start < bytes.start);
        let end = self.tokens.partition_point(|token| token.bytes.start < bytes.end);
        &self.tokens[first..end.max(first)]
    }

    /// Whether nothing but the ends of a simple statement stands around it. After an error the parser takes the rest of
    /// a line for a statement of its own, as in Python 2's `print "…"`: such a string is part of the code.
    pub(crate) fn stands_alone(&self, bytes: &ops::Range<usize>) -> bool {
        let tokens = &self.tokens;
        let own = tokens.partition_point(|token| token.bytes.start < bytes.start);
        let next = tokens.partition_point(|token| token.bytes.start < bytes.end);
        let before = own.checked_sub(1).and_then(|before| tokens.get(before)).is_none_or(|token| {
            matches!(
                token.kind,
                TokenKind::Newline | TokenKind::Indent | TokenKind::Dedent | TokenKind::Semi | TokenKind::Colon
            )
        });
        before
            && tokens.get(next).is_none_or(|token| {
                matches!(token.kind, TokenKind::Newline | TokenKind::Semi | TokenKind::EndOfFile | TokenKind::Dedent)
            })
    }
}

/// Whether the error lies after `print` or `exec`, or in `raise Error, value`: statements of Python 2.
fn is_legacy(text: &str, fault: ops::Range<usize>) -> bool {
    // Bounded, for a line may be as long as the text and hold an error at every character.
    let reach = text.floor_char_boundary(fault.start.saturating_sub(LEGACY_REACH));
    let before = text.get(reach..fault.start).unwrap_or_default();
    match before.rsplit(['\n', '\r', ';', ':']).next().unwrap_or_default().trim() {
        "print" | "exec" => true,
        "raise" => text.get(fault).is_some_and(|value| value.contains(',')),
        _ => false,
    }
}

pub(crate) fn bytes_of(range: TextRange) -> ops::Range<usize> {
    range.start().to_usize()..range.end().to_usize()
}
