//! `cargo xtask check`: everything that is said about the code without running it.

use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::process::{self, SEE_ABOVE};
use crate::project::Project;
use crate::setup::wasm_target::{Choice, TARGET, WasmToolchain};
use crate::setup::{node, tools};
use crate::steps::Steps;

/// How long the list of known vulnerabilities may take to arrive.
const ADVISORIES_LIMIT: Duration = Duration::from_secs(60);

/// Runs every check, and names at the end those that found something.
pub fn run(project: &Project, steps: &Steps, choice: Choice) -> Result<()> {
    let mut unclean = Vec::new();
    let mut note = |name: &str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("error: {error}");
            unclean.push(name.to_owned());
        }
    };
    note("formatting", one(steps, "Formatting", project.cargo().args(["fmt", "--all", "--check"])));
    note("lints", one(steps, "Lints", &mut lints(project)));
    note("lints for the browser", browser_lints(project, steps, choice));
    note("dependencies", dependencies(project, steps));
    note("types of the page", page(project, steps));
    if unclean.is_empty() { Ok(()) } else { Err(Error::Checks(unclean)) }
}

fn one(steps: &Steps, title: &str, command: &mut Command) -> Result<()> {
    steps.run(title, || process::run(command, SEE_ABOVE))
}

fn lints(project: &Project) -> Command {
    let mut cargo = project.cargo();
    // In the profile of the tests, which builds the dependencies' own programs once for both.
    cargo.args(["clippy", "--profile", "quick", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    cargo
}

fn browser_lints(project: &Project, steps: &Steps, choice: Choice) -> Result<()> {
    let toolchain = WasmToolchain::ensure(project, steps, choice)?;
    let mut cargo = toolchain.cargo(project);
    if toolchain == WasmToolchain::Own {
        cargo.args(["clippy", "--release", "--package", "cloister-wasm", "--target", TARGET, "--", "-D", "warnings"]);
    } else {
        steps.note("Debian brings no clippy: for the browser, only the compiler's own warnings are checked");
        cargo.args(["check", "--release", "--package", "cloister-wasm", "--target", TARGET]);
        // Joined to the flags in .cargo/config.toml; the variable RUSTFLAGS would replace them.
        cargo.arg("--config").arg(format!("target.{TARGET}.rustflags=[\"-D\", \"warnings\"]"));
    }
    one(steps, "Lints for the browser", &mut cargo)
}

fn dependencies(project: &Project, steps: &Steps) -> Result<()> {
    let program = match tools::cargo_deny(project, steps) {
        Ok(program) => program,
        Err(error) => {
            eprintln!("error: {error}");
            steps.skip("Dependencies", "NOT CHECKED, because cargo-deny could not be installed");
            return Ok(());
        }
    };
    let deny = |words: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(project.root()).args(words);
        command
    };
    one(steps, "Licences and sources of the dependencies", &mut deny(&["check", "bans", "licenses", "sources"]))?;
    let fetched = steps.run("Fetch the list of known vulnerabilities", || {
        process::succeeds_within(&mut deny(&["fetch", "db"]), ADVISORIES_LIMIT, SEE_ABOVE)
    })?;
    if !fetched {
        steps.skip("Known vulnerabilities", "NOT CHECKED, because their list cannot be reached from here");
        return Ok(());
    }
    one(steps, "Known vulnerabilities", &mut deny(&["check", "--disable-fetch", "advisories"]))
}

fn page(project: &Project, steps: &Steps) -> Result<()> {
    node::ensure(project, steps)?;
    one(steps, "Types and style of the page", node::npm().current_dir(project.path("web")).args(["run", "check"]))
}
