//! Running other programs.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Said where the program's own output tells the user everything.
pub const SEE_ABOVE: &str = "Its own messages stand above.";

/// Runs a command to its end with this program's input and output; anything but success is an error.
pub fn run(command: &mut Command, help: &str) -> Result<()> {
    let status = command.status().map_err(|source| start_error(command, source, help))?;
    succeeded(command, status, help)
}

/// Runs a command and gives back whether it succeeded. Only a failure to start is an error.
pub fn succeeds(command: &mut Command, help: &str) -> Result<bool> {
    command.status().map(|status| status.success()).map_err(|source| start_error(command, source, help))
}

/// Runs a command and gives back its standard output, trimmed.
pub fn output(command: &mut Command, help: &str) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|source| start_error(command, source, help))?;
    succeeded(command, output.status, help)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a command for at most `limit`, then ends it. True if it succeeded in that time.
pub fn succeeds_within(command: &mut Command, limit: Duration, help: &str) -> Result<bool> {
    let mut child = command.spawn().map_err(|source| start_error(command, source, help))?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            Ok(None) => {
                // It may have ended by itself in between; then there is nothing left to end.
                let _ = child.kill();
                let _ = child.wait();
                return Ok(false);
            }
            Err(source) => return Err(start_error(command, source, help)),
        }
    }
}

/// An error unless the status is success.
pub fn succeeded(command: &Command, status: ExitStatus, help: &str) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: line(command), status: status.to_string(), help: help.to_owned() })
}

/// The error for a command that did not start.
pub fn start_error(command: &Command, source: std::io::Error, help: &str) -> Error {
    Error::Start { program: command.get_program().to_string_lossy().into_owned(), source, help: help.to_owned() }
}

/// The first executable of this name in PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&path).map(|folder| folder.join(&name)).find(|file| is_executable(file))
}

/// PATH with `folders` before what it holds now.
pub fn path_with(folders: &[&Path]) -> std::ffi::OsString {
    let old = env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().map(|folder| folder.to_path_buf()).chain(env::split_paths(&old));
    // Fails only if a folder holds the separator; such a folder cannot be in PATH at all.
    env::join_paths(all).unwrap_or(old)
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_slow_command_is_ended() {
        let start = Instant::now();
        assert!(!succeeds_within(Command::new("sleep").arg("20"), Duration::from_millis(200), "").unwrap());
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_missing_program_is_named_with_its_help() {
        let error = run(&mut Command::new("no-such-program"), "Install it.").unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.ends_with("Install it."), "{error}");
    }

    #[test]
    fn a_failed_command_is_shown_as_typed() {
        let error = run(Command::new("sh").args(["-c", "exit 3"]), "Look.").unwrap_err().to_string();
        assert_eq!(error, "`sh -c exit 3` failed (exit status: 3). Look.");
    }
}
