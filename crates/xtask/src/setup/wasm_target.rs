//! A Rust that compiles for the browser.
//!
//! The usual one is the project's own toolchain with rustup's `wasm32-unknown-unknown`. Where rustup cannot reach
//! its server, Debian's packages are used: they bring a compiler and the source of the standard library, which is
//! then built along. The two never share a target folder with native builds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::host;
use crate::process;
use crate::project::Project;
use crate::steps::Steps;

/// The compiler's name for the browser.
pub const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];
const DEBIAN_LINKER: &str = "wasm-ld-22";
const DEBIAN_PROGRAMS: [&str; 3] = ["cargo", "rustc", "rustdoc"];
/// Enough for the download on a slow line. A server that does not answer is given up earlier, by rustup itself.
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

/// What `--wasm-toolchain` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The project's own toolchain if its target is there or can be added, else Debian's
    Auto,
    /// The project's own toolchain
    Rustup,
    /// Debian's packages
    Debian,
}

/// The Rust that compiles for the browser on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WasmToolchain {
    /// The toolchain that also builds the rest, with its target installed.
    Own,
    /// Debian's, reached through a folder that holds links to its programs only.
    Debian {
        /// The folder with the links.
        programs: PathBuf,
    },
}

impl WasmToolchain {
    /// Finds one, installing it if need be.
    pub fn ensure(project: &Project, steps: &Steps, choice: Choice) -> Result<Self> {
        if choice != Choice::Debian {
            if has_target(project)? {
                steps.skip("Rust for the browser", "the toolchain has its target");
                return Ok(Self::Own);
            }
            if steps.run("Add the browser's target with rustup", || add_target(project))? {
                return Ok(Self::Own);
            }
            if choice == Choice::Rustup {
                return Err(missing("rustup could not add the target."));
            }
            steps.note("rustup could not add it; trying Debian's packages");
        }
        Self::debian(project, steps)
    }

    /// Sets a command up to use this Rust, with `tools` before everything else in PATH.
    pub fn apply<'a>(&self, command: &'a mut Command, project: &Project, tools: &Path) -> &'a mut Command {
        command.env("CARGO_TARGET_DIR", project.web_target());
        // Flags from the environment would replace those of .cargo/config.toml, which the engine needs.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
        match self {
            Self::Own => command.env("PATH", process::path_with(&[tools])),
            Self::Debian { programs } => {
                // `cargo xtask` leaves the names and library folders of its own toolchain in the environment.
                for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"] {
                    command.env_remove(name);
                }
                command
                    .env("PATH", process::path_with(&[tools, programs]))
                    // Building the standard library along is not yet a stable feature of cargo.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
            }
        }
    }

    /// A cargo of this toolchain in the root folder.
    pub fn cargo(&self, project: &Project) -> Command {
        let mut command = match self {
            Self::Own => project.cargo(),
            Self::Debian { programs } => Command::new(programs.join("cargo")),
        };
        command.current_dir(project.root());
        self.apply(&mut command, project, &project.tools().join("bin"));
        command
    }

    /// A short name that tells the two apart in stamps and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Debian { .. } => "debian",
        }
    }

    fn debian(project: &Project, steps: &Steps) -> Result<Self> {
        if has_debian_programs() {
            steps.skip("Rust for the browser", "Debian's packages are installed");
        } else if !host::is_debian() {
            return Err(missing("There is no Rust for the browser on this machine."));
        } else if !host::is_root() {
            let what = "Rust for the browser is not installed.".to_owned();
            return Err(Error::Missing { what, help: host::apt_sentence(&DEBIAN_PACKAGES) });
        } else {
            steps.run("Install Debian's Rust for the browser", || host::apt_install(&DEBIAN_PACKAGES))?;
        }
        new_enough(&debian_version()?)?;
        let programs = project.web_target().join("debian-programs");
        link_programs(&programs)?;
        Ok(Self::Debian { programs })
    }
}

