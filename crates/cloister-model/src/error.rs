//! What can go wrong between named tensors and a model.

use crate::CodeGenConfig;

/// A fault in a model's configuration, tensors or input.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ModelError {
    /// A size that the forward pass cannot work with.
    #[error("the model configuration is not usable: {0}; correct it in the package's architecture section")]
    Config(String),
    /// A tensor whose name the architecture does not have.
    #[error("the tensor `{0}` is not part of this architecture; the weights belong to another model")]
    UnknownTensor(String),
    /// A tensor given twice.
    #[error("the tensor `{0}` occurs twice; keep one of the two")]
    DuplicateTensor(String),
    /// A tensor of another shape than the configuration asks for.
    #[error(
        "the tensor `{name}` has the shape {found:?} where the configuration asks for {expected:?}; configuration and weights do not belong together"
    )]
    Shape {
        /// The tensor's name.
        name: String,
        /// What the configuration asks for.
        expected: Vec<usize>,
        /// What was given.
        found: Vec<usize>,
    },
    /// A tensor that holds NaN or infinities.
    #[error("the tensor `{0}` holds values that are not finite; the file is damaged or the training diverged")]
    NotFinite(String),
    /// A tensor whose element type is not floating point.
    #[error("the tensor `{name}` has the element type {dtype}; f32, f16 and bf16 can be read")]
    ElementType {
        /// The tensor's name.
        name: String,
        /// Its element type.
        dtype: String,
    },
    /// A tensor stored in another way than the package says.
    #[error(
        "the tensor `{name}` is stored {found} where the package says otherwise; shards and manifest do not belong together"
    )]
    Storage {
        /// The tensor's name.
        name: String,
        /// How it is stored.
        found: &'static str,
    },
    /// Tensors that never came.
    #[error("{count} tensors are missing, the first is `{first}`; the package is incomplete")]
    Missing {
        /// How many are missing.
        count: usize,
        /// The first of them in the architecture's order.
        first: String,
    },
    /// More tokens than the context holds.
    #[error("{tokens} tokens do not fit in a context of {context}; split the input into shorter windows")]
    ContextOverflow {
        /// Tokens asked for, cached ones included.
        tokens: usize,
        /// What the model holds.
        context: usize,
    },
}

impl ModelError {
    /// A token that the vocabulary does not have.
    pub(crate) fn outside(token: u32, config: &CodeGenConfig) -> Self {
        Self::Config(format!("the token {token} is outside the vocabulary of {}", config.vocab_size))
    }
}
