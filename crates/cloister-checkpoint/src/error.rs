//! What can be wrong with a checkpoint.

use cloister_engine::EngineError;
use cloister_model::ModelError;
use cloister_package::PackageError;

/// A fault in a checkpoint. Each variant names the file that has it.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A folder without weights.
    #[error(
        "{0} holds neither model.safetensors nor pytorch_model.bin (nor an index of parts); give the folder of a Hugging Face checkpoint"
    )]
    NoWeights(String),
    /// A file that cannot be read or written.
    #[error("{file} cannot be accessed ({reason}); check the path and its permissions")]
    Io {
        /// The file.
        file: String,
        /// The system's reason.
        reason: String,
    },
    /// A `config.json` that is not one of CodeGen.
    #[error("{file} is not the configuration of a CodeGen model: {problem}; take it from where the weights came from")]
    Config {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A weights file that is damaged, or is not what its name says.
    #[error("{file} cannot be read as weights: {problem}; download it again")]
    Weights {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An index that does not fit its parts.
    #[error(
        "{file} does not fit the files beside it: {problem}; download the checkpoint again, all files from one place"
    )]
    Index {
        /// The file.
        file: String,
        /// What does not fit.
        problem: String,
    },
    /// A tensor that does not belong to the configuration.
    #[error("in {file}: {source}")]
    Tensor {
        /// The file.
        file: String,
        /// What is wrong with the tensor.
        source: ModelError,
    },
    /// A tokenizer that cannot be used, or is not CodeGen's.
    #[error("{file} cannot be used as the tokenizer: {problem}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The package cannot be made.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The model refuses the sizes or the input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The finished package cannot be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Names the file of an input or output error.
pub(crate) fn at(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    let file = path.display().to_string();
    move |error| CheckpointError::Io { file, reason: error.to_string() }
}
