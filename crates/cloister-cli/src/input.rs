//! Files and folders to read.

use crate::error::CliError;
use ignore::WalkBuilder;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// What stands for standard input and output.
pub const STDIO: &str = "-";

/// Endings of Python source in folders. A file that is named itself is read whatever its ending.
const ENDINGS: [&str; 2] = ["py", "pyw"];

/// The most that is read of one file. The parser reads less and says so; this only keeps a wrong path from filling the
/// memory.
const MOST_BYTES: u64 = 64 << 20;

/// One file to scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Source {
    /// Its name in reports, with `/` on every system.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "<stdin>".into(),
            Self::File(path) => {
                let path = path.strip_prefix(".").unwrap_or(path);
                path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/")
            }
        }
    }

    /// Its text. What is not UTF-8 becomes U+FFFD, and the parser remarks on it.
    ///
    /// # Errors
    /// [`CliError::Read`] where it cannot be read.
    pub fn read(&self) -> Result<String, CliError> {
        let mut bytes = Vec::new();
        let read = |reader: &mut dyn Read, bytes: &mut Vec<u8>| reader.take(MOST_BYTES).read_to_end(bytes);
        match self {
            Self::Stdin => read(&mut std::io::stdin().lock(), &mut bytes).map_err(read_error(Path::new(STDIO)))?,
            Self::File(path) => {
                File::open(path).and_then(|mut file| read(&mut file, &mut bytes)).map_err(read_error(path))?
            }
        };
        Ok(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }
}

/// The files that the paths mean, each once, in the order of the paths and sorted within a folder. What cannot be
/// looked into is told to `fault`.
pub fn sources(paths: &[PathBuf], mut fault: impl FnMut(&CliError)) -> Vec<Source> {
    let (mut found, mut names) = (Vec::new(), HashSet::new());
    // Reports tell files apart by name.
    let mut add = |source: Source| {
        if names.insert(source.name()) {
            found.push(source);
        }
    };
    for path in paths {
        if path.as_os_str() == STDIO {
            add(Source::Stdin);
        } else if path.is_dir() {
            for entry in WalkBuilder::new(path).require_git(false).sort_by_file_path(Path::cmp).build() {
                match entry {
                    Ok(entry) if is_python(entry.path()) && entry.file_type().is_some_and(|kind| kind.is_file()) => {
                        add(Source::File(entry.into_path()));
                    }
                    Ok(_) => {}
                    Err(error) => fault(&CliError::Read { path: path.clone(), reason: error.to_string() }),
                }
            }
        } else {
            add(Source::File(path.clone()));
        }
    }
    found
}

fn is_python(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// Lines of a file or of standard input.
///
/// # Errors
/// [`CliError::Read`] where it cannot be opened.
pub fn lines(path: &Path) -> Result<Box<dyn BufRead>, CliError> {
    if path.as_os_str() == STDIO {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(path).map_err(read_error(path))?)))
}

fn read_error(path: &Path) -> impl Fn(std::io::Error) -> CliError {
    |error| CliError::Read { path: path.into(), reason: error.to_string() }
}
