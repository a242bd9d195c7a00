//! Checkpoints of CodeGen as Hugging Face's libraries write them, and packages made of them.
//!
//! [`import`](import::import) reads `config.json`, the tokenizer and the weights (safetensors or PyTorch files, whole or in
//! parts) and writes a package, one tensor at a time. Nothing in a checkpoint is run: pickles are parsed for tensors.

mod config;
pub mod error;
pub mod import;
mod tokenizer;
pub mod weights;

pub use error::CheckpointError;
pub use import::{ImportOptions, study_options};
