//! `cloister predict`, and the judging of one row that `cloister eval` shares.

use crate::Outcome;
use crate::args::PredictOptions;
use crate::error::CliError;
use crate::output::Output;
use crate::progress::Steps;
use crate::{device, input};
use cloister_engine::{AnalyzeOptions, Engine, SourceFile, Unobserved};
use cloister_eval::{EvalError, Finding, Prediction, Record, records};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A row to judge. Further fields are not read.
#[derive(Deserialize)]
struct Question {
    id: String,
    code: String,
}

impl Record for Question {
    fn id(&self) -> &str {
        &self.id
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Judges row after row, and writes each answer before it reads the next.
///
/// # Errors
/// [`CliError`] where there is no model, or a file cannot be read or written. A bad row is told on stderr and left out.
pub fn run(options: &PredictOptions) -> Result<Outcome, CliError> {
    let rows = input::lines(&options.input)?;
    let mut engine = device::open(&options.model)?;
    let mut output = Output::open(Some(&options.output))?;
    let steps = Steps::things("Judging");
    let (mut judged, mut skipped) = (0u64, 0u64);
    for row in records::<Question>(rows) {
        match row {
            Ok(row) => {
                let prediction = predict(&mut engine, row.id, row.code, options.threshold)?;
                let line = serde_json::to_string(&prediction).map_err(|error| CliError::Report(error.to_string()))?;
                output.write(&format!("{line}\n"))?;
                output.flush()?;
                judged += 1;
                steps.at(judged, judged);
            }
            Err(error @ EvalError::Read { .. }) => {
                return Err(CliError::Rows { path: options.input.clone(), source: error });
            }
            Err(error) => {
                steps.tell(&format!("cloister: {}: {error} (skipped)", options.input.display()));
                skipped += 1;
            }
        }
    }
    steps.finish();
    if skipped > 0 {
        eprintln!("cloister: {judged} rows were judged, {skipped} were skipped");
    }
    Ok(Outcome::Nothing)
}

/// The answer for one piece of code: its findings, the surest first; the probability that any of its units is weak, the
/// units taken as independent; and of each class the highest probability over the units.
///
/// # Errors
/// [`CliError::Engine`] where the device fails.
pub fn predict(engine: &mut Engine, id: String, code: String, threshold: Option<f64>) -> Result<Prediction, CliError> {
    let options = AnalyzeOptions { threshold, cwes: None, top: Some(usize::MAX) };
    let file = SourceFile { name: id.clone(), text: code };
    let analysis = pollster::block_on(engine.analyze(&[file], &options, &mut Unobserved))?;
    // Not the highest of the units: two texts that differ in a less suspicious unit would be the same then. A row
    // without code has no unit, and no weakness.
    let probability = 1.0 - analysis.units.iter().map(|unit| unit.safe).product::<f64>();
    let mut scores: BTreeMap<String, f64> = BTreeMap::new();
    for class in analysis.units.into_iter().flat_map(|unit| unit.top) {
        let score = scores.entry(class.cwe).or_default();
        *score = score.max(class.probability);
    }
    let mut findings: Vec<Finding> = analysis
        .findings
        .into_iter()
        .map(|finding| Finding {
            cwe: finding.cwe,
            line: finding.range.start.line,
            end_line: finding.range.end.line,
            confidence: finding.confidence,
        })
        .collect();
    // Stable: of equals, the one that comes first in the code.
    findings.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    Ok(Prediction { id, vulnerable: !findings.is_empty(), findings, probability: Some(probability), scores })
}
