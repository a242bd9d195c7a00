//! What `cargo xtask report` asks for: the baselines' predictions, rows of ordinary code, and figures for the package.

use crate::sources::{held_out_patterns, labels};
use cloister_catalogue::TOP_25_OF_2024;
use cloister_data::{Dataset, NO_WEAKNESS, Split, insert, rows, with_imports};
use cloister_engine::Tokenizer;
use cloister_package::Figure;
use cloister_package::fs::update_manifest;
use cloister_train::TrainError;
use cloister_train::baseline::{TfIdf, View};
use cloister_train::corpus::{CorpusUnit, as_code};
use cloister_train::error::at;
use cloister_train::neural::Neural;
use cloister_train::recipe::Recipe;
use rand::{
    SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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
    mut packages: Vec<Vec<CorpusUnit>>,
    seed: u64,
    path: &Path,
    count: usize,
) -> Result<(), TrainError> {
    let mut rng = StdRng::seed_from_u64(seed);
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
    let rows = chosen.iter().enumerate().map(|(number, unit)| {
        let id = format!("{}-{number}", unit.package);
        let (source, code) = (&unit.package, unit.as_code());
        serde_json::json!({
            "id": id, "source": source, "code": code, "cwe": null, "safe": true, "line": null, "group": id,
        })
    });
    write_rows(path, rows.collect())
}

/// Whether a class is in the Top 25 of 2024.
pub fn in_top_25(cwe: &str) -> bool {
    cwe.strip_prefix("CWE-")
        .and_then(|number| number.parse().ok())
        .is_some_and(|number| TOP_25_OF_2024.contains(&number))
}

/// Hosts that are tried for a pair before its pattern is given up.
const TRIES: usize = 60;

/// Writes `count` pairs of every pattern of the Top 25 that gave no gradient, in functions of packages that gave none.
pub fn generated_rows(
    units: Vec<CorpusUnit>,
    seed: u64,
    dataset: &Dataset,
    path: &Path,
    count: usize,
) -> Result<(), TrainError> {
    let held_out = held_out_patterns(dataset);
    let mut rows = Vec::new();
    for pattern in dataset.patterns.iter().filter(|p| held_out.contains(&p.id) && in_top_25(&p.cwe)) {
        let mut rng = StdRng::seed_from_u64(
            seed ^ pattern.id.bytes().fold(0, |sum: u64, b| sum.wrapping_mul(31).wrapping_add(u64::from(b))),
        );
        let hosts = units.choose_multiple(&mut rng, count * TRIES).collect::<Vec<_>>();
        let mut pairs = 0;
        for host in hosts {
            if pairs == count {
                break;
            }
            let (context, body) = host.text.split_at(host.body_start());
            let Some(made) = insert(pattern, body, &BTreeSet::new(), &mut rng) else { continue };
            let (context, imports) = with_imports(context, pattern.imports.iter().map(String::as_str));
            let group = format!("{}/{pairs}", pattern.id);
            // Which of its lines is meant is told by the first.
            let line = made.lines.first().map(|line| *line as usize + host.context + imports);
            for (half, body, safe) in [("weak", &made.weak, false), ("safe", &made.safe, true)] {
                let (cwe, line) = if safe { (None, None) } else { (Some(&pattern.cwe), line) };
                rows.push(serde_json::json!({
                    "id": format!("{group}/{half}"), "source": host.package, "code": as_code(&context, body),
                    "cwe": cwe, "safe": safe, "line": line, "group": group, "cluster": pattern.id,
                }));
            }
            pairs += 1;
        }
    }
    write_rows(path, rows)
}

fn write_rows(path: &Path, rows: Vec<serde_json::Value>) -> Result<(), TrainError> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).map_err(at(path))?);
    for row in &rows {
        writeln!(out, "{row}").map_err(at(path))?;
    }
    out.flush().map_err(at(path))?;
    eprintln!("{} rows in {}", rows.len(), path.display());
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
