//! What `cargo xtask report` asks for: the baselines' predictions, rows of ordinary code, and figures for the package.

use crate::Arguments;
use crate::pipeline::labels;
use cloister_data::{Dataset, NO_WEAKNESS, Split, rows};
use cloister_engine::Tokenizer;
use cloister_package::Figure;
use cloister_package::fs::update_manifest;
use cloister_train::TrainError;
use cloister_train::baseline::{TfIdf, View};
use cloister_train::corpus::{CorpusList, CorpusUnit, measure_units};
use cloister_train::error::at;
use cloister_train::neural::Neural;
use cloister_train::recipe::Recipe;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The baselines that are fitted on the training split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Baseline {
    /// TF-IDF and logistic regression.
    Words,
    /// The same, with every name, number and string blanked out.
    Masked,
    /// Logistic regression on how long the code is.
    Length,
    /// A bidirectional LSTM over learned embeddings.
    Bilstm,
}

/// Writes a sample of the functions that nothing was trained on or set by, each package with the same weight.
pub fn ordinary_rows(
    arguments: &Arguments,
    recipe: &Recipe,
    corpus: &Path,
    path: &Path,
    count: usize,
) -> Result<(), TrainError> {
    let mut packages = measure_units(&CorpusList::read(&arguments.corpus)?, corpus)?;
    let mut rng = StdRng::seed_from_u64(recipe.seed);
    // The small packages first: what they lack of their share goes to the others.
    packages.sort_by_key(Vec::len);
    let mut chosen: Vec<CorpusUnit> = Vec::new();
    let mut left = packages.len();
    for mut units in packages {
        units.shuffle(&mut rng);
        units.truncate((count - chosen.len()).div_ceil(left));
        left -= 1;
        chosen.extend(units);
    }
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).map_err(at(path))?);
    for (number, unit) in chosen.iter().enumerate() {
        let id = format!("{}-{number}", unit.package);
        let row = serde_json::json!({
            "id": id, "source": unit.package, "code": unit.text, "cwe": null, "safe": true, "line": null, "group": id,
        });
        writeln!(out, "{row}").map_err(at(path))?;
    }
    out.flush().map_err(at(path))?;
    eprintln!("ordinary: {} functions in {}", chosen.len(), path.display());
    Ok(())
}

pub fn note_figures(input: &Path, package: &Path) -> Result<(), TrainError> {
    let text = std::fs::read(input).map_err(at(input))?;
    let figures: Vec<Figure> = serde_json::from_slice(&text)
        .map_err(|error| TrainError::Content { path: input.into(), reason: error.to_string() })?;
    update_manifest(package, |manifest| manifest.evaluation = figures)?;
    Ok(())
}

#[derive(Deserialize)]
struct Question {
    id: String,
    code: String,
}

#[derive(Serialize)]
struct Answer {
    id: String,
    vulnerable: bool,
    findings: Vec<serde_json::Value>,
    probability: f32,
    scores: BTreeMap<String, f32>,
}

/// Probability of each label for a text.
type Predict = Box<dyn Fn(&str) -> Result<Vec<f32>, TrainError>>;

/// Fits on the whole texts of the training rows, and predicts whole texts: a file of predictions for each file of rows.
pub fn baseline(
    recipe: &Recipe,
    dataset: &Dataset,
    package: &Path,
    kind: Baseline,
    files: &[(PathBuf, PathBuf)],
) -> Result<(), TrainError> {
    let labels = labels(dataset);
    let index = |label: &str| labels.iter().position(|known| known == label).unwrap_or(0);
    let train: Vec<(String, usize)> = rows(dataset)?
        .into_iter()
        .filter(|row| row.split == Split::Train)
        .map(|row| (row.input, index(&row.output)))
        .collect();
    let bag = |view: View| -> Predict {
        let seen: Vec<(String, usize)> = train.iter().map(|(text, label)| (view.of(text), *label)).collect();
        let seen: Vec<(&str, usize)> = seen.iter().map(|(text, label)| (text.as_str(), *label)).collect();
        let model = TfIdf::fit(&seen, labels.len(), recipe.seed);
        Box::new(move |text| Ok(model.predict(&view.of(text))))
    };
    let neural = || -> Result<Predict, TrainError> {
        let path = package.join("tokenizer.json");
        let tokenizer = Tokenizer::from_bytes(&std::fs::read(&path).map_err(at(&path))?)?;
        let encoded: Result<Vec<(Vec<u32>, usize)>, TrainError> =
            train.iter().map(|(text, label)| Ok((tokenizer.encode(text)?.ids, *label))).collect();
        let model = Neural::fit(&encoded?, recipe.model.vocab_size, labels.len(), recipe.seed)?;
        Ok(Box::new(move |text| Ok(model.predict(&tokenizer.encode(text)?.ids))))
    };
    let predict = match kind {
        Baseline::Words => bag(View::Words),
        Baseline::Masked => bag(View::Masked),
        Baseline::Length => bag(View::Length),
        Baseline::Bilstm => neural()?,
    };
    for (input, output) in files {
        let text = std::fs::read_to_string(input).map_err(at(input))?;
        let mut out = std::io::BufWriter::new(std::fs::File::create(output).map_err(at(output))?);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let question: Question = serde_json::from_str(line)
                .map_err(|error| TrainError::Content { path: input.clone(), reason: error.to_string() })?;
            let answer = answer(question.id, &labels, &predict(&question.code)?);
            let json = serde_json::to_string(&answer)
                .map_err(|error| TrainError::Content { path: output.clone(), reason: error.to_string() })?;
            writeln!(out, "{json}").map_err(at(output))?;
        }
        out.flush().map_err(at(output))?;
    }
    Ok(())
}

/// The probabilities of the labels, "none" first, as an answer: flagged where a weakness is likelier than none.
fn answer(id: String, labels: &[String], probabilities: &[f32]) -> Answer {
    let weak = 1.0 - probabilities[0];
    let scores: BTreeMap<String, f32> =
        labels.iter().cloned().zip(probabilities.iter().copied()).filter(|(label, _)| label != NO_WEAKNESS).collect();
    let top = scores.iter().max_by(|a, b| a.1.total_cmp(b.1)).filter(|_| weak > 0.5);
    let findings = top
        .map(|(cwe, _)| serde_json::json!({"cwe": cwe, "line": 1, "end_line": 1, "confidence": weak}))
        .into_iter()
        .collect();
    Answer { id, vulnerable: weak > 0.5, findings, probability: weak, scores }
}
