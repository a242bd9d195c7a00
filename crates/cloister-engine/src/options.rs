//! What to report.

use serde::{Deserialize, Serialize};

/// What to report of what was judged.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AnalyzeOptions {
    /// The probability of a weakness from which on a unit is reported, 0 to 1; the package's where `None`.
    pub threshold: Option<f64>,
    /// The CWE ids to report; all where `None`.
    pub cwes: Option<Vec<String>>,
    /// How many classes a [`cloister_report::UnitVerdict`] lists; 3 where `None`.
    pub top: Option<usize>,
}
