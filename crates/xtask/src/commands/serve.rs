//! `cargo xtask serve`: the page on this machine.

use crate::error::Result;
use crate::project::Project;
use crate::server::Server;
use crate::setup::wasm_target::Choice;
use crate::site::{self, Purpose};
use crate::steps::Steps;

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Port on this machine
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// Optimise the engine with wasm-opt, which takes minutes
    #[arg(long)]
    opt: bool,
}

/// Builds what has changed, then serves until it is ended.
pub fn run(project: &Project, steps: &Steps, choice: Choice, options: &Options) -> Result<()> {
    let folder = site::build(project, steps, choice, Purpose::Local { optimise: options.opt })?;
    let server = Server::start(&folder, options.port)?;
    let url = server.url();
    eprintln!("==> up after {}", steps.elapsed());
    println!("Serving {url} (Ctrl+C ends it)");
    if options.open && open::that_detached(&url).is_err() {
        steps.note("no browser could be opened; open the address above yourself");
    }
    server.wait();
    Ok(())
}
