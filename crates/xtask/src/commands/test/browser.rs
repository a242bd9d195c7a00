//! The tests in a real Chromium, with Node's test runner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Tally;
use crate::error::{Error, Result};
use crate::process;
use crate::project::Project;

const FOLDER: &str = "tests/browser";

/// What the engine computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// The processor.
    Cpu,
    /// The graphics card, or a program in its place.
    Webgpu,
}

impl Backend {
    /// In the order in which they are tested.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Webgpu];

    /// The word in the environment and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Webgpu => "webgpu",
        }
    }
}

/// Where the tests find the page and the browser.
#[derive(Debug)]
pub struct Setting {
    /// The address of the page.
    pub url: String,
    /// The folder that is served.
    pub site: PathBuf,
    /// The folder with the parity module.
    pub parity: PathBuf,
    /// The command line, which must find what the page finds.
    pub command_line: PathBuf,
    /// The browser's program.
    pub chromium: PathBuf,
}

/// Test files that run at once on the processor, each in a browser of its own. A software GPU uses every core by itself.
const AT_ONCE: usize = 2;

/// Runs the test files with Node's runner, and counts. A file that dies counts as a failure there.
pub fn run(project: &Project, setting: &Setting, backend: Backend, filter: &str) -> Result<Tally> {
    let files = test_files(&project.path(FOLDER), filter)?;
    if files.is_empty() {
        return Err(Error::Missing {
            what: format!("There is no test file in {FOLDER} that fits."),
            help: "Restore the folder from git, or name another file.".to_owned(),
        });
    }
    let reports = project.path("target/web/reports");
    fs::create_dir_all(&reports).map_err(Error::file("create", &reports))?;
    let report = reports.join(format!("{}.tap", backend.name()));
    // A report of an earlier run must not be taken for this one's.
    let _ = fs::remove_file(&report);
    let at_once = match backend {
        Backend::Cpu => AT_ONCE,
        Backend::Webgpu => 1,
    };
    let mut node = Command::new("node");
    node.current_dir(project.root()).arg("--test").arg(format!("--test-concurrency={at_once}"));
    node.args(["--test-reporter=spec", "--test-reporter-destination=stdout", "--test-reporter=tap"]);
    node.arg(format!("--test-reporter-destination={}", report.display())).args(files);
    node.env("CLOISTER_URL", &setting.url).env("CLOISTER_DIST", &setting.site).env("CHROMIUM", &setting.chromium);
    node.env("CLOISTER_PARITY", &setting.parity).env("CLOISTER_BACKEND", backend.name());
    node.env("CLOISTER_CLI", &setting.command_line);
    let succeeded = process::succeeds(&mut node, process::SEE_ABOVE)?;
    let counted = fs::read_to_string(&report).ok().and_then(|text| counts(&text));
    let complete = counted.as_ref().is_some_and(|tally| succeeded || tally.failed > 0);
    let mut tally = counted.unwrap_or_default();
    if !complete {
        tally.broken.push(format!("the tests in Chromium, {}", backend.name()));
    }
    Ok(tally)
}

/// The files with tests directly in a folder.
fn test_files(folder: &Path, filter: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let is_test = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name.ends_with(".test.mjs") || name.ends_with(".test.js")) && name.contains(filter)
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_test).collect();
    files.sort();
    Ok(files)
}

/// The sums at the end of a report in TAP. A cancelled test has not passed.
fn counts(report: &str) -> Option<Tally> {
    let number = |word: &str| {
        let mut lines = report.lines().rev();
        lines.find_map(|line| line.strip_prefix("# ")?.strip_prefix(word)?.trim().parse::<u64>().ok())
    };
    let (passed, failed, cancelled) = (number("pass ")?, number("fail ")?, number("cancelled "));
    Some(Tally { passed, failed: failed + cancelled.unwrap_or(0), broken: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_from_their_end() {
        let report = "TAP version 13\n# pass 99\nok 1 - loads\n1..1\n# tests 4\n# suites 0\n# pass 2\n# fail 1\n# cancelled 1\n# skipped 0\n";
        assert_eq!(counts(report), Some(Tally { passed: 2, failed: 2, broken: Vec::new() }));
        assert_eq!(counts("TAP version 13\n"), None);
    }

    #[test]
    fn only_test_files_are_run() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.test.mjs", "a.test.js", "helper.mjs", "notes.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |filter| -> Vec<String> {
            let files = test_files(folder.path(), filter).unwrap();
            files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(""), ["a.test.js", "b.test.mjs"]);
        assert_eq!(names("b."), ["b.test.mjs"]);
    }
}
