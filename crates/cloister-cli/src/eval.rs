//! `cloister eval`.

use crate::Outcome;
use crate::args::{EvalFormat, EvalOptions};
use crate::error::CliError;
use crate::output::Output;
use crate::predict::predict;
use crate::progress::Steps;
use crate::{device, input};
use cloister_eval::{EvalError, Options, Prediction, Row, evaluate, read_predictions, read_rows};
use std::path::Path;

/// Measures given predictions, or those of the model.
///
/// # Errors
/// [`CliError`] where rows or predictions are faulty or there is no model: figures on half of the rows would mislead.
pub fn run(options: &EvalOptions) -> Result<Outcome, CliError> {
    let rows = read_rows(input::lines(&options.rows)?).map_err(in_file(&options.rows))?;
    let predictions = match &options.predictions {
        Some(path) => read_predictions(input::lines(path)?).map_err(in_file(path))?,
        None => predict_all(&rows, options)?,
    };
    let bootstrap = Options { resamples: options.resamples, seed: options.seed };
    let evaluation = evaluate(&rows, &predictions, cloister_catalogue::same_family, &bootstrap)?;
    let text = match options.format {
        EvalFormat::Text => evaluation.to_text(),
        EvalFormat::Markdown => evaluation.to_markdown(),
        EvalFormat::Json => evaluation.to_json()? + "\n",
    };
    let mut output = Output::open(None)?;
    output.write(&text)?;
    output.flush()?;
    Ok(Outcome::Nothing)
}

fn predict_all(rows: &[Row], options: &EvalOptions) -> Result<Vec<Prediction>, CliError> {
    let mut engine = device::open(&options.model)?;
    let steps = Steps::things("Judging");
    steps.at(0, rows.len() as u64);
    let mut predictions = Vec::with_capacity(rows.len());
    for row in rows {
        predictions.push(predict(&mut engine, row.id.clone(), row.code.clone(), options.threshold)?);
        steps.step();
    }
    steps.finish();
    Ok(predictions)
}

fn in_file(path: &Path) -> impl Fn(EvalError) -> CliError {
    |source| CliError::Rows { path: path.into(), source }
}
