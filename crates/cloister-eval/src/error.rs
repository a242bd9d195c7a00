//! What can be wrong with rows and predictions.

/// A fault in the input of an evaluation. Faults found while reading name the line of the file, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The input ended in an error of the system.
    #[error("line {line} cannot be read ({reason}); check the file and its permissions")]
    Read {
        /// The line that was being read.
        line: usize,
        /// The system's reason.
        reason: String,
    },
    /// A line that is not the JSON object expected.
    #[error("line {line}, column {column}: {reason}; put one JSON object with the documented fields on each line")]
    Json {
        /// The line.
        line: usize,
        /// The byte in the line, from 1; 0 where the line as a whole is meant.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// A line that is JSON, with a value that makes no sense.
    #[error("line {line} (`{id}`): {problem}; correct the line, or take it out")]
    Field {
        /// The line.
        line: usize,
        /// The id on the line.
        id: String,
        /// What is wrong with which field.
        problem: String,
    },
    /// An id that stands on two lines of one file.
    #[error("line {line} has the id `{id}` of line {first} again; give every line an id of its own")]
    DuplicateLine {
        /// The second line.
        line: usize,
        /// The first line.
        first: usize,
        /// The id.
        id: String,
    },
    /// A row or a prediction, not read from a file, with a value that makes no sense.
    #[error("`{id}` cannot be evaluated: {problem}; correct it, or leave it out")]
    Invalid {
        /// Its id.
        id: String,
        /// What is wrong with which field.
        problem: String,
    },
    /// Two rows or two predictions, not read from a file, with one id.
    #[error("the id `{id}` stands on more than one of the {what}; give each an id of its own")]
    Duplicate {
        /// "rows" or "predictions".
        what: &'static str,
        /// The id.
        id: String,
    },
    /// Rows that nothing was predicted for. To leave them out in silence would change every figure.
    #[error("{count} rows have no prediction, the first is `{id}`; predict all rows, or take these out")]
    MissingPrediction {
        /// The first such row.
        id: String,
        /// How many there are.
        count: usize,
    },
    /// Predictions for rows that are not there.
    #[error("{count} predictions belong to no row, the first is `{id}`; check that both files are of the same set")]
    UnknownPrediction {
        /// The first such prediction.
        id: String,
        /// How many there are.
        count: usize,
    },
    /// The result could not be written as JSON.
    #[error("the evaluation cannot be written as JSON ({0}); choose the text or the Markdown form")]
    Write(String),
}
