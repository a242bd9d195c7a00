//! The blind reading: what a second reader made of single halves, without author, class or twin in sight.

use crate::{DataError, Dataset, NO_WEAKNESS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The half of a pair that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// The weak one.
    Vulnerable,
    /// The mended one.
    Fixed,
}

/// One line of `blind.jsonl`: an answer as it was given, before the pair was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlindAnswer {
    /// The pair's id.
    pub group: String,
    /// Which half was read.
    pub half: Half,
    /// The CWE that the reader saw, or `none`.
    pub answer: String,
    /// What came of a disagreement on weak or safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
}

impl BlindAnswer {
    /// Whether reader and author agree that there is a weakness, or that there is none.
    pub fn agrees(&self) -> bool {
        (self.answer != NO_WEAKNESS) == (self.half == Half::Vulnerable)
    }
}

/// How far reader and authors agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreement {
    /// Halves read.
    pub read: usize,
    /// Of these: weak or safe as the author has it.
    pub verdict: usize,
    /// Weak halves that the reader called weak.
    pub weak: usize,
    /// Of these: with the pair's class, or one that the pair lists as right too.
    pub class: usize,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "blind reading: {} of {} halves judged as their author does, the class of {} of {}",
            self.verdict, self.read, self.class, self.weak
        )
    }
}

/// Reads `blind.jsonl` below the data set's folder.
///
/// # Errors
/// [`DataError::Read`] or [`DataError::Format`].
pub fn read_blind(root: &Path) -> Result<Vec<BlindAnswer>, DataError> {
    let path = root.join("blind.jsonl");
    let text = std::fs::read_to_string(&path).map_err(|source| DataError::Read { path: path.clone(), source })?;
    let parse = |line| serde_json::from_str(line);
    text.lines()
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(|error| DataError::Format { path, reason: error.to_string() })
}

/// Compares answers with the data set.
///
/// # Errors
/// [`DataError::Entry`] for an answer on a pair that is not there, and for a disagreement that is not settled.
pub fn agreement(dataset: &Dataset, answers: &[BlindAnswer]) -> Result<Agreement, DataError> {
    let pairs: BTreeMap<&str, _> = dataset.pairs.iter().map(|pair| (pair.id.as_str(), pair)).collect();
    let mut sum = Agreement::default();
    for answer in answers {
        let fault = |reason: &str| DataError::Entry { id: answer.group.clone(), reason: reason.into() };
        let cwe = |text: &str| text.strip_prefix("CWE-").is_some_and(|number| number.parse::<u32>().is_ok());
        if answer.answer != NO_WEAKNESS && !cwe(&answer.answer) {
            return Err(fault("the blind reading's answer is neither a CWE id nor `none`"));
        }
        let pair =
            pairs.get(answer.group.as_str()).ok_or_else(|| fault("the blind reading names it, but no pair is"))?;
        if !answer.agrees() && answer.settled.is_none() {
            return Err(fault("the blind reading disagrees, and nothing says what came of it"));
        }
        sum.read += 1;
        sum.verdict += usize::from(answer.agrees());
        if answer.agrees() && answer.half == Half::Vulnerable {
            sum.weak += 1;
            sum.class += usize::from(answer.answer == pair.cwe || pair.also.contains(&answer.answer));
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pair;

    fn answer(json: serde_json::Value) -> BlindAnswer {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn answers_are_counted_and_loose_ends_refused() {
        let text = "id='p'\ncwe='CWE-89'\nalso=['CWE-943']\nstyle='s'\ndescription='d'\nremedy='r'\nweak=['x']\nvulnerable='x'\nfixed='y'\n";
        let pair: Pair = toml::from_str(text).unwrap();
        let dataset = Dataset { pairs: vec![pair], ..Dataset::default() };
        let count = |json| agreement(&dataset, &[answer(json)]);
        let made = |read, verdict, weak, class| Agreement { read, verdict, weak, class };
        let weak = |cwe: &str| serde_json::json!({"group": "p", "half": "vulnerable", "answer": cwe});
        assert_eq!(count(weak("CWE-943")).unwrap(), made(1, 1, 1, 1));
        assert_eq!(count(weak("CWE-79")).unwrap(), made(1, 1, 1, 0));
        assert!(count(weak("none")).unwrap_err().to_string().contains("what came of it"));
        assert!(count(weak("None")).unwrap_err().to_string().contains("neither"));
        let settled = serde_json::json!({"group": "p", "half": "fixed", "answer": "CWE-89", "settled": "mended"});
        assert_eq!(count(settled).unwrap(), made(1, 0, 0, 0));
        let other = serde_json::json!({"group": "q", "half": "fixed", "answer": "none"});
        assert!(count(other).unwrap_err().to_string().contains("no pair"));
    }
}
