//! What a model says of a row.

use crate::{Record, row::check_cwe};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The answer for one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The id of the row.
    pub id: String,
    /// Whether the row is flagged. Where it is not, its findings count for nothing but the probability.
    pub vulnerable: bool,
    /// The weaknesses reported, in any order.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The probability that the row has a weakness of any class, 0 to 1; absent where the model gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// The probability of each CWE id, 0 to 1; empty where the model gives none.
    #[serde(default)]
    pub scores: BTreeMap<String, f64>,
}

/// One weakness reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The CWE id, as in "CWE-89".
    pub cwe: String,
    /// Its first line, from 1.
    pub line: u32,
    /// Its last line, from 1.
    pub end_line: u32,
    /// Probability, 0 to 1.
    pub confidence: f64,
}

impl Prediction {
    /// The finding with the highest confidence; of equals, the first.
    #[must_use]
    pub fn top(&self) -> Option<&Finding> {
        self.findings.iter().reduce(|top, next| if next.confidence > top.confidence { next } else { top })
    }

    /// The class with the highest score, the first of equals; without scores that of the top finding.
    #[must_use]
    pub fn likeliest_class(&self) -> Option<&str> {
        let best = self.scores.iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|(cwe, _)| cwe.as_str()).or_else(|| self.top().map(|finding| finding.cwe.as_str()))
    }

    /// The probability that the row is vulnerable, 0 to 1: the one given, else the highest score, else the confidence
    /// of the top finding, else 0.
    #[must_use]
    pub fn weak_probability(&self) -> f64 {
        self.probability
            .or_else(|| self.scores.values().copied().reduce(f64::max))
            .or_else(|| self.top().map(|finding| finding.confidence))
            .unwrap_or(0.0)
    }
}

impl Record for Prediction {
    fn id(&self) -> &str {
        &self.id
    }

    fn check(&self) -> Result<(), String> {
        for finding in &self.findings {
            check_cwe("findings", &finding.cwe)?;
            check_probability("confidence", finding.confidence)?;
            if finding.line == 0 {
                return Err("`line` is 0 where lines count from 1".into());
            }
            if finding.end_line < finding.line {
                return Err(format!("`end_line` {} comes before `line` {}", finding.end_line, finding.line));
            }
        }
        if let Some(probability) = self.probability {
            check_probability("probability", probability)?;
        }
        for (cwe, score) in &self.scores {
            check_cwe("scores", cwe)?;
            check_probability("scores", *score)?;
        }
        Ok(())
    }
}

fn check_probability(field: &str, value: f64) -> Result<(), String> {
    // Not a number is in no range.
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(format!("`{field}` has {value} where a probability lies between 0 and 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(confidences: &[f64], scores: &[f64]) -> Prediction {
        let finding = |(at, &confidence): (usize, &f64)| {
            let line = at as u32 + 1;
            Finding { cwe: "CWE-89".into(), line, end_line: line, confidence }
        };
        Prediction {
            id: "a".into(),
            vulnerable: true,
            findings: confidences.iter().enumerate().map(finding).collect(),
            probability: None,
            scores: scores.iter().enumerate().map(|(at, &score)| (format!("CWE-{}", at + 1), score)).collect(),
        }
    }

    #[test]
    fn the_first_of_the_most_confident_is_on_top() {
        assert_eq!(prediction(&[0.2, 0.9, 0.9], &[]).top().map(|finding| finding.line), Some(2));
        assert_eq!(prediction(&[], &[]).top(), None);
    }

    #[test]
    fn the_probability_comes_before_scores_and_these_before_confidences() {
        let given = Prediction { probability: Some(0.8), ..prediction(&[0.9], &[0.1, 0.3]) };
        assert_eq!(given.weak_probability(), 0.8);
        assert_eq!(prediction(&[0.9], &[0.1, 0.3]).weak_probability(), 0.3);
        assert_eq!(prediction(&[0.4, 0.9], &[]).weak_probability(), 0.9);
        assert_eq!(prediction(&[], &[]).weak_probability(), 0.0);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert!(prediction(&[1.0], &[0.0]).check().is_ok());
        assert!(prediction(&[1.1], &[]).check().is_err());
        assert!(prediction(&[f64::NAN], &[]).check().is_err());
        assert!(prediction(&[], &[-0.1]).check().is_err());
        assert!(Prediction { probability: Some(1.5), ..prediction(&[], &[]) }.check().is_err());
        let mut backwards = prediction(&[0.5, 0.5], &[]);
        backwards.findings[1].end_line = 1;
        assert!(backwards.check().is_err());
    }
}
