//! What the reader of the findings must know about the text itself.

use serde::{Deserialize, Serialize};

use crate::outline::{Outline, SyntaxFault};
use crate::text::{Range, SourceText};

/// The kinds of [`Notice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// A part of the text is not valid Python.
    SyntaxError,
    /// The text is something else than Python; it was not checked.
    NotPython,
    /// The text holds no code to check.
    Empty,
    /// A part of the text passed a limit and was not checked.
    Truncated,
    /// The text holds control characters.
    ControlCharacters,
    /// The text holds characters that change the direction of the text or cannot be seen.
    BidiCharacters,
    /// The text holds characters that stand where something could not be decoded.
    LoneSurrogate,
}

impl NoticeKind {
    /// The name, as it stands in every format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SyntaxError => "syntax-error",
            Self::NotPython => "not-python",
            Self::Empty => "empty",
            Self::Truncated => "truncated",
            Self::ControlCharacters => "control-characters",
            Self::BidiCharacters => "bidi-characters",
            Self::LoneSurrogate => "lone-surrogate",
        }
    }
}

/// One remark about a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The kind.
    pub kind: NoticeKind,
    /// A sentence for the user. It may quote nothing from the text.
    pub message: String,
    /// Where, if it has one place.
    pub range: Option<Range>,
}

impl Notice {
    pub(crate) fn new(kind: NoticeKind, message: impl Into<String>, range: Option<Range>) -> Self {
        Self { kind, message: message.into(), range }
    }
}

/// The first syntax errors one by one, the rest as a number; statements of Python 2 as one remark.
pub(crate) fn syntax_notices(source: &SourceText<'_>, outline: &Outline, most: usize) -> Vec<Notice> {
    let mut notices = Vec::new();
    let (legacy, faults): (Vec<&SyntaxFault>, Vec<&SyntaxFault>) =
        outline.faults.iter().partition(|fault| fault.legacy);
    if let Some(first) = legacy.first() {
        let range = source.range(first.bytes.clone());
        let message = format!(
            "Line {} and {} more use Python 2 syntax: the text was read as far as Python 3 allows, so findings there may be \
             missing. Convert it to Python 3 to be sure.",
            range.start.line,
            legacy.len() - 1
        );
        notices.push(Notice::new(NoticeKind::SyntaxError, message, Some(range)));
    }
    for fault in faults.iter().take(most) {
        let range = source.range(fault.bytes.clone());
        let message = format!(
            "Line {}: {}. The rest of the text was checked; correct this line to have its unit checked in full.",
            range.start.line,
            fault.message.trim_end_matches('.')
        );
        notices.push(Notice::new(NoticeKind::SyntaxError, message, Some(range)));
    }
    if let Some(next) = faults.get(most) {
        let message = format!("There are {} more syntax errors: correct the first ones first.", faults.len() - most);
        notices.push(Notice::new(NoticeKind::SyntaxError, message, Some(source.range(next.bytes.clone()))));
    }
    notices
}
