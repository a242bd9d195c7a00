//! The first stage: trunk bundles the page and builds the engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Stamp, create_folder, inputs};
use crate::error::Result;
use crate::lock::Lock;
use crate::process;
use crate::project::Project;
use crate::setup::wasm_target::WasmToolchain;
use crate::steps::Steps;

/// The crate that becomes the engine.
const ENGINE: &str = "cloister-wasm";
/// The cargo profile of the engine.
const PROFILE: &str = "web";

/// What trunk made.
#[derive(Debug)]
pub struct Staged {
    /// Where it lies.
    pub folder: PathBuf,
    /// A hash over what it was made from.
    pub inputs: String,
}

/// Runs trunk unless nothing has changed since it last did.
pub fn build(project: &Project, steps: &Steps, lock: &Lock, toolchain: &WasmToolchain, tools: &Path) -> Result<Staged> {
    let folder = project.web_target().join("page");
    let inputs = format!("{} {}", toolchain.name(), inputs::hash(project.root(), &sources(lock))?);
    let stamp = Stamp::new(project, "page", inputs.clone());
    if stamp.holds() && folder.join("index.html").is_file() {
        steps.skip("Page and engine", "unchanged");
    } else {
        steps.run("Build the page and the engine", || {
            stamp.clear();
            create_folder(&folder)?;
            process::run(&mut trunk(project, toolchain, tools, &folder), process::SEE_ABOVE)?;
            stamp.write()
        })?;
    }
    Ok(Staged { folder, inputs })
}

fn trunk(project: &Project, toolchain: &WasmToolchain, tools: &Path, folder: &Path) -> Command {
    let mut trunk = Command::new(tools.join("trunk"));
    toolchain.apply(&mut trunk, project, tools);
    trunk.current_dir(project.path("web")).args(["build", "--cargo-profile", PROFILE, "--dist"]).arg(folder);
    trunk.env("TRUNK_SKIP_VERSION_CHECK", "true");
    // trunk takes only the words true and false there, where the convention is any value at all.
    if std::env::var_os("NO_COLOR").is_some() {
        trunk.env_remove("NO_COLOR").env("TRUNK_COLOR", "never");
    }
    trunk
}

/// Everything the page and the engine are made from. Crates that the engine does not contain are left out, so that
/// work on them does not build the page again.
fn sources(lock: &Lock) -> Vec<String> {
    let mut all: Vec<String> = [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/config.toml",
        "rust-toolchain.toml",
        "web",
        "assets/model",
        "assets/catalogue",
    ]
    .map(str::to_owned)
    .into();
    all.extend(lock.own_crates_of(ENGINE).into_iter().map(|name| format!("crates/{name}")));
    all
}
