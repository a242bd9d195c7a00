//! What an analysis says. The names of the fields are those that the page, the JSON report and the command line use.

use serde::{Deserialize, Serialize};

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in UTF-16 code units.
    pub column: u32,
    /// Offset from the start of the text, in UTF-16 code units.
    pub utf16: u32,
}

/// A stretch of text; `end` is the first place behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Range {
    /// Where it begins.
    pub start: Position,
    /// Where it ends, itself not part of it.
    pub end: Position,
}

/// One text to analyse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its name or path, with `/` between folders; for reports only. Names are unique within an analysis.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// The kinds of unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// A function outside a class.
    Function,
    /// A function of a class.
    Method,
    /// Code at module level.
    Module,
}

/// A stretch of source that the model judges as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitInfo {
    /// Its qualified name, such as `Class.method`.
    pub name: String,
    /// What it is.
    pub kind: UnitKind,
    /// Its place.
    pub range: Range,
}

/// How bad a class of weakness is in general, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Rarely a way in by itself.
    Low,
    /// A way in under conditions.
    Medium,
    /// A way in.
    High,
    /// Full control for whoever finds it.
    Critical,
}

impl Severity {
    /// The name, as it stands in every format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A weakness that the model reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The same for the same file, unit and CWE in every run.
    pub id: String,
    /// The file's name.
    pub file: String,
    /// The CWE id, such as `CWE-89`.
    pub cwe: String,
    /// The name of the class.
    pub name: String,
    /// How bad the class is in general.
    pub severity: Severity,
    /// Calibrated probability, 0 to 1.
    pub confidence: f64,
    /// The unit that has it.
    pub unit: UnitInfo,
    /// Spans the first block of `lines`.
    pub range: Range,
    /// The lines that carry it, from 1, in order.
    pub lines: Vec<u32>,
    /// What is wrong, one paragraph.
    pub problem: String,
    /// What to do, one paragraph.
    pub remedy: String,
    /// Where to read more: addresses.
    pub links: Vec<String>,
}

/// What the model says of one unit, reported or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitVerdict {
    /// The file's name.
    pub file: String,
    /// The unit.
    pub unit: UnitInfo,
    /// Calibrated probability that it has no weakness, 0 to 1.
    pub safe: f64,
    /// The likeliest classes, the likeliest first.
    pub top: Vec<ClassProbability>,
    /// Whether the answer was known from an earlier run on the same text.
    pub cached: bool,
}

/// A class and its probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassProbability {
    /// The CWE id.
    pub cwe: String,
    /// Calibrated probability, 0 to 1.
    pub probability: f64,
}

/// The kinds of [`Notice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// Python with a syntax error; what could be parsed was analysed.
    SyntaxError,
    /// No Python; nothing was analysed.
    NotPython,
    /// Nothing to analyse.
    Empty,
    /// A part was left out because it is too long.
    Truncated,
    /// Characters that no text should hold.
    ControlCharacters,
    /// Characters that are invisible or change the direction of the text.
    BidiCharacters,
    /// Characters that could not be decoded.
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

/// A remark about a file: what whoever reads the findings must know of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The file's name.
    pub file: String,
    /// The kind.
    pub kind: NoticeKind,
    /// For people.
    pub message: String,
    /// Where; `None` where it concerns the whole file.
    pub range: Option<Range>,
}

/// The answer to one run over files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// What was found, by file in the order given, then by place.
    pub findings: Vec<Finding>,
    /// Every unit that was judged.
    pub units: Vec<UnitVerdict>,
    /// Remarks about the files.
    pub notices: Vec<Notice>,
    /// Whether the run was ended before all units were judged.
    pub cancelled: bool,
    /// Wall-clock time in milliseconds.
    pub millis: f64,
    /// Tokens that went through the model.
    pub tokens: usize,
    /// Units for which the model was run.
    pub units_run: usize,
    /// Units whose answers were known.
    pub units_cached: usize,
}

/// Which model gave the answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The package's id.
    pub id: String,
    /// SHA-256 of the package, in hexadecimal.
    pub hash: String,
}
