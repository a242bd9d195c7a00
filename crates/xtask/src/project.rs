//! Where the project's files are, and its own cargo.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};

/// The folders of one clone.
#[derive(Debug, Clone)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// The clone that this program was started in.
    pub fn find() -> Result<Self> {
        let from_cargo = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let from_here = env::current_dir().ok();
        let start = from_cargo.or(from_here).ok_or(Error::NoProject)?;
        let is_root = |folder: &&Path| folder.join("crates/xtask/Cargo.toml").is_file();
        let root = start.ancestors().find(is_root).ok_or(Error::NoProject)?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// A project at a given folder, for tests.
    #[cfg(test)]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the root.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Where tools of the pinned versions are installed.
    pub fn tools(&self) -> PathBuf {
        self.path(".tools")
    }

    /// Where everything for the browser is built: its own folder, so that two toolchains never invalidate
    /// each other's work.
    pub fn web_target(&self) -> PathBuf {
        self.path("target/web")
    }

    /// The cargo that runs this program, in the root folder.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }
}
