//! What can go wrong in a chore. Each message ends in a sentence that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// A chore could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the environment nor the working folder leads to the workspace.
    #[error("this folder is not inside the project. Change into a clone of it and run the command again.")]
    NoProject,

    /// A program is not there, or cannot be executed.
    #[error("cannot start `{program}` ({source}). {help}")]
    Start {
        /// The program as it was called.
        program: String,
        /// Why it did not start.
        source: io::Error,
        /// What to do.
        help: String,
    },

    /// A program ended with an error.
    #[error("`{command}` failed ({status}). {help}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What to do.
        help: String,
    },

    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}. Check that the path exists and that you may write there.", path.display())]
    File {
        /// What was being done, as a verb.
        action: &'static str,
        /// The path it was done to.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// Something needed is missing and this command cannot install it here.
    #[error("{what} {help}")]
    Missing {
        /// A sentence: what is missing.
        what: String,
        /// A sentence: what to do.
        help: String,
    },

    /// A file of the project does not say what it should.
    #[error("{} {problem}. {help}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, following the path in a sentence.
        problem: String,
        /// What to do.
        help: String,
    },

    /// The server cannot listen.
    #[error("cannot listen on 127.0.0.1:{port} ({reason}). Another program may hold the port: choose one with --port.")]
    Listen {
        /// The port asked for.
        port: u16,
        /// The system's answer.
        reason: String,
    },

    /// One or more checks found something.
    #[error("not clean: {}. Each one's own message stands above.", .0.join(", "))]
    Checks(Vec<String>),
}

/// The usual result of a chore.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on file operations.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }
}
