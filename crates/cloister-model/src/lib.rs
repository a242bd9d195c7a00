//! The CodeGen language model (Nijkamp et al., 2022) in burn.
//!
//! This crate is the mathematics alone: it reads no files and knows no browser. The forward pass is that of
//! `CodeGenForCausalLM` in Hugging Face transformers, which the parity tests hold it to.
//!
//! - [`CodeGenConfig`] names every size; [`CodeGenConfig::codegen_350m_mono`] is the published shape.
//! - [`CodeGen`] is the module as it is trained: [`CodeGen::logits`] over the whole vocabulary, [`LabelHead`] over a few
//!   rows of it.
//! - [`Inference`] is the model as it is asked: [`Inference::prefill`] behind a [`KvCache`], with matrices that stay as packed
//!   as they were stored ([`packed`]) and embedding and head in the host's memory.
//! - [`CodeGenBuilder`] and [`InferenceBuilder`] take named tensors one at a time, in any order, and upload each at once.
//! - [`LayerwiseForward`] runs a model whose tensors come one after the other.
//! - [`quant`] keeps matrices in 8 and 4 bits.
//! - [`import`] turns Hugging Face's tensors into this crate's layout.

pub mod config;
pub mod error;
pub mod import;
pub mod inference;
mod layerwise;
pub mod nn;
pub mod packed;
pub mod quant;
mod weights;

pub use config::CodeGenConfig;
pub use error::ModelError;
pub use inference::{Inference, InferenceBuilder};
pub use layerwise::LayerwiseForward;
pub use nn::attention::KvCache;
pub use nn::codegen::{CodeGen, LabelHead};
pub use nn::line_pointer::LinePointer;
pub use nn::rotary::Positions;
pub use weights::{CodeGenBuilder, ModelBuilder, named_tensors, tensor_shapes};
