//! Labelled code.

use crate::Record;
use serde::{Deserialize, Serialize};

/// A labelled piece of Python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Unique name.
    pub id: String,
    /// The set that it comes from.
    pub source: String,
    /// The code.
    pub code: String,
    /// The weakness, as in "CWE-89". Not read where `safe`.
    #[serde(default)]
    pub cwe: Option<String>,
    /// Whether the weakness of the group is absent.
    pub safe: bool,
    /// The line that carries the weakness, from 1, where it is known. Not read where `safe`.
    #[serde(default)]
    pub line: Option<u32>,
    /// What belongs together: a weak row and its fixed twins share it.
    pub group: String,
    /// What groups come from: those of one template are not independent of each other, so intervals draw them together. A
    /// group of its own where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

impl Record for Row {
    fn id(&self) -> &str {
        &self.id
    }

    fn check(&self) -> Result<(), String> {
        match &self.cwe {
            _ if self.safe => return Ok(()),
            None => return Err("`cwe` is missing although `safe` is false".into()),
            Some(cwe) => check_cwe("cwe", cwe)?,
        }
        if self.line == Some(0) { Err("`line` is 0 where lines count from 1".into()) } else { Ok(()) }
    }
}

/// The weakness of a row that has one.
pub(crate) fn weakness(row: &Row) -> Option<&str> {
    if row.safe { None } else { row.cwe.as_deref() }
}

/// The number of a CWE id; `None` where the id is not written like "CWE-89".
pub(crate) fn cwe_number(cwe: &str) -> Option<u32> {
    let digits = cwe.strip_prefix("CWE-")?;
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// Ids are compared as text, so only one way of writing them is let in.
pub(crate) fn check_cwe(field: &str, cwe: &str) -> Result<(), String> {
    match cwe_number(cwe) {
        Some(_) => Ok(()),
        None => Err(format!("`{field}` has `{cwe}` where an id is written like CWE-89")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_way_of_writing() {
        assert_eq!(cwe_number("CWE-89"), Some(89));
        for wrong in ["CWE-", "CWE-089", "cwe-89", "89", "CWE-8 9", "CWE-+9", "none", "CWE-99999999999"] {
            assert_eq!(cwe_number(wrong), None, "{wrong}");
        }
    }
}
