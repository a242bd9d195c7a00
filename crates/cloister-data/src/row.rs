//! The pairs in the study's form: Instruction, Input, Output.

use crate::{DataError, Dataset, Split, split::assign, weak_lines};
use serde::{Deserialize, Serialize};

/// The one instruction of all rows.
pub const INSTRUCTION: &str = "Name the CWE weakness of this Python code.";

/// The answer for code without a weakness.
pub const NO_WEAKNESS: &str = "none";

/// One example.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Unique name.
    pub id: String,
    /// The group that no split divides.
    pub group: String,
    /// The part of the data that the group belongs to.
    pub split: Split,
    /// What is asked, the same for all rows.
    pub instruction: String,
    /// The code.
    pub input: String,
    /// The answer: a CWE id or "none".
    pub output: String,
    /// Other answers that would be right too.
    pub also: Vec<String>,
    /// 1-based lines of the input that carry the weakness; empty where there is none.
    pub lines: Vec<u32>,
    /// The kind of program.
    pub style: String,
    /// One sentence on what is wrong, or on why nothing is.
    pub description: String,
    /// One sentence on the remedy; for a fixed half, what the fix did.
    pub remedy: String,
}

/// The number of the batch that a group was written in: 2 for `cwe-089-b2-01`, 1 for `cwe-089-01`.
///
/// Each batch is divided by itself, so that a later one moves no group that a model has learned from into the test
/// split.
pub fn batch(group: &str) -> u32 {
    let part = group.rsplit('-').nth(1).and_then(|part| part.strip_prefix('b'));
    part.and_then(|number| number.parse().ok()).unwrap_or(1)
}

/// A row each for the weak and the fixed half of every pair, then the safe snippets.
///
/// # Errors
/// [`DataError::Entry`] where a weak line cannot be found.
pub fn rows(dataset: &Dataset) -> Result<Vec<Row>, DataError> {
    let splits = assign(
        (dataset.pairs.iter().map(|pair| ((pair.cwe.as_str(), batch(&pair.id)), pair.id.as_str())))
            .chain(dataset.safe.iter().map(|snippet| ((NO_WEAKNESS, batch(&snippet.id)), snippet.id.as_str()))),
    );
    let mut rows = Vec::new();
    for pair in &dataset.pairs {
        let weak = Row {
            id: format!("{}-vulnerable", pair.id),
            group: pair.id.clone(),
            split: splits[&pair.id],
            instruction: INSTRUCTION.into(),
            input: pair.vulnerable.clone(),
            output: pair.cwe.clone(),
            also: pair.also.clone(),
            lines: weak_lines(pair)?,
            style: pair.style.clone(),
            description: pair.description.clone(),
            remedy: pair.remedy.clone(),
        };
        let fixed = Row {
            id: format!("{}-fixed", pair.id),
            input: pair.fixed.clone(),
            output: NO_WEAKNESS.into(),
            also: Vec::new(),
            lines: Vec::new(),
            ..weak.clone()
        };
        rows.extend([weak, fixed]);
    }
    rows.extend(dataset.safe.iter().map(|snippet| Row {
        id: snippet.id.clone(),
        group: snippet.id.clone(),
        split: splits[&snippet.id],
        instruction: INSTRUCTION.into(),
        input: snippet.code.clone(),
        output: NO_WEAKNESS.into(),
        also: Vec::new(),
        lines: Vec::new(),
        style: snippet.style.clone(),
        description: snippet.description.clone(),
        remedy: String::new(),
    }));
    Ok(rows)
}
