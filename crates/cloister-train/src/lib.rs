//! Trains the shipped model from its sources: corpus, tokenizer, pre-training, fine-tuning, calibration, export.

pub mod baseline;
pub mod batch;
pub mod bpe;
pub mod calibrate;
pub mod corpus;
pub mod error;
pub mod examples;
pub mod export;
pub mod finetune;
pub mod neural;
pub mod optimise;
pub mod pretrain;
pub mod recipe;
pub mod score;
pub mod tokens;

pub use error::TrainError;
