//! Fine-tuning of a CodeGen package on labelled code: the whole model, LoRA or IA3.
//!
//! - [`data`] reads rows and divides them by group; [`examples`] makes of them prompts with answers, the prompt's tokens
//!   masked from the loss.
//! - [`adapter`] holds what is learned beside a frozen model; [`forward`] is the forward pass with it.
//! - [`gradient`] computes gradients block by block: each block is computed again when its turn to go backward comes, so that
//!   memory does not grow with what happens inside the blocks.
//! - [`train`] is the loop with its checkpoints and its log, [`merge`] makes one model of model and adapters, and [`export`]
//!   a package.

pub mod adapter;
pub mod base;
pub mod data;
pub mod error;
pub mod examples;
pub mod export;
pub mod forward;
pub mod gradient;
pub mod merge;
pub mod objective;
pub mod optimise;
pub mod saved;
pub mod settings;
pub mod train;

pub use adapter::Adapters;
pub use base::Base;
pub use data::{Row, Split};
pub use error::FinetuneError;
pub use gradient::Tuned;
pub use settings::{Method, Schedule, Settings, Target};