fn missing(what: &str) -> Error {
    let help = format!("Run `rustup target add {TARGET}` where rustup reaches its server, then try again.");
    Error::Missing { what: what.to_owned(), help }
}

/// Whether the project's own toolchain brings the standard library for the browser.
fn has_target(project: &Project) -> Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(project.root()).args(["--print", "sysroot"]);
    let sysroot = process::output(&mut rustc, "Install Rust with rustup and try again.")?;
    Ok(Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

fn add_target(project: &Project) -> Result<bool> {
    if process::find("rustup").is_none() {
        return Ok(false);
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(project.root()).args(["target", "add", TARGET]).env("RUSTUP_MAX_RETRIES", "0");
    let added = process::succeeds_within(&mut rustup, RUSTUP_LIMIT, "Install rustup and try again.")?;
    Ok(added && has_target(project)?)
}

fn debian_program(name: &str) -> PathBuf {
    Path::new("/usr/bin").join(name)
}

fn has_debian_programs() -> bool {
    let library = Command::new(debian_program("rustc")).args(["--print", "sysroot"]).output().ok();
    let library = library.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let has_source = library.is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library").is_dir());
    has_source && debian_program("cargo").is_file() && process::find(DEBIAN_LINKER).is_some()
}

fn debian_version() -> Result<String> {
    process::output(
        Command::new(debian_program("rustc")).arg("--version"),
        "Install the package rustc-web again and retry.",
    )
}

/// Checks a line such as `rustc 1.96.0 (…)` against what the workspace asks for.
fn new_enough(line: &str) -> Result<()> {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let found = line.split_whitespace().nth(1).unwrap_or_default();
    if minor(found) >= minor(wanted) {
        return Ok(());
    }
    Err(Error::Missing {
        what: format!("Debian's Rust is {found}, and the project needs {wanted}."),
        help: "Enable the distribution's security updates, which carry a newer rustc-web, and try again.".to_owned(),
    })
}

fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Links Debian's programs into a folder of their own: putting /usr/bin itself first in PATH would also bring
/// another Node before the one in use.
#[cfg(unix)]
fn link_programs(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    for name in DEBIAN_PROGRAMS {
        let link = folder.join(name);
        let program = debian_program(name);
        if fs::read_link(&link).is_ok_and(|to| to == program) || !program.is_file() {
            continue;
        }
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&program, &link).map_err(Error::file("link", &link))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn link_programs(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    Err(missing("Debian's packages need Debian."))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn value<'a>(command: &'a Command, name: &str) -> Option<Option<&'a OsStr>> {
        command.get_envs().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(new_enough("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)").is_ok());
        assert!(new_enough("rustc 2.0.0").is_ok());
        assert!(new_enough("rustc 1.9.0").is_err());
        assert!(new_enough("").is_err());
    }

    #[test]
    fn debian_route_leaves_nothing_of_the_other_toolchain() {
        let project = Project::at(Path::new("/project"));
        let route = WasmToolchain::Debian { programs: "/project/target/web/debian-programs".into() };
        let mut command = Command::new("trunk");
        route.apply(&mut command, &project, Path::new("/project/.tools/bin"));
        for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "RUSTFLAGS"] {
            assert_eq!(value(&command, name), Some(None), "{name}");
        }
        let path = value(&command, "PATH").flatten().unwrap().to_string_lossy().into_owned();
        assert!(path.starts_with("/project/.tools/bin:/project/target/web/debian-programs:"), "{path}");
        assert_eq!(value(&command, "CARGO_UNSTABLE_BUILD_STD"), Some(Some(OsStr::new("std,panic_abort"))));
    }

    #[test]
    fn own_route_builds_no_standard_library() {
        let project = Project::at(Path::new("/project"));
        let command = WasmToolchain::Own.cargo(&project);
        assert_eq!(value(&command, "CARGO_UNSTABLE_BUILD_STD"), None);
        assert_eq!(value(&command, "CARGO_TARGET_DIR"), Some(Some(OsStr::new("/project/target/web"))));
    }
}
