//! What can go wrong on the command line.

use cloister_checkpoint::CheckpointError;
use cloister_engine::EngineError;
use cloister_eval::EvalError;
use cloister_finetune::FinetuneError;
use cloister_package::PackageError;
use std::path::PathBuf;

/// A fault that ends the program.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No model package was found.
    #[error(
        "no model package was found (looked for model.json in {}); give its folder with --package DIR or in CLOISTER_PACKAGE",
        list(.0)
    )]
    NoPackage(Vec<PathBuf>),
    /// A fault of the package.
    #[error("in the package {folder}: {source}")]
    Package {
        /// Its folder.
        folder: PathBuf,
        /// The fault.
        source: PackageError,
    },
    /// A fault of the engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A fault of a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A fault of fine-tuning.
    #[error(transparent)]
    Finetune(#[from] FinetuneError),
    /// A prompt file that cannot be used.
    #[error(
        "{path} is not a prompt: {reason}; it has to have prefix, suffix and answers, as `cloister import --help` says"
    )]
    Prompt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model that has no words of its own.
    #[error(
        "{0} does not answer in words; give a package of a model that was tuned to, as `cloister import` makes them"
    )]
    Speechless(String),
    /// A GPU was asked for and there is none that can be used.
    #[error("the GPU cannot be used: {0}; use --device cpu")]
    NoGpu(String),
    /// A file that cannot be read.
    #[error("{path} cannot be read ({reason}); check the path and its permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A file that cannot be written.
    #[error("{path} cannot be written ({reason}); check the path and the space left")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Whoever reads the output has closed it.
    #[error("the output was closed; nothing is left to do")]
    ClosedOutput,
    /// Rows or predictions that cannot be measured.
    #[error("in {path}: {source}")]
    Rows {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: EvalError,
    },
    /// Predictions that do not belong to the rows.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A report that cannot be written in its format.
    #[error("the report cannot be made ({0}); try another --format, and please report this")]
    Report(String),
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}
