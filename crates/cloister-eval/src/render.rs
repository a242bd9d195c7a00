//! An evaluation as text, Markdown and JSON.

use crate::{EvalError, Evaluation, Interval, Metric, Summary, table::Table};

/// The metrics in the table by CWE, with shorter names: a CWE has few rows, and a wide table is hard to read.
const BY_CWE: [(Metric, &str); 7] = [
    (Metric::Recall, "recall"),
    (Metric::FalsePositiveRate, "FPR"),
    (Metric::Difference, "R−FPR"),
    (Metric::MatchedDifference, "matched"),
    (Metric::ExactAny, "exact"),
    (Metric::FamilyAny, "family"),
    (Metric::PairAccuracy, "pairs"),
];

impl Evaluation {
    /// As a table for a terminal. Undefined figures are "–".
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n\n{}", self.heading(), overall(&self.overall).text());
        if !self.per_cwe.is_empty() {
            out.push_str(&format!("\n{}", self.by_cwe().text()));
        }
        out
    }

    /// As Markdown tables. Undefined figures are "–".
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut out = format!("{}\n\n{}", self.heading(), overall(&self.overall).markdown());
        if !self.per_cwe.is_empty() {
            out.push_str(&format!("\n{}", self.by_cwe().markdown()));
        }
        out
    }

    /// As indented JSON, each metric under its name in snake case. Undefined figures are null.
    ///
    /// # Errors
    /// [`EvalError::Write`] where a figure cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        serde_json::to_string_pretty(self).map_err(|error| EvalError::Write(error.to_string()))
    }

    fn heading(&self) -> String {
        let Summary { n, weak, safe, groups, .. } = &self.overall;
        format!(
            "{n} rows ({weak} weak, {safe} safe) in {groups} groups; 95% intervals by bootstrap over groups \
             ({} resamples, seed {})",
            self.resamples, self.seed
        )
    }

    fn by_cwe(&self) -> Table {
        let header = ["CWE", "weak", "safe"].into_iter().chain(BY_CWE.map(|(_, name)| name)).chain(["R−FPR, 95%"]);
        let row = |cwe: &str, summary: &Summary| {
            let counts = [cwe.to_owned(), summary.weak.to_string(), summary.safe.to_string()];
            let values = BY_CWE.map(|(metric, _)| figure(summary.value(metric)));
            counts.into_iter().chain(values).chain([range(summary.interval(Metric::Difference))]).collect()
        };
        Table {
            header: header.collect(),
            rows: self.per_cwe.iter().map(|entry| row(&entry.cwe, &entry.summary)).collect(),
        }
    }
}

fn overall(summary: &Summary) -> Table {
    let mut rows = Vec::new();
    for metric in Metric::ALL {
        rows.push(vec![metric.label().to_owned(), figure(summary.value(metric)), range(summary.interval(metric))]);
        if metric == Metric::Accuracy {
            let accuracy = figure(summary.value(metric));
            rows.push(vec!["accuracy, Wilson interval".to_owned(), accuracy, range(summary.accuracy_wilson)]);
        }
    }
    Table { header: vec!["metric", "value", "95% interval"], rows }
}

fn figure(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        // Adding 0 turns a rounded −0 into 0.
        Some(value) => format!("{:.3}", (value * 1e3).round() / 1e3 + 0.0),
    }
}

fn range(interval: Option<Interval>) -> String {
    match interval {
        None => "–".to_owned(),
        Some(Interval { low, high }) => format!("{} to {}", figure(Some(low)), figure(Some(high))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_places_and_no_negative_zero() {
        assert_eq!(figure(Some(2.0 / 3.0)), "0.667");
        assert_eq!(figure(Some(-0.0001)), "0.000");
        assert_eq!(figure(Some(-0.25)), "-0.250");
        assert_eq!(figure(None), "–");
        assert_eq!(range(Some(Interval { low: -0.1, high: 0.2 })), "-0.100 to 0.200");
    }
}
