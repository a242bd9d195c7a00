//! The native programs that other chores run: the command line, the training and the benchmark's peer.

use std::env;
use std::path::PathBuf;

use crate::error::Result;
use crate::process;
use crate::project::Project;
use crate::steps::Steps;

/// The programs of the workspace after a build.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds all of them at once and with the features that the tests use: one by one, each would build burn again.
    pub fn build(project: &Project, steps: &Steps) -> Result<Self> {
        let mut cargo = project.cargo();
        cargo.args(["build", "--quiet", "--release", "--workspace", "--bins", "--examples"]);
        steps.run("Build the programs", || process::run(&mut cargo, process::SEE_ABOVE))?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| project.path("target"), |path| project.root().join(path));
        Ok(Self { folder: target.join("release") })
    }

    /// The path of a program.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    /// The path of a crate's example.
    pub fn example(&self, name: &str) -> PathBuf {
        self.folder.join("examples").join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }
}
