//! Node.js and the page's packages.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::process;
use crate::project::Project;
use crate::steps::Steps;

const OLDEST: u32 = 20;
const HELP: &str = "Install Node.js 20 or newer, with npm, and try again.";

/// Checks Node and installs what web/package-lock.json names, unless that was done.
pub fn ensure(project: &Project, steps: &Steps) -> Result<()> {
    check_version(&process::output(Command::new("node").arg("--version"), HELP)?)?;
    let web = project.path("web");
    let stamp = web.join("node_modules/.cloister-stamp");
    let wanted = fingerprint(project)?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        steps.skip("Packages of the page", "installed");
        return Ok(());
    }
    steps.run("Install the packages of the page", || {
        let mut npm = npm();
        npm.current_dir(&web).args(["ci", "--no-audit", "--no-fund"]);
        process::run(&mut npm, "Check that the npm registry can be reached and try again.")?;
        fs::write(&stamp, wanted).map_err(Error::file("write", &stamp))
    })
}

/// npm, which on Windows is a script and not a program.
pub fn npm() -> Command {
    Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" })
}

fn fingerprint(project: &Project) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["web/package.json", "web/package-lock.json"] {
        let path: PathBuf = project.path(name);
        hash.update(fs::read(&path).map_err(Error::file("read", &path))?);
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn check_version(said: &str) -> Result<()> {
    let major = said.trim_start_matches('v').split('.').next().and_then(|word| word.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST => Ok(()),
        _ => Err(Error::Missing { what: format!("Node.js is {said}, which is too old."), help: HELP.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_are_refused() {
        assert!(check_version("v20.0.0").is_ok());
        assert!(check_version("v26.1.3").is_ok());
        assert!(check_version("v18.20.4").unwrap_err().to_string().contains("Node.js is v18.20.4"));
        assert!(check_version("").is_err());
    }
}
