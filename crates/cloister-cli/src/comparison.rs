//! Packages measured on the same rows, as one table.

use crate::args::{DeviceChoice, ModelOptions};
use crate::device;
use crate::error::CliError;
use crate::output::Output;
use crate::predict::predict;
use crate::progress::Steps;
use cloister_eval::{Evaluation, Metric, Options, evaluate};
use cloister_finetune::Row;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What the table shows.
const COLUMNS: [(Metric, &str); 9] = [
    (Metric::Accuracy, "accuracy"),
    (Metric::F1, "F1"),
    (Metric::Recall, "recall"),
    (Metric::FalsePositiveRate, "FPR"),
    (Metric::Difference, "R−FPR"),
    (Metric::PairAccuracy, "pairs"),
    (Metric::PairRanking, "pairs ranked"),
    (Metric::ExactTop, "exact CWE"),
    (Metric::ClassNamed, "class named"),
];

/// Some packages on the same rows.
#[derive(Debug, Serialize)]
pub struct Comparison {
    packages: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
    name: String,
    package: PathBuf,
    evaluation: Evaluation,
}

impl Comparison {
    /// Judges the rows by each package, at the package's own threshold.
    ///
    /// # Errors
    /// [`CliError`] where a package cannot be run.
    pub fn measure(
        packages: impl Iterator<Item = (String, PathBuf)>,
        rows: &[Row],
        device: DeviceChoice,
    ) -> Result<Self, CliError> {
        let rows: Vec<cloister_eval::Row> = rows
            .iter()
            .map(|row| cloister_eval::Row {
                id: row.id.clone(),
                source: "held out".into(),
                code: row.code.clone(),
                cwe: row.cwe.clone(),
                safe: row.cwe.is_none(),
                line: row.lines.first().copied(),
                group: row.group.clone(),
                cluster: None,
            })
            .collect();
        let mut measured = Vec::new();
        for (name, package) in packages {
            let mut engine = device::open(&ModelOptions { package: Some(package.clone()), device })?;
            let steps = Steps::things(&name);
            let mut predictions = Vec::with_capacity(rows.len());
            for row in &rows {
                steps.at(predictions.len() as u64, rows.len() as u64);
                predictions.push(predict(&mut engine, row.id.clone(), row.code.clone(), None)?);
            }
            steps.finish();
            let evaluation = evaluate(&rows, &predictions, cloister_catalogue::same_family, &Options::default())?;
            measured.push(Measured { name, package, evaluation });
        }
        Ok(Self { packages: measured })
    }

    /// Prints the table, and writes it to `table.md` and, with all figures, to `table.json` in a folder.
    ///
    /// # Errors
    /// [`CliError::Write`] where a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), CliError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| CliError::Write { path: folder.into(), reason: error.to_string() })?;
        let table = self.markdown();
        let json = serde_json::to_string_pretty(self).map_err(|error| CliError::Report(error.to_string()))? + "\n";
        for (name, text) in [("table.md", &table), ("table.json", &json)] {
            let mut file = Output::open(Some(&folder.join(name)))?;
            file.write(text)?;
            file.flush()?;
        }
        let mut output = Output::open(None)?;
        output.write(&table)?;
        output.flush()
    }

    fn markdown(&self) -> String {
        let mut out = String::new();
        if let Some(first) = self.packages.first() {
            let all = &first.evaluation.overall;
            out.push_str(&format!(
                "{} rows held out ({} weak, {} safe) in {} groups; 95% intervals by bootstrap over groups ({} resamples)\n\n",
                all.n, all.weak, all.safe, all.groups, first.evaluation.resamples
            ));
        }
        let names: Vec<&str> = COLUMNS.iter().map(|(_, name)| *name).collect();
        out.push_str(&format!("| model | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len())));
        for Measured { name, evaluation, .. } in &self.packages {
            let cell = |metric: Metric| {
                let all = &evaluation.overall;
                match (all.value(metric), all.interval(metric)) {
                    (Some(value), Some(range)) => format!("{value:.3} ({:.3} to {:.3})", range.low, range.high),
                    (Some(value), None) => format!("{value:.3}"),
                    (None, _) => "–".into(),
                }
            };
            let cells: Vec<String> = COLUMNS.iter().map(|(metric, _)| cell(*metric)).collect();
            out.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
        }
        out
    }
}
