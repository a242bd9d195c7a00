//! Where results go.

use crate::error::CliError;
use crate::input::STDIO;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A file or standard output.
pub struct Output {
    path: PathBuf,
    writer: Box<dyn Write>,
}

impl Output {
    /// Opens a file, or standard output for `-` or no path.
    ///
    /// # Errors
    /// [`CliError::Write`] where the file cannot be made.
    pub fn open(path: Option<&Path>) -> Result<Self, CliError> {
        match path {
            Some(path) if path.as_os_str() != STDIO => {
                let file = File::create(path).map_err(|error| write_error(path, &error))?;
                Ok(Self { path: path.into(), writer: Box::new(BufWriter::new(file)) })
            }
            _ => Ok(Self { path: "standard output".into(), writer: Box::new(BufWriter::new(std::io::stdout())) }),
        }
    }

    /// Writes a text.
    ///
    /// # Errors
    /// [`CliError::Write`], or [`CliError::ClosedOutput`] where nobody reads any more.
    pub fn write(&mut self, text: &str) -> Result<(), CliError> {
        self.writer.write_all(text.as_bytes()).map_err(|error| write_error(&self.path, &error))
    }

    /// Writes what is held back, so that whoever waits for a line gets it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn flush(&mut self) -> Result<(), CliError> {
        self.writer.flush().map_err(|error| write_error(&self.path, &error))
    }
}

fn write_error(path: &Path, error: &std::io::Error) -> CliError {
    match error.kind() {
        ErrorKind::BrokenPipe => CliError::ClosedOutput,
        _ => CliError::Write { path: path.into(), reason: error.to_string() },
    }
}
