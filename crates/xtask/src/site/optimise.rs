//! The second stage: wasm-opt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{create_folder, inputs};
use crate::error::{Error, Result};
use crate::process;
use crate::project::Project;
use crate::steps::Steps;

/// The features that browsers have. Not `--all-features`: no browser accepts what that makes.
const FEATURES: [&str; 7] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Optimises the engine among the staged files, and gives back the result. A file that was done before is not done
/// again: results are kept under the hash of what they were made from.
pub fn run(project: &Project, steps: &Steps, staged: &Path) -> Result<PathBuf> {
    let engine = engine_in(staged)?;
    let folder = project.web_target().join("optimised");
    create_folder(&folder)?;
    let result = folder.join(format!("{}.wasm", inputs::hash_file(&engine)?));
    if result.is_file() {
        steps.skip("wasm-opt", "unchanged");
        return Ok(result);
    }
    steps.run("Optimise the engine with wasm-opt (this takes minutes)", || {
        forget_older(&folder)?;
        let partial = folder.join("partial");
        let mut wasm_opt = Command::new("node");
        wasm_opt.arg(project.path("web/node_modules/binaryen/bin/wasm-opt"));
        wasm_opt.args(["-O2"]).args(FEATURES).arg(&engine).arg("-o").arg(&partial);
        process::run(&mut wasm_opt, "Build with --no-opt to do without it.")?;
        fs::rename(&partial, &result).map_err(Error::file("rename", &partial))
    })?;
    Ok(result)
}

/// The one file of WebAssembly that trunk made.
pub fn engine_in(staged: &Path) -> Result<PathBuf> {
    let is_engine = |file: &PathBuf| file.to_string_lossy().ends_with("_bg.wasm");
    let found: Vec<PathBuf> = inputs::files(staged)?.into_iter().filter(is_engine).collect();
    match found.as_slice() {
        [engine] => Ok(engine.clone()),
        _ => Err(Error::Content {
            path: staged.to_path_buf(),
            problem: format!("holds {} files named *_bg.wasm instead of one", found.len()),
            help: "Check the link of type rust in web/index.html.".to_owned(),
        }),
    }
}

fn forget_older(folder: &Path) -> Result<()> {
    for file in inputs::files(folder)? {
        fs::remove_file(&file).map_err(Error::file("remove", &file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_engine_is_expected() {
        let folder = tempfile::tempdir().unwrap();
        let error = engine_in(folder.path()).unwrap_err().to_string();
        assert!(error.contains("holds 0 files named *_bg.wasm"), "{error}");
        let engine = folder.path().join("engine_bg.wasm");
        fs::write(&engine, "").unwrap();
        assert_eq!(engine_in(folder.path()).unwrap(), engine);
    }
}
