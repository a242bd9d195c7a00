//! `cargo xtask report`: the shipped model and its baselines on labelled rows, into docs/EVALUATION.md and the package.

mod bandit;
mod plots;
mod steadiness;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use self::bandit::Bandit;
use crate::error::{Error, Result};
use crate::process;
use crate::programs::{Profile, Programs};
use crate::project::Project;
use crate::steps::Steps;

/// What `report` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A folder of further row files (*.jsonl) to measure on, which are never trained on
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Rows to measure on.
struct Set {
    name: String,
    rows: PathBuf,
}

/// Measures and writes.
pub fn run(project: &Project, steps: &Steps, options: &Options) -> Result<()> {
    let folder = project.path("target/report");
    fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
    let programs = Programs::build(project, steps, Profile::Quick)?;
    let bandit = Bandit::ensure(project, steps)?;
    let held_out = folder.join("held-out.jsonl");
    steps.run("Write the held-out rows", || {
        let path = held_out.display().to_string();
        program(project, programs.path("dataset"), &["--test-rows", &path])
    })?;
    let generated = folder.join("generated.jsonl");
    steps.run("Write generated rows of patterns that gave no gradient", || {
        let path = generated.display().to_string();
        program(project, programs.path("cloister-train"), &["generated", "--rows", &path])
    })?;
    let mut sets =
        vec![Set { name: "held-out".into(), rows: held_out }, Set { name: GENERATED.into(), rows: generated }];
    if let Some(data) = &options.data {
        let mut files: Vec<PathBuf> = fs::read_dir(data)
            .map_err(Error::file("read", data))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        files.sort();
        sets.extend(files.into_iter().map(|rows| Set { name: stem(&rows), rows }));
    }
    let ordinary = folder.join("ordinary.jsonl");
    steps.run("Gather ordinary functions", || {
        let path = ordinary.display().to_string();
        program(project, programs.path("cloister-train"), &["ordinary", "--rows", &path])
    })?;
    sets.push(Set { name: ORDINARY.into(), rows: ordinary });
    let mut text = String::from(HEAD);
    let mut card = Vec::new();
    for (name, kind) in BASELINES {
        steps.run(&format!("Fit the baseline {name}"), || {
            let mut fit = Command::new(programs.path("cloister-train"));
            fit.current_dir(project.root()).args(["baseline", "--kind", kind]);
            for set in &sets {
                let predictions = folder.join(format!("{}-{kind}.jsonl", set.name));
                fit.arg("--input").arg(&set.rows).arg("--predictions").arg(predictions);
            }
            process::run(&mut fit, process::SEE_ABOVE)
        })?;
    }
    for set in &sets {
        let results =
            steps.run(&format!("Measure on {}", set.name), || measure(project, &programs, &bandit, &folder, set))?;
        text.push_str(&tables::section(&set.name, &results));
        if set.name != ORDINARY {
            text.push_str(&draw(project, &folder, set)?);
        }
        if let Some((_, model)) = results.first() {
            card.extend(tables::figures(&set.name, model));
        }
    }
    text.push_str(steadiness::HEAD);
    for set in sets.iter().filter(|set| ![ORDINARY, GENERATED].contains(&set.name.as_str())) {
        let cells = steps.run(&format!("Dress {} differently", set.name), || {
            steadiness::measure(project, &programs, &folder, set)
        })?;
        text.push_str(&cells);
    }
    let figures = folder.join("figures.json");
    fs::write(&figures, Value::Array(card).to_string()).map_err(Error::file("write", &figures))?;
    steps.run("Note the figures in the package", || {
        program(project, programs.path("cloister-train"), &["figures", "--input", &figures.display().to_string()])
    })?;
    let target = project.path("docs/EVALUATION.md");
    fs::write(&target, text).map_err(Error::file("write", &target))?;
    println!("The tables are in docs/EVALUATION.md.");
    Ok(())
}

/// What is fitted on the training split: the name in the tables, and the name for `cloister-train`.
const BASELINES: [(&str, &str); 4] =
    [("TF-IDF", "words"), ("TF-IDF, masked", "masked"), ("length", "length"), ("BiLSTM", "bilstm")];

/// The set of functions that nobody has labelled: nearly all are right.
const ORDINARY: &str = "ordinary";

/// The set that is most like the study's: short forms in functions, made by the generator.
const GENERATED: &str = "generated";

const HEAD: &str = "# How good the shipped model is

Written by `cargo xtask report --data DIR`, from predictions that it makes itself. DIR is a folder of labelled rows that
were never trained on; `held-out` are the groups of our own data set that gave no gradient. In brackets: 95% bootstrap
intervals by group, 2000 resamples. Balanced pairs flatter F1: flagging everything scores .667.

