//! The commands that only call cargo in the right way: `train`, `dataset` and `doc`.

use std::process::Command;

use crate::error::Result;
use crate::process;
use crate::project::Project;
use crate::steps::Steps;

/// What `train` and `dataset` take.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Passed on to the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// `cargo xtask train`: the shipped model from its sources.
pub fn train(project: &Project, steps: &Steps, options: &Options) -> Result<()> {
    let mut cargo = train_command(project, &options.arguments);
    steps.run("Train", || process::run(&mut cargo, "Run it again to go on from the last checkpoint."))
}

/// `cargo xtask dataset`: assets/dataset/rows.jsonl from the authored files beside it.
pub fn dataset(project: &Project, steps: &Steps, options: &Options) -> Result<()> {
    let mut cargo = project.cargo();
    cargo.args(["run", "--release", "--package", "cloister-data", "--bin", "dataset", "--"]).args(&options.arguments);
    steps.run("Write the data set", || process::run(&mut cargo, process::SEE_ABOVE))
}

/// `cargo xtask doc`: the documentation of all crates.
pub fn doc(project: &Project, steps: &Steps) -> Result<()> {
    let mut cargo = project.cargo();
    cargo.args(["doc", "--profile", "quick", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
    steps.run("Build the documentation", || process::run(&mut cargo, process::SEE_ABOVE))?;
    println!("The documentation is in {}.", project.path("target/doc").display());
    Ok(())
}

/// Training takes hours: it is worth a build for exactly this processor, in a folder of its own so that the other
/// builds stay as they are.
fn train_command(project: &Project, arguments: &[String]) -> Command {
    let mut cargo = project.cargo();
    cargo.args(["run", "--release", "--package", "cloister-train", "--features", "fast", "--"]);
    cargo.env("RUSTFLAGS", "-C target-cpu=native").env("CARGO_TARGET_DIR", project.path("target/train"));
    // The allocator keeps what a step frees: the next one needs exactly the same.
    cargo.env("MIMALLOC_PURGE_DELAY", "-1");
    if arguments.is_empty() {
        cargo.arg("all")
    } else {
        cargo.args(arguments)
    };
    cargo
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn training_does_everything_unless_told_otherwise() {
        let project = Project::at(Path::new("/project"));
        let line = |arguments: &[String]| process::line(&train_command(&project, arguments));
        assert!(line(&[]).ends_with("--features fast -- all"));
        assert!(line(&["tokenizer".to_owned()]).ends_with("-- tokenizer"));
    }
}
