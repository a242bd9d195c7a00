//! A Chromium for the browser tests.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::host;
use crate::process;
use crate::steps::Steps;

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const PLACES: [&str; 2] = [
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const PACKAGES: [&str; 1] = ["chromium"];

/// The browser to test in: what the variable CHROMIUM names, else one in PATH, else a newly installed one.
pub fn ensure(steps: &Steps) -> Result<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM").map(PathBuf::from) {
        if named.is_file() {
            return Ok(named);
        }
        return Err(Error::Missing {
            what: format!("CHROMIUM names {}, which is not a file.", named.display()),
            help: "Set it to the browser's program, or unset it.".to_owned(),
        });
    }
    if let Some(found) = installed() {
        steps.skip("Chromium", &found.display().to_string());
        return Ok(found);
    }
    let missing = |help| Error::Missing { what: "There is no Chromium on this machine.".to_owned(), help };
    if !host::is_debian() {
        let help = "Install Chromium or Chrome, or set CHROMIUM to the path of its program.";
        return Err(missing(help.to_owned()));
    }
    if !host::is_root() {
        return Err(missing(host::apt_sentence(&PACKAGES)));
    }
    steps.run("Install Chromium", || host::apt_install(&PACKAGES))?;
    installed().ok_or_else(|| missing("Set CHROMIUM to the path of its program.".to_owned()))
}

fn installed() -> Option<PathBuf> {
    let in_path = NAMES.iter().find_map(|name| process::find(name));
    in_path.or_else(|| PLACES.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_path_buf))
}