*Pairs*: the weak half flagged and its fixed twin not. *Exact CWE* and *family*: the top finding's class, over all weak
rows. *Line ±1*: of the weak rows that were flagged. Two need no threshold: *pairs ranked*, the weak half likelier to be
weak than its twin (.50 for whoever guesses), and *class named*, the likeliest class of a weak row, flagged or not.
*TF-IDF*: words and word pairs with logistic regression, fitted on the training split of the same data set; *masked*, with
every name, number and string blanked out; *length*, from the numbers of lines and characters alone. What those two can tell
is what the data set gives away without its meaning. A text that does
not parse is empty to *masked*. *BiLSTM*: a small network over the model's own tokens, fitted on the same rows. *Bandit* at its
default settings, every finding counted, on code moved to the margin; its confidence is in words, so that its ECE says little.

`generated` is the kind of test that the study reports: rows made by the generator, of the classes of the Top 25 of 2024. Its
patterns gave no gradient (a twelfth of each class's), nor did the packages whose functions they stand in; intervals are by
pattern.

`ordinary` are functions of packages that nothing was trained on or set by, as they are: a flag there is taken for a false
alarm, and its interval takes each function for itself.
";

/// The results of every system, the model's first.
fn measure(
    project: &Project,
    programs: &Programs,
    bandit: &Bandit,
    folder: &Path,
    set: &Set,
) -> Result<Vec<(&'static str, Value)>> {
    let rows = set.rows.display().to_string();
    let file = |system: &str| folder.join(format!("{}-{system}.jsonl", set.name));
    let model = file("cloister");
    predict(project, programs, &set.rows, &model)?;
    let rules = file("bandit");
    bandit.predict(&set.rows, &folder.join("bandit"), &rules)?;
    let mut systems = vec![("Cloister", model), (bandit::NAME, rules)];
    systems.extend(BASELINES.iter().map(|(name, kind)| (*name, file(kind))));
    let always = file("always");
    write_always(&set.rows, &always)?;
    systems.push(("always vulnerable", always));
    systems
        .into_iter()
        .map(|(name, predictions)| Ok((name, evaluate(project, programs, &rows, &predictions)?)))
        .collect()
}

/// Draws a set's plots, and shows them.
fn draw(project: &Project, folder: &Path, set: &Set) -> Result<String> {
    let plots = project.path("docs/plots");
    fs::create_dir_all(&plots).map_err(Error::file("create", &plots))?;
    let of = |system: &str| plots::judged(&set.rows, &folder.join(format!("{}-{system}.jsonl", set.name)));
    let model = of("cloister")?;
    let name = &set.name;
    let mut text = String::new();
    // Without both kinds of rows there is nothing to trade.
    if model.iter().any(|row| row.weak) && model.iter().any(|row| !row.weak) {
        plots::calibration(&plots.join(format!("{name}-calibration.svg")), &model)?;
        let systems = [("Cloister", model, true), (bandit::NAME, of("bandit")?, false), ("TF-IDF", of("words")?, true)];
        plots::trade(&plots.join(format!("{name}-trade.svg")), &systems)?;
        text = format!(
            "\n![Recall against false positives at every threshold, {name}](plots/{name}-trade.svg)\n![Share of weak rows by \
             probability, {name}](plots/{name}-calibration.svg)\n"
        );
    }
    Ok(text)
}

/// The shipped model's predictions.
fn predict(project: &Project, programs: &Programs, rows: &Path, predictions: &Path) -> Result<()> {
    let package = project.path("assets/model");
    let [rows, output, package] = [rows, predictions, &package].map(|path| path.display().to_string());
    let arguments = ["predict", "--input", &rows, "--output", &output, "--device", "cpu", "--package", &package];
    program(project, programs.path("cloister"), &arguments)
}

/// Predictions that flag every row.
fn write_always(rows: &Path, path: &Path) -> Result<()> {
    let text = fs::read_to_string(rows).map_err(Error::file("read", rows))?;
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|row| {
            json!({"id": row["id"], "vulnerable": true, "findings": [], "probability": 1.0, "scores": {}}).to_string()
                + "\n"
        })
        .collect();
    fs::write(path, lines.concat()).map_err(Error::file("write", path))
}

fn evaluate(project: &Project, programs: &Programs, rows: &str, predictions: &Path) -> Result<Value> {
    let mut cloister = Command::new(programs.path("cloister"));
    cloister.current_dir(project.root()).args(["eval", rows, "--format", "json", "--predictions"]).arg(predictions);
    let output = process::output(&mut cloister, process::SEE_ABOVE)?;
    serde_json::from_str(&output).map_err(|_| Error::Missing {
        what: "`cloister eval` did not answer in JSON.".to_owned(),
        help: "Run it by hand to see what it says.".to_owned(),
    })
}

fn program(project: &Project, program: PathBuf, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.current_dir(project.root()).args(arguments);
    process::run(&mut command, process::SEE_ABOVE)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
