//! How bad a class is in general.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad the usual consequence of a class is; how bad a finding is depends on what the code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Helps an attack, or harms little.
    Low,
    /// Harms under conditions.
    Medium,
    /// Harms data or users directly.
    High,
    /// Hands over the system or its data.
    Critical,
}

impl Severity {
    /// All, the mildest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

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

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// SARIF's `security-severity` on its scale of 0 to 10. GitHub reads up to 3.9 as low, 4.0 to 6.9 as medium, 7.0 to 8.9
/// as high, and 9.0 and above as critical; each value lies inside the range of its word.
///
/// | severity | number |
/// |---|---|
/// | low | 3.0 |
/// | medium | 5.5 |
/// | high | 8.0 |
/// | critical | 9.5 |
#[must_use]
pub fn security_severity(severity: Severity) -> f32 {
    match severity {
        Severity::Low => 3.0,
        Severity::Medium => 5.5,
        Severity::High => 8.0,
        Severity::Critical => 9.5,
    }
}
