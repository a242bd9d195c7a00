//! `cargo xtask report`: the shipped model and its baselines on labelled rows, into docs/EVALUATION.md and the package.

mod bandit;

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

/// The columns of the table: the key in `cloister eval`'s JSON, and the heading.
const METRICS: [(&str, &str); 11] = [
    ("recall", "recall"),
    ("false_positive_rate", "false positives"),
    ("difference", "R − FPR"),
    ("pair_accuracy", "pairs"),
    ("pair_ranking", "pairs ranked"),
    ("exact_top", "exact CWE"),
    ("family_top", "family"),
    ("class_named", "class named"),
    ("line_top", "line ±1"),
    ("f1", "F1"),
    ("calibration_error", "ECE"),
];

/// The figures that the package carries, for the model card.
const CARD: [&str; 5] = ["recall", "false_positive_rate", "difference", "pair_accuracy", "exact_top"];

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
    let mut sets = vec![Set { name: "held-out".into(), rows: held_out }];
    if let Some(data) = &options.data {
        let mut files: Vec<PathBuf> = fs::read_dir(data)
            .map_err(Error::file("read", data))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        files.sort();
        sets.extend(files.into_iter().map(|rows| Set { name: stem(&rows), rows }));
    }
    let mut text = String::from(HEAD);
    let mut card = Vec::new();
    for set in &sets {
        let results =
            steps.run(&format!("Measure on {}", set.name), || measure(project, &programs, &bandit, &folder, set))?;
        text.push_str(&section(set, &results));
        if let Some((_, model)) = results.first() {
            card.extend(figures(set, model));
        }
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

const HEAD: &str = "# How good the shipped model is

Written by `cargo xtask report --data DIR`, from predictions that it makes itself. DIR is a folder of labelled rows that
were never trained on; `held-out` are the groups of our own data set that gave no gradient. In brackets: 95% bootstrap
intervals by group, 2000 resamples. Balanced pairs flatter F1: flagging everything scores .667.

*Pairs*: the weak half flagged and its fixed twin not. *Exact CWE* and *family*: the top finding's class, over all weak
rows. *Line ±1*: of the weak rows that were flagged. Two need no threshold: *pairs ranked*, the weak half likelier to be
weak than its twin (.50 for whoever guesses), and *class named*, the likeliest class of a weak row, flagged or not.
*TF-IDF*: words and word pairs with logistic regression, fitted on the training split of the same data set; *masked*, with
every name, number and string blanked out; *length*, from the numbers of lines and characters alone. What those two can tell
is what the data set gives away without its meaning. *Bandit* at its default settings, every finding counted; its confidence
is in words, so that its ECE says little.
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
    let package = project.path("assets/model").display().to_string();
    let output = model.display().to_string();
    let arguments = ["predict", "--input", &rows, "--output", &output, "--device", "cpu", "--package", &package];
    program(project, programs.path("cloister"), &arguments)?;
    let rules = file("bandit");
    bandit.predict(&set.rows, &folder.join("bandit"), &rules)?;
    let mut systems = vec![("Cloister", model), (bandit::NAME, rules)];
    for (name, view) in [("TF-IDF", "words"), ("TF-IDF, masked", "masked"), ("length", "length")] {
        let predictions = file(view);
        let output = predictions.display().to_string();
        let arguments = ["baseline", "--view", view, "--input", &rows, "--predictions", &output];
        program(project, programs.path("cloister-train"), &arguments)?;
        systems.push((name, predictions));
    }
    let always = file("always");
    write_always(&set.rows, &always)?;
    systems.push(("always vulnerable", always));
    systems
        .into_iter()
        .map(|(name, predictions)| Ok((name, evaluate(project, programs, &rows, &predictions)?)))
        .collect()
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

fn section(set: &Set, results: &[(&str, Value)]) -> String {
    let overall = results.first().map(|(_, value)| &value["overall"]);
    let count = |key: &str| overall.map_or(0, |overall| overall[key].as_u64().unwrap_or(0));
    let mut text = format!(
        "\n## {}\n\nn = {} rows ({} weak, {} safe) of {} groups.\n\n| system |",
        set.name,
        count("n"),
        count("weak"),
        count("safe"),
        count("groups")
    );
    text.extend(METRICS.iter().map(|(_, heading)| format!(" {heading} |")));
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(METRICS.len()));
    for (system, value) in results {
        text.push_str(&format!("\n| {system} |"));
        for (key, _) in METRICS {
            text.push_str(&format!(" {} |", cell(&value["overall"]["metrics"][key])));
        }
    }
    text.push('\n');
    text
}

/// `.46 [.38, .54]`, or a dash where the metric is undefined.
fn cell(measure: &Value) -> String {
    let short = |value: f64| format!("{value:.2}").replacen("0.", ".", 1);
    let Some(value) = measure["value"].as_f64() else { return "–".into() };
    let interval = &measure["interval"];
    match (interval["low"].as_f64(), interval["high"].as_f64()) {
        (Some(low), Some(high)) => format!("{} [{}, {}]", short(value), short(low), short(high)),
        _ => short(value),
    }
}

/// What the model card shows of a set.
fn figures(set: &Set, value: &Value) -> Vec<Value> {
    let overall = &value["overall"];
    CARD.iter()
        .filter_map(|key| {
            let measure = &overall["metrics"][key];
            let heading = METRICS.iter().find(|(known, _)| known == key).map_or(*key, |(_, heading)| heading);
            Some(json!({
                "name": heading,
                "value": measure["value"].as_f64()?,
                "low": measure["interval"]["low"],
                "high": measure["interval"]["high"],
                "n": overall["n"],
                "data": set.name,
                "command": "cargo xtask report --data DIR",
            }))
        })
        .collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_short() {
        assert_eq!(cell(&json!({"value": 0.456, "interval": {"low": 0.4, "high": 0.5}})), ".46 [.40, .50]");
        assert_eq!(cell(&json!({"value": 1.0, "interval": null})), "1.00");
        assert_eq!(cell(&json!({"value": null, "interval": null})), "–");
        assert_eq!(cell(&json!({"value": -0.05, "interval": null})), "-.05");
    }
}
