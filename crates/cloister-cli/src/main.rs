//! `cloister`: finds security weaknesses in Python, on this machine alone.
//!
//! Exit codes: 0 when nothing was found, 1 when something was, 2 when something went wrong.

mod args;
mod comparison;
mod device;
mod error;
mod eval;
mod finetune;
mod finetune_args;
mod generate;
mod import;
mod input;
mod output;
mod package;
mod predict;
mod progress;
mod scan;

use args::{Arguments, Command};
use clap::Parser;
use error::CliError;
use std::process::ExitCode;

/// How a command ended, where it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Nothing,
    Findings,
    /// Told on stderr as it happened; the rest was done.
    PartlyFailed,
}

fn main() -> ExitCode {
    default_device();
    let arguments = Arguments::parse();
    match run(&arguments.command) {
        Ok(Outcome::Nothing) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(1),
        Ok(Outcome::PartlyFailed) => ExitCode::from(2),
        // Whoever reads the output has seen enough: `cloister scan . | head` is no failure.
        Err(CliError::ClosedOutput) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cloister: {error}");
            ExitCode::from(2)
        }
    }
}

/// Makes the CPU what burn takes where it is told no device. It takes an optimiser's saved state there before it moves it to where
/// the parameters are, and would otherwise ask for a GPU that may not be there.
#[allow(unsafe_code)]
fn default_device() {
    // SAFETY: the program has no other thread yet.
    unsafe { std::env::set_var("BURN_DEVICE", "flex") };
}

fn run(command: &Command) -> Result<Outcome, CliError> {
    match command {
        Command::Scan(options) => scan::run(options),
        Command::Predict(options) => predict::run(options),
        Command::Eval(options) => eval::run(options),
        Command::Generate(options) => generate::run(options),
        Command::Import(options) => import::run(options),
        Command::Finetune(options) => finetune::run(options),
        Command::Merge(options) => finetune::merge(options),
    }
}
