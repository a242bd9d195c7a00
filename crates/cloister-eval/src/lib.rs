//! How good predictions are: metrics on labelled rows, each with a 95% interval.
//!
//! Rows and predictions are JSON Lines ([`read_rows`], [`read_predictions`]). [`evaluate`] joins them by id and counts
//! per group, so that a weak row and its fixed twin are never torn apart by the bootstrap. Which CWE ids are close
//! enough to count as one family is the caller's to say.
//!
//! ```
//! use cloister_eval::{Metric, Options, evaluate, read_predictions, read_rows};
//!
//! let rows = r#"{"id": "a", "source": "demo", "code": "eval(x)", "cwe": "CWE-95", "safe": false, "line": 1, "group": "g"}"#;
//! let predictions = r#"{"id": "a", "vulnerable": true, "findings": [
//!     {"cwe": "CWE-94", "line": 1, "end_line": 1, "confidence": 0.8}], "scores": {"CWE-94": 0.8}}"#.replace('\n', "");
//! let rows = read_rows(rows.as_bytes())?;
//! let predictions = read_predictions(predictions.as_bytes())?;
//! let injection = |a: &str, b: &str| ["CWE-94", "CWE-95"].contains(&a) && ["CWE-94", "CWE-95"].contains(&b);
//! let evaluation = evaluate(&rows, &predictions, injection, &Options::default())?;
//! assert_eq!(evaluation.overall.value(Metric::ExactAny), Some(0.0));
//! assert_eq!(evaluation.overall.value(Metric::FamilyAny), Some(1.0));
//! assert_eq!(evaluation.overall.value(Metric::FalsePositiveRate), None);
//! # Ok::<(), cloister_eval::EvalError>(())
//! ```

mod bootstrap;
mod counts;
mod error;
mod evaluation;
mod interval;
mod join;
mod jsonl;
mod metric;
mod prediction;
mod render;
mod row;
mod table;

pub use bootstrap::Options;
pub use error::EvalError;
pub use evaluation::{CweSummary, Evaluation, Measure, Summary, evaluate};
pub use interval::{Interval, wilson};
pub use jsonl::{Record, read_predictions, read_rows, records};
pub use metric::Metric;
pub use prediction::{Finding, Prediction};
pub use row::Row;
