//! From the sources to a folder that a web server can serve.
//!
//! Three stages, each skipped when what goes into it has not changed: trunk builds the page and the engine,
//! wasm-opt makes the engine smaller and faster, and the last stage puts everything in its place and compresses it.

mod assemble;
mod compress;
mod inputs;
mod optimise;
mod page;
pub mod parity;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::project::Project;
use crate::setup::wasm_target::{Choice, WasmToolchain};
use crate::setup::{node, tools};
use crate::steps::Steps;

/// For whom the site is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// For this machine: quickly compressed, below target/web.
    Local {
        /// Whether wasm-opt runs, which takes minutes.
        optimise: bool,
    },
    /// For the world: in dist/.
    Release {
        /// Whether wasm-opt runs, which takes minutes.
        optimise: bool,
    },
}

impl Purpose {
    fn optimise(self) -> bool {
        match self {
            Self::Local { optimise } | Self::Release { optimise } => optimise,
        }
    }

    fn folder(self, project: &Project) -> PathBuf {
        match self {
            Self::Local { optimise: false } => project.path("target/web/site"),
            Self::Local { optimise: true } => project.path("target/web/site-optimised"),
            Self::Release { .. } => project.path("dist"),
        }
    }

    /// The brotli quality: how long compression may take.
    fn quality(self) -> u32 {
        match self {
            Self::Local { .. } => 5,
            Self::Release { .. } => 9,
        }
    }
}

/// Sets up what is missing, builds the site and gives back its folder.
pub fn build(project: &Project, steps: &Steps, choice: Choice, purpose: Purpose) -> Result<PathBuf> {
    let lock = Lock::read(project)?;
    node::ensure(project, steps)?;
    let toolchain = WasmToolchain::ensure(project, steps, choice)?;
    let tools = tools::for_the_page(project, steps, &lock)?;

    let staged = page::build(project, steps, &lock, &toolchain, &tools)?;
    let engine = if purpose.optimise() { Some(optimise::run(project, steps, &staged.folder)?) } else { None };
    let folder = purpose.folder(project);
    assemble::run(project, steps, &staged, engine.as_deref(), &folder, purpose.quality())?;
    Ok(folder)
}

/// A note of what a finished stage was made from.
#[derive(Debug)]
struct Stamp {
    path: PathBuf,
    content: String,
}

impl Stamp {
    fn new(project: &Project, name: &str, content: String) -> Self {
        Self { path: project.web_target().join("stamps").join(name), content }
    }

    /// True if the stage was last done with exactly this.
    fn holds(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|found| found == self.content)
    }

    /// To be called before a stage starts, so that one that is broken off counts as not done.
    fn clear(&self) {
        let _ = fs::remove_file(&self.path);
    }

    fn write(&self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            create_folder(folder)?;
        }
        fs::write(&self.path, &self.content).map_err(Error::file("write", &self.path))
    }
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))
}

/// Removes a folder if it is there.
fn remove_folder(folder: &Path) -> Result<()> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(Error::file("remove", folder)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_until_its_content_changes() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::at(folder.path());
        let stamp = Stamp::new(&project, "page", "one".to_owned());
        assert!(!stamp.holds());
        stamp.write().unwrap();
        assert!(stamp.holds());
        assert!(!Stamp::new(&project, "page", "two".to_owned()).holds());
        stamp.clear();
        assert!(!stamp.holds());
    }
}
