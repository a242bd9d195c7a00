//! The native programs that other chores run: the command line, the training and the benchmark's peer.

use std::env;
use std::path::PathBuf;

use crate::error::Result;
use crate::process;
use crate::project::Project;
use crate::steps::Steps;

/// The crates that are not native programs: chores, and what runs in a browser. What they need beyond the others would
/// make all of burn larger.
const NOT_NATIVE: [&str; 3] = ["xtask", "cloister-wasm", "cloister-parity"];

/// How the native crates are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// For people, and for measuring time.
    Release,
    /// For tests, and for figures that time has no part in.
    Quick,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }

    /// The arguments that choose this profile and all native crates. Always all of them: with other features, burn would
    /// be built again.
    pub fn arguments(self) -> Vec<&'static str> {
        let mut arguments = vec!["--profile", self.name(), "--workspace"];
        arguments.extend(NOT_NATIVE.iter().flat_map(|name| ["--exclude", name]));
        arguments
    }
}

/// The programs of the workspace after a build.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds all of them.
    pub fn build(project: &Project, steps: &Steps, profile: Profile) -> Result<Self> {
        let mut cargo = project.cargo();
        cargo.args(["build", "--quiet"]).args(profile.arguments()).args(["--bins", "--examples"]);
        steps.run("Build the programs", || process::run(&mut cargo, process::SEE_ABOVE))?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| project.path("target"), |path| project.root().join(path));
        Ok(Self { folder: target.join(profile.name()) })
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
