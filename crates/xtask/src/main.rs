//! The project's chores, one command each: `cargo xtask serve`, `cargo xtask test` and the rest.
//!
//! Each command sets up what it needs, prints its steps with their time, and fails with a sentence that says
//! what to do.

mod commands;
mod error;
mod host;
mod lock;
mod process;
mod programs;
mod project;
mod server;
mod setup;
mod site;
mod steps;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::project::Project;
use crate::setup::wasm_target::Choice;
use crate::steps::Steps;

/// The project's chores, one command each.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Which Rust compiles for the browser
    #[arg(long, global = true, value_enum, default_value_t = Choice::Auto, value_name = "ROUTE")]
    wasm_toolchain: Choice,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the page and serve it at http://localhost:8080
    Serve(commands::serve::Options),
    /// Run every test, native and in Chromium
    Test(commands::test::Options),
    /// Build a static dist/ to put on any web server
    Build(commands::build::Options),
    /// Formatting, lints with warnings denied, licences, types of the page
    Check,
    /// Build the documentation with warnings denied
    Doc,
    /// Measure the page in Chromium side by side with its peers
    Bench(commands::bench::Options),
    /// Train the shipped model from its sources
    Train(commands::cargo_run::Options),
    /// Measure the shipped model and its baselines on labelled rows, into docs/EVALUATION.md
    Report(commands::report::Options),
    /// Write assets/dataset/rows.jsonl again from the authored pairs and patterns
    Dataset(commands::cargo_run::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let steps = Steps::new();
    match run(&cli, &steps) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli, steps: &Steps) -> Result<ExitCode, Error> {
    let project = Project::find()?;
    let choice = cli.wasm_toolchain;
    match &cli.command {
        Command::Test(options) => return commands::test::run(&project, steps, choice, options),
        Command::Serve(options) => commands::serve::run(&project, steps, choice, options),
        Command::Build(options) => commands::build::run(&project, steps, choice, options),
        Command::Check => commands::check::run(&project, steps, choice),
        Command::Doc => commands::cargo_run::doc(&project, steps),
        Command::Bench(options) => commands::bench::run(&project, steps, choice, options),
        Command::Train(options) => commands::cargo_run::train(&project, steps, options),
        Command::Report(options) => commands::report::run(&project, steps, options),
        Command::Dataset(options) => commands::cargo_run::dataset(&project, steps, options),
    }?;
    steps.total();
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
