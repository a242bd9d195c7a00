//! What can go wrong between a package and its findings.

use crate::TokenizerError;
use cloister_model::ModelError;
use cloister_package::PackageError;

/// A fault of the engine. Faults of the text that is analysed are notices, not errors.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum EngineError {
    /// A fault of the package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The model refused its input.
    #[error("the model cannot be run: {0}")]
    Model(#[from] ModelError),
    /// A fault of the tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Tokenizer and manifest do not belong together.
    #[error("the package contradicts itself: {0}; build or fetch it again")]
    Inconsistent(String),
    /// There is nothing to show the model.
    #[error("the file holds no code; give one with a function or a statement")]
    NoCode,
    /// The device failed.
    #[error("the device failed while computing ({0}); try again, or choose the CPU")]
    Device(String),
    /// The device computes something else than was pinned.
    #[error(
        "the self-test failed: the logits differ by {max_delta} from the pinned ones where {tolerance} is allowed; this device computes wrongly, choose the CPU"
    )]
    SelfTest {
        /// The largest difference; infinite where the device gave no numbers.
        max_delta: f32,
        /// The largest allowed.
        tolerance: f32,
    },
}

impl EngineError {
    /// A short constant name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Package(error) => error.kind(),
            Self::Model(_) => "model",
            Self::Tokenizer(_) => "tokenizer",
            Self::Inconsistent(_) => "inconsistent-package",
            Self::NoCode => "no-code",
            Self::Device(_) => "device",
            Self::SelfTest { .. } => "self-test",
        }
    }
}
