//! `cargo xtask bench`: the measurements of docs/PERFORMANCE.md.

use std::process::Command;

use crate::error::Result;
use crate::process;
use crate::programs::{Profile, Programs};
use crate::project::Project;
use crate::server::Server;
use crate::setup::chromium;
use crate::setup::wasm_target::Choice;
use crate::site::{self, Purpose};
use crate::steps::Steps;

const SCRIPT: &str = "tests/bench/run.mjs";

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Leave out wasm-opt; the figures are then not those of the shipped page
    #[arg(long)]
    no_opt: bool,
    /// Passed on to the script; `node tests/bench/run.mjs --help` lists what it takes
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Measures the page as it ships: the optimised engine, served as dist/.
pub fn run(project: &Project, steps: &Steps, choice: Choice, options: &Options) -> Result<()> {
    let chromium = chromium::ensure(steps)?;
    let folder = site::build(project, steps, choice, Purpose::Release { optimise: !options.no_opt })?;
    let programs = Programs::build(project, steps, Profile::Release)?;
    let server = Server::start(&folder, 0)?;
    let mut node = Command::new("node");
    node.current_dir(project.root()).arg(SCRIPT).args(&options.arguments);
    node.env("CLOISTER_URL", server.url()).env("CLOISTER_DIST", &folder).env("CHROMIUM", chromium);
    node.env("CLOISTER_OPTIMISED", if options.no_opt { "no" } else { "yes" });
    node.env("CLOISTER_PREFILL", programs.example("prefill"));
    steps.run("Measure", || process::run(&mut node, process::SEE_ABOVE))
}
