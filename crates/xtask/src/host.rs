//! What kind of machine this is, and Debian's package manager.

use std::fs;
use std::process::Command;

use crate::error::Result;
use crate::process;

/// True on Debian itself: its derivatives name packages differently.
pub fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| says_debian(&text)) && process::find("apt-get").is_some()
}

/// True if this program may install packages.
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Installs Debian packages. Asks the mirrors for new lists only if the ones at hand do not do: a fresh
/// container has none.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    let help = "Check that the Debian mirrors can be reached, or install the packages by hand.";
    if process::succeeds(&mut apt_get(&["install", "--no-install-recommends"], packages), help)? {
        return Ok(());
    }
    process::run(&mut apt_get(&["update"], &[]), help)?;
    process::run(&mut apt_get(&["install", "--no-install-recommends"], packages), help)
}

/// The command that a user without root rights has to run.
pub fn apt_sentence(packages: &[&str]) -> String {
    format!("Run `sudo apt-get install --no-install-recommends {}` and try again.", packages.join(" "))
}

fn apt_get(words: &[&str], packages: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["--yes", "--quiet"]).args(words).args(packages);
    command
}

fn says_debian(os_release: &str) -> bool {
    os_release.lines().any(|line| line.trim() == "ID=debian" || line.trim() == "ID=\"debian\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_is_debian() {
        assert!(says_debian("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"));
        assert!(!says_debian("ID=ubuntu\nID_LIKE=debian\n"));
    }
}
