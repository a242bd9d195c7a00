//! The last stage: every file in its place, with its compressed forms beside it.

use std::fs;
use std::path::{Path, PathBuf};

use super::page::Staged;
use super::{Stamp, compress, create_folder, inputs, optimise, remove_folder};
use crate::error::{Error, Result};
use crate::project::Project;
use crate::steps::Steps;

/// Counted up when this stage itself changes, so that sites made by an older one are made again.
const REVISION: u32 = 1;

/// Puts the site together in `folder`, replacing what was there. `engine` stands in for the staged WebAssembly.
pub fn run(
    project: &Project,
    steps: &Steps,
    staged: &Staged,
    engine: Option<&Path>,
    folder: &Path,
    quality: u32,
) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let optimised = engine.is_some();
    let stamp = Stamp::new(project, &name, format!("{REVISION} {} {quality} {optimised}", staged.inputs));
    if stamp.holds() && folder.join("index.html").is_file() {
        steps.skip("Site", "unchanged");
        return Ok(());
    }
    let sizes = steps.run("Assemble and compress the site", || {
        stamp.clear();
        // In a second folder first: a server may be sending from the one in use.
        let next = folder.with_extension("next");
        remove_folder(&next)?;
        copy(project, staged, engine, &next)?;
        let sizes = compress::beside_each(&next, &project.web_target().join("compressed"), quality)?;
        remove_folder(folder)?;
        fs::rename(&next, folder).map_err(Error::file("rename", &next))?;
        stamp.write()?;
        Ok(sizes)
    })?;
    steps.note(&format!("{} in {}", sizes, folder.strip_prefix(project.root()).unwrap_or(folder).display()));
    Ok(())
}

fn copy(project: &Project, staged: &Staged, engine: Option<&Path>, next: &Path) -> Result<()> {
    let wasm = optimise::engine_in(&staged.folder)?;
    for file in inputs::files(&staged.folder)? {
        let below = file.strip_prefix(&staged.folder).unwrap_or(&file);
        let from = if file == wasm { engine.unwrap_or(&file) } else { &file };
        copy_file(from, &next.join(renamed(below)))?;
    }
    // The page names its model by this place, whether or not trunk copied it.
    let model = project.path("assets/model");
    for file in inputs::files(&model)? {
        let below = file.strip_prefix(&model).unwrap_or(&file);
        copy_file(&file, &next.join("model").join(below))?;
    }
    Ok(())
}

/// trunk names the engine's files after the package, with a hyphen; the page asks for them by the name of the
/// library, as wasm-bindgen itself would call them.
fn renamed(below: &Path) -> PathBuf {
    let name = below.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_prefix("cloister-wasm") {
        Some(rest) => below.with_file_name(format!("cloister_wasm{rest}")),
        None => below.to_path_buf(),
    }
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        create_folder(folder)?;
    }
    fs::copy(from, to).map(|_| ()).map_err(Error::file("copy", from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_gets_the_name_that_the_page_asks_for() {
        assert_eq!(renamed(Path::new("cloister-wasm_bg.wasm")), Path::new("cloister_wasm_bg.wasm"));
        assert_eq!(renamed(Path::new("cloister-wasm.js")), Path::new("cloister_wasm.js"));
        assert_eq!(renamed(Path::new("model/model.json")), Path::new("model/model.json"));
    }

    #[test]
    fn a_site_is_assembled_once_and_again_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::at(folder.path());
        let page = project.web_target().join("page");
        fs::create_dir_all(&page).unwrap();
        fs::create_dir_all(project.path("assets/model")).unwrap();
        fs::write(page.join("index.html"), "<p>page</p>".repeat(1000)).unwrap();
        fs::write(page.join("cloister-wasm_bg.wasm"), "staged").unwrap();
        fs::write(project.path("assets/model/model.json"), "{}").unwrap();
        let optimised = project.path("target/optimised.wasm");
        fs::write(&optimised, "optimised").unwrap();
        let site = project.path("dist");
        let build = |inputs: &str, engine: Option<&Path>| {
            let staged = Staged { folder: page.clone(), inputs: inputs.to_owned() };
            run(&project, &Steps::new(), &staged, engine, &site, 5).unwrap();
        };

        build("one", None);
        assert_eq!(fs::read(site.join("cloister_wasm_bg.wasm")).unwrap(), b"staged");
        assert_eq!(fs::read(site.join("model/model.json")).unwrap(), b"{}");
        assert!(site.join("index.html.br").is_file() && site.join("index.html.gz").is_file());
        assert!(!site.join("model/model.json.br").exists(), "too small to be worth it");

        fs::write(site.join("left.over"), "").unwrap();
        build("one", None);
        assert!(site.join("left.over").exists(), "nothing has changed");
        build("two", Some(&optimised));
        assert!(!site.join("left.over").exists());
        assert_eq!(fs::read(site.join("cloister_wasm_bg.wasm")).unwrap(), b"optimised");
    }
}
