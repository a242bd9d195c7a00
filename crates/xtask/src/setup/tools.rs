//! Command-line tools of pinned versions, installed into the project's own `.tools` folder.

use std::path::PathBuf;
use std::process::Command;

use crate::error::Result;
use crate::lock::Lock;
use crate::process;
use crate::project::Project;
use crate::steps::Steps;

/// The newest trunk that builds with the project's Rust.
const TRUNK: &str = "0.21.14";
const CARGO_DENY: &str = "0.20.2";

/// Installs what the page's build needs, and gives back the folder that holds it.
pub fn for_the_page(project: &Project, steps: &Steps, lock: &Lock) -> Result<PathBuf> {
    ensure(project, steps, "trunk", "trunk", TRUNK)?;
    // The tool and the library have to be of one version exactly: the glue between them has no other contract.
    ensure(project, steps, "wasm-bindgen-cli", "wasm-bindgen", lock.version("wasm-bindgen")?)?;
    Ok(project.tools().join("bin"))
}

/// Installs cargo-deny.
pub fn cargo_deny(project: &Project, steps: &Steps) -> Result<PathBuf> {
    ensure(project, steps, "cargo-deny", "cargo-deny", CARGO_DENY)
}

/// Installs one tool unless its program already says the wanted version.
fn ensure(project: &Project, steps: &Steps, package: &str, program: &str, version: &str) -> Result<PathBuf> {
    let file = project.tools().join("bin").join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    if installed_version(&file).as_deref() == Some(version) {
        steps.skip(package, &format!("{version} is installed"));
        return Ok(file);
    }
    steps.run(&format!("Install {package} {version} (once; this takes minutes)"), || {
        let help = "Check that the crate registry can be reached and try again.";
        if !process::succeeds(install(project, package, version).arg("--locked"), help)? {
            // A published lock file may name a release that a registry mirror does not hold.
            steps.note("its lock file could not be followed; trying the newest dependencies");
            process::run(&mut install(project, package, version), help)?;
        }
        Ok(())
    })?;
    Ok(file)
}

fn install(project: &Project, package: &str, version: &str) -> Command {
    let mut cargo = project.cargo();
    cargo.args(["install", package, "--force", "--version", version, "--root"]).arg(project.tools());
    cargo.env("CARGO_TARGET_DIR", project.path("target/tools"));
    if package == "trunk" {
        // The default features are for fetching tools and for news of versions: neither is wanted, and TLS is a third of
        // what there is to build.
        cargo.arg("--no-default-features");
    }
    // Their release profiles optimise across all of their dependencies, which takes longer than everything that they will
    // ever do here. trunk only starts cargo and wasm-bindgen, and copies files; the others read megabytes.
    let level = if package == "trunk" { "0" } else { "1" };
    for (name, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", level)] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    cargo
}

/// The version a program gives of itself: the second word of its first line.
fn installed_version(program: &PathBuf) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .env("TRUNK_SKIP_VERSION_CHECK", "true")
        .env_remove("NO_COLOR")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.split_whitespace().nth(1)?.to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_version_is_the_second_word() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tool");
        fs::write(&program, "#!/bin/sh\necho 'tool 1.2.3 (abc)'\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(installed_version(&program).as_deref(), Some("1.2.3"));
        assert_eq!(installed_version(&folder.path().join("absent")), None);
    }
}
