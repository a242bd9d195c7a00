//! `cargo xtask test`: everything, native and in Chromium.

mod browser;
mod native;

use std::process::ExitCode;

use crate::error::Result;
use crate::programs::{Profile, Programs};
use crate::project::Project;
use crate::server::Server;
use crate::setup::chromium;
use crate::setup::wasm_target::Choice;
use crate::site::{self, Purpose, parity};
use crate::steps::Steps;

/// What `test` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only the tests of the crates
    #[arg(long, conflicts_with = "browser_only")]
    native_only: bool,
    /// Only the tests in Chromium
    #[arg(long)]
    browser_only: bool,
    /// Only this backend in Chromium
    #[arg(long, value_enum, requires = "browser_only")]
    backend: Option<browser::Backend>,
    /// Only the files in tests/browser whose name contains this
    #[arg(long, value_name = "TEXT", requires = "browser_only")]
    file: Option<String>,
    /// Test the engine as optimised by wasm-opt, which takes minutes
    #[arg(long)]
    opt: bool,
}

/// How many tests passed and failed, and what did not get so far as to count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    passed: u64,
    failed: u64,
    broken: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.broken.extend(other.broken);
    }

    /// The one line that ends a run. What did not run counts as a failure: nothing is known to pass there.
    fn line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed + self.broken.len() as u64)
    }
}

/// Runs the tests. A failure in one part does not keep the others from running, and the last line says how many
/// passed and failed.
pub fn run(project: &Project, steps: &Steps, choice: Choice, options: &Options) -> Result<ExitCode> {
    let mut tally = Tally::default();
    if !options.browser_only {
        tally.add(steps.run("Test the crates", || native::run(project))?);
    }
    if !options.native_only {
        match in_chromium(project, steps, choice, options) {
            Ok(found) => tally.add(found),
            Err(error) => {
                eprintln!("error: {error}");
                tally.broken.push("the tests in Chromium".to_owned());
            }
        }
    }
    steps.total();
    for name in &tally.broken {
        eprintln!("error: {name} did not run to the end. The reason stands above.");
    }
    println!("{}", tally.line());
    Ok(if tally.failed == 0 && tally.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that needs the built page: the tests of the page, and of the engine as WebAssembly, which are files in
/// tests/browser too.
fn in_chromium(project: &Project, steps: &Steps, choice: Choice, options: &Options) -> Result<Tally> {
    let chromium = chromium::ensure(steps)?;
    let folder = site::build(project, steps, choice, Purpose::Local { optimise: options.opt })?;
    let parity = parity::build(project, steps, choice)?;
    let command_line = Programs::build(project, steps, Profile::Quick)?.path("cloister");
    let server = Server::start(&folder, 0)?;
    let setting = browser::Setting { url: server.url(), site: folder, parity, command_line, chromium };
    let mut tally = Tally::default();
    for backend in browser::Backend::ALL {
        if options.backend.is_none_or(|only| only == backend) {
            let title = format!("Test the page in Chromium, {}", backend.name());
            let filter = options.file.as_deref().unwrap_or_default();
            tally.add(steps.run(&title, || browser::run(project, &setting, backend, filter))?);
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_run_is_a_failure() {
        let mut tally = Tally { passed: 3, failed: 1, broken: Vec::new() };
        tally.add(Tally { passed: 2, failed: 0, broken: vec!["page".to_owned()] });
        assert_eq!(tally.line(), "5 passed, 2 failed");
    }
}
