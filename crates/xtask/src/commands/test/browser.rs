//! The tests in a real Chromium, with Node's test runner.

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

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

/// Runs the test files and counts. Each starts a browser of its own. On the processor two run at once; a software GPU
/// uses every core by itself.
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
    let at_once = match backend {
        Backend::Cpu => 2,
        Backend::Webgpu => 1,
    };
    let queue = Mutex::new(files.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut tally = Tally::default();
        while let Some(file) = next() {
            tally.add(run_file(project, setting, backend, &file, &reports, at_once == 1)?);
        }
        Ok(tally)
    };
    let tallies: Vec<Result<Tally>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut sum = Tally::default();
    for tally in tallies {
        sum.add(tally?);
    }
    Ok(sum)
}

/// Runs one file. Its lines appear as they come where it is `alone`, else together at its end.
fn run_file(
    project: &Project,
    setting: &Setting,
    backend: Backend,
    file: &Path,
    reports: &Path,
    alone: bool,
) -> Result<Tally> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let report = reports.join(format!("{name}.{}.tap", backend.name()));
    let lines = reports.join(format!("{name}.{}.txt", backend.name()));
    // A report of an earlier run must not be taken for this one's.
    let _ = fs::remove_file(&report);
    let mut node = Command::new("node");
    node.current_dir(project.root()).args(["--test", "--test-reporter=spec"]);
    node.arg(if alone {
        "--test-reporter-destination=stdout".to_owned()
    } else {
        format!("--test-reporter-destination={}", lines.display())
    });
    node.arg("--test-reporter=tap").arg(format!("--test-reporter-destination={}", report.display())).arg(file);
    node.env("CLOISTER_URL", &setting.url).env("CLOISTER_DIST", &setting.site).env("CHROMIUM", &setting.chromium);
    node.env("CLOISTER_PARITY", &setting.parity).env("CLOISTER_BACKEND", backend.name());
    node.env("CLOISTER_CLI", &setting.command_line);
    let succeeded = process::succeeds(&mut node, process::SEE_ABOVE)?;
    if !alone {
        println!("{}", fs::read_to_string(&lines).unwrap_or_default().trim_end());
    }
    let counted = fs::read_to_string(&report).ok().and_then(|text| counts(&text));
    let complete = counted.as_ref().is_some_and(|tally| succeeded || tally.failed > 0);
    let mut tally = counted.unwrap_or_default();
    if !complete {
        tally.broken.push(format!("{name} ({})", backend.name()));
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
