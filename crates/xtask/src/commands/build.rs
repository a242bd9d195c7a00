//! `cargo xtask build`: a folder for any web server.

use crate::error::Result;
use crate::project::Project;
use crate::setup::wasm_target::Choice;
use crate::site::{self, Purpose};
use crate::steps::Steps;

/// What `build` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Leave out wasm-opt, which takes minutes
    #[arg(long)]
    no_opt: bool,
}

/// Builds dist/.
pub fn run(project: &Project, steps: &Steps, choice: Choice, options: &Options) -> Result<()> {
    let folder = site::build(project, steps, choice, Purpose::Release { optimise: !options.no_opt })?;
    println!(
        "The site is in {}. Any web server can serve it; SECURITY.md lists the headers to send.",
        folder.display()
    );
    Ok(())
}
