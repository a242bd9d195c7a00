//! The parity module: the model alone as WebAssembly, for the browser tests that compare it with the reference.

use std::path::PathBuf;
use std::process::Command;

use super::{Stamp, create_folder, inputs};
use crate::error::Result;
use crate::lock::Lock;
use crate::process;
use crate::project::Project;
use crate::setup::tools;
use crate::setup::wasm_target::{Choice, TARGET, WasmToolchain};
use crate::steps::Steps;

const CRATE: &str = "cloister-parity";
const FILE: &str = "cloister_parity.wasm";
const PROFILE: &str = "web";

/// Builds it unless nothing has changed, and gives back its folder.
pub fn build(project: &Project, steps: &Steps, choice: Choice) -> Result<PathBuf> {
    let lock = Lock::read(project)?;
    let toolchain = WasmToolchain::ensure(project, steps, choice)?;
    let tools = tools::for_the_page(project, steps, &lock)?;
    let folder = project.web_target().join("parity");
    let mut sources: Vec<String> = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"].map(str::to_owned).into();
    sources.extend(lock.own_crates_of(CRATE).into_iter().map(|name| format!("crates/{name}")));
    let content = format!("{} {}", toolchain.name(), inputs::hash(project.root(), &sources)?);
    let stamp = Stamp::new(project, "parity", content);
    if stamp.holds() && folder.join("cloister_parity.js").is_file() {
        steps.skip("Parity module", "unchanged");
        return Ok(folder);
    }
    steps.run("Build the parity module", || {
        stamp.clear();
        create_folder(&folder)?;
        let mut cargo = toolchain.cargo(project);
        cargo.args(["build", "--target", TARGET, "--profile", PROFILE, "--package", CRATE]);
        process::run(&mut cargo, process::SEE_ABOVE)?;
        let mut bindgen = Command::new(tools.join("wasm-bindgen"));
        bindgen.args(["--target", "no-modules", "--no-typescript", "--out-dir"]).arg(&folder);
        bindgen.arg(project.web_target().join(TARGET).join(PROFILE).join(FILE));
        process::run(&mut bindgen, process::SEE_ABOVE)?;
        stamp.write()
    })?;
    Ok(folder)
}
