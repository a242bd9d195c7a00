//! Bandit, the rule-based tool that people would take instead, on the same rows.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::process;
use crate::project::Project;
use crate::steps::Steps;

const VERSION: &str = "1.9.4";

/// What it is called in the tables.
pub const NAME: &str = "Bandit 1.9.4";

/// Bandit in an environment of its own.
pub struct Bandit {
    python: PathBuf,
}

impl Bandit {
    /// Installs it from the package index, unless it is there.
    pub fn ensure(project: &Project, steps: &Steps) -> Result<Self> {
        let folder = project.tools().join(format!("bandit-{VERSION}"));
        let bandit = Self { python: folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" }) };
        // The program is written last, so that an interrupted installation is begun again.
        if bandit.python.with_file_name(format!("bandit{}", std::env::consts::EXE_SUFFIX)).is_file() {
            steps.skip("Bandit", &format!("{VERSION} is installed"));
            return Ok(bandit);
        }
        let help = "Python 3 with its module venv (Debian: python3-venv) and a reachable package index are needed.";
        steps.run(&format!("Install Bandit {VERSION}"), || {
            process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), help)?;
            let mut pip = Command::new(&bandit.python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            process::run(pip.arg(format!("bandit=={VERSION}")), help)
        })?;
        Ok(bandit)
    }

    /// Predictions for a file of rows. Each row is a file of its own; all findings count, whatever their severity.
    pub fn predict(&self, rows: &Path, folder: &Path, predictions: &Path) -> Result<()> {
        let text = fs::read_to_string(rows).map_err(Error::file("read", rows))?;
        let rows: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        // A stale file would count as a finding of a row that is no more.
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        for (index, row) in rows.iter().enumerate() {
            let path = folder.join(file_name(index));
            let code = dedented(row["code"].as_str().unwrap_or_default());
            fs::write(&path, code).map_err(Error::file("write", &path))?;
        }
        let mut command = Command::new(&self.python);
        command.args(["-m", "bandit", "--quiet", "--exit-zero", "--format", "json", "--recursive"]).arg(folder);
        let output = process::output(&mut command, process::SEE_ABOVE)?;
        let report: Value = serde_json::from_str(&output).map_err(|_| Error::Missing {
            what: "Bandit did not answer in JSON.".to_owned(),
            help: "Delete its folder in .tools, so that it is installed again.".to_owned(),
        })?;
        let lines: Vec<String> = answers(&rows, &report).into_iter().map(|answer| format!("{answer}\n")).collect();
        fs::write(predictions, lines.concat()).map_err(Error::file("write", predictions))
    }
}

/// The code without the indentation that all of its lines share: a method cut out as it stands would not parse, and Bandit
/// passes over what does not.
fn dedented(code: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let shared = code.lines().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    code.lines().map(|line| format!("{}\n", line.get(shared..).unwrap_or_default())).collect()
}

fn file_name(index: usize) -> String {
    format!("row_{index}.py")
}

/// Bandit's report as predictions. It gives words, no probabilities: they become numbers that keep their order.
fn answers(rows: &[Value], report: &Value) -> Vec<Value> {
    let mut found: HashMap<&str, Vec<Value>> = HashMap::new();
    for result in report["results"].as_array().into_iter().flatten() {
        let name = result["filename"].as_str().unwrap_or_default();
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let line = result["line_number"].as_u64().unwrap_or(1).max(1);
        let last = result["line_range"].as_array().and_then(|range| range.last()?.as_u64()).unwrap_or(line);
        let step = |key: &str| match result[key].as_str() {
            Some("HIGH") => 3.0,
            Some("MEDIUM") => 2.0,
            _ => 1.0,
        };
        let confidence = (3.0 * step("issue_severity") + step("issue_confidence")) / 12.0;
        found.entry(name).or_default().push(json!({
            "cwe": format!("CWE-{}", result["issue_cwe"]["id"].as_u64().unwrap_or_default()),
            "line": line,
            "end_line": last.max(line),
            "confidence": confidence,
        }));
    }
    let answer = |(index, row): (usize, &Value)| {
        let findings = found.get(file_name(index).as_str()).cloned().unwrap_or_default();
        let sure = findings.iter().filter_map(|finding| finding["confidence"].as_f64()).fold(0.0, f64::max);
        json!({"id": row["id"], "vulnerable": !findings.is_empty(), "findings": findings, "probability": sure, "scores": {}})
    };
    rows.iter().enumerate().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_moved_to_the_margin() {
        assert_eq!(dedented("    def f(self):\n\n        return 1\n"), "def f(self):\n\n    return 1\n");
        assert_eq!(dedented("x = 1\n  y\n"), "x = 1\n  y\n");
    }

    #[test]
    fn a_report_becomes_predictions() {
        let rows = [json!({"id": "a"}), json!({"id": "b"})];
        let report = json!({"results": [
            {"filename": "/tmp/x/row_1.py", "line_number": 4, "line_range": [4, 5], "issue_severity": "LOW",
             "issue_confidence": "HIGH", "issue_cwe": {"id": 78}},
            {"filename": "/tmp/x/row_1.py", "line_number": 7, "line_range": [7], "issue_severity": "HIGH",
             "issue_confidence": "HIGH", "issue_cwe": {"id": 89}},
        ]});
        let answers = answers(&rows, &report);
        assert_eq!(answers[0]["vulnerable"], false);
        assert_eq!(answers[1]["vulnerable"], true);
        assert_eq!(answers[1]["findings"][0], json!({"cwe": "CWE-78", "line": 4, "end_line": 5, "confidence": 0.5}));
        assert_eq!(answers[1]["probability"], 1.0);
    }
}
