//! What can go wrong in fine-tuning.

use cloister_checkpoint::CheckpointError;
use cloister_engine::EngineError;
use cloister_eval::EvalError;
use cloister_model::ModelError;
use cloister_package::PackageError;
use std::path::{Path, PathBuf};

/// A fault that ends fine-tuning.
#[derive(Debug, thiserror::Error)]
pub enum FinetuneError {
    /// A file that cannot be read or written.
    #[error("{path} cannot be accessed ({reason}); check the path, its permissions and the space left")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// A bad row.
    #[error("in {path}: {source}")]
    Rows {
        /// The file.
        path: PathBuf,
        /// The line and its fault.
        source: EvalError,
    },
    /// Rows of which nothing can be learned.
    #[error("{0}; give rows with `code` and `cwe`, of classes that the base has an answer for")]
    NoRows(String),
    /// Neither a package nor a checkpoint.
    #[error("{0} holds neither model.json nor config.json; give the folder of a model package or of a checkpoint")]
    NoBase(PathBuf),
    /// A setting that cannot be used.
    #[error("the setting {name} {problem}")]
    Setting {
        /// Its name on the command line.
        name: &'static str,
        /// What is wrong with it and what to do.
        problem: String,
    },
    /// Another run stands in the folder.
    #[error("{path} holds a run with other settings ({what}); give another --output, or remove it to start again")]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// A checkpoint or an adapter that cannot be read or written.
    #[error("{path} cannot be used: {reason}; remove it to start again")]
    Saved {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An adapter that was made for another base.
    #[error(
        "the adapter in {path} was made for the package {expected} and not for {found}; give the package that it was tuned on"
    )]
    OtherBase {
        /// The adapter's folder.
        path: PathBuf,
        /// The hash that it names.
        expected: String,
        /// The hash of the package given.
        found: String,
    },
    /// The loss or a gradient is not finite.
    #[error("the loss is no longer finite at step {0}; choose a lower --learning-rate")]
    Diverged(usize),
    /// A fault of a package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A fault of a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A fault of tokenizer, prompt or answers.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model refuses its input.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Names the file of an input or output error.
pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> FinetuneError {
    let path = path.to_path_buf();
    move |error| FinetuneError::Io { path, reason: error.to_string() }
}
