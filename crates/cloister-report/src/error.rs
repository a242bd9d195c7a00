//! What can go wrong between an analysis and its report.

/// Why a report cannot be written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReportError {
    /// The analysis names a file that was not passed.
    #[error("the analysis speaks of `{file}`, which is not among the files; analyse the files again")]
    UnknownFile {
        /// Its name.
        file: String,
    },
    /// The analysis names a line that the file does not have.
    #[error("the analysis speaks of line {line} of `{file}`, which it does not have; analyse the files again")]
    NoSuchLine {
        /// The file's name.
        file: String,
        /// The line, from 1.
        line: u32,
    },
    /// A number outside 0 to 1, or none at all, where a probability belongs.
    #[error("{value} is given as a probability for `{file}`; analyse the files again, or choose another device")]
    NotAProbability {
        /// The file's name.
        file: String,
        /// The number.
        value: f64,
    },
    /// No such format.
    #[error("`{0}` is no report format; use sarif, json, markdown or text")]
    UnknownFormat(String),
    /// The report cannot be written as JSON.
    #[error("the report cannot be written as JSON ({0}); choose another format")]
    Json(String),
}

impl From<serde_json::Error> for ReportError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}
