//! What an analysis says. The names of the fields are those that the page, the JSON report and the command line use.

pub use cloister_catalogue::Severity;
pub use cloister_source::{NoticeKind, Position, Range, UnitKind};

use serde::{Deserialize, Serialize};

/// One text to analyse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its name or path, with `/` between folders; for reports only. Names are unique within an analysis.
    pub name: String,
    /// Its content.
    pub text: String,
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
