//! The formats and their names.

use crate::ReportError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The formats of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
    /// JSON with every field of the analysis.
    Json,
    /// Markdown, for people.
    Markdown,
    /// Plain text, for terminals.
    Text,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Sarif, Self::Json, Self::Markdown, Self::Text];

    /// The name, which [`Format::from_str`] reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sarif => "sarif",
            Self::Json => "json",
            Self::Markdown => "markdown",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = ReportError;

    fn from_str(name: &str) -> Result<Self, ReportError> {
        let format = Self::ALL.into_iter().find(|format| format.as_str() == name);
        format.ok_or_else(|| ReportError::UnknownFormat(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
        }
        assert_eq!("xml".parse::<Format>(), Err(ReportError::UnknownFormat("xml".into())));
    }
}
