//! `cloister import`.

use crate::Outcome;
use crate::args::{ImportCommand, Precision};
use crate::error::CliError;
use crate::progress::Steps;
use cloister_catalogue::TOP_25_OF_2024;
use cloister_checkpoint::{ImportOptions, import::import, study_options};
use cloister_model::quant::Bits;
use cloister_package::{WeightType, Weights};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What `--prompt` names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptFile {
    prefix: String,
    suffix: String,
    answers: BTreeMap<String, String>,
}

/// Makes the package and says what it is.
pub fn run(command: &ImportCommand) -> Result<Outcome, CliError> {
    let options = options(command)?;
    let steps = Steps::things("importing");
    let made = import(&command.checkpoint, &command.output, &options, &mut |done, total| {
        steps.at(done as u64, total as u64);
    });
    steps.finish();
    let manifest = made?;
    let bytes: u64 = manifest.files().iter().map(|file| file.bytes).sum();
    eprintln!(
        "{}: {} parameters, {} labels, {:.1} MB in {} files. Try it with: cloister scan --package {} FILE",
        command.output.display(),
        manifest.architecture.config.num_params(),
        manifest.labels.len(),
        bytes as f64 / 1e6,
        manifest.files().len() + 1,
        command.output.display()
    );
    Ok(Outcome::Nothing)
}

fn options(command: &ImportCommand) -> Result<ImportOptions, CliError> {
    let (name, prompt) = (command.name.as_deref(), command.prompt.as_deref());
    options_for(&command.checkpoint, weights(command.quantize), name, prompt)
}

/// How matrices are stored.
pub fn weights(precision: Precision) -> Weights {
    match precision {
        Precision::F16 => Weights::plain(WeightType::F16),
        Precision::Q8 => Weights::quantized(Bits::Eight),
        Precision::Q4 => Weights::quantized(Bits::Four),
    }
}

/// How the checkpoint in a folder is to be imported.
pub fn options_for(
    checkpoint: &Path,
    weights: Weights,
    name: Option<&str>,
    prompt: Option<&Path>,
) -> Result<ImportOptions, CliError> {
    // `.` and `..` have no name of their own.
    let folder = checkpoint.canonicalize().unwrap_or_else(|_| checkpoint.into());
    let folder = folder.file_name().map_or_else(|| "codegen".into(), |name| name.to_string_lossy().into_owned());
    let name = name.map_or(folder, str::to_string);
    let id: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let mut options = study_options(weights, id, name, TOP_25_OF_2024.map(|number| format!("CWE-{number}")));
    if let Some(path) = prompt {
        let PromptFile { prefix, suffix, answers } = read(path)?;
        (options.prefix, options.suffix, options.answers) = (prefix, suffix, answers.into_iter().collect());
    }
    Ok(options)
}

fn read(path: &Path) -> Result<PromptFile, CliError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::Read { path: path.into(), reason: error.to_string() })?;
    serde_json::from_str(&text).map_err(|error| CliError::Prompt { path: path.into(), reason: error.to_string() })
}
