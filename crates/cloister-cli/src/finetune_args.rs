//! The arguments of `cloister finetune` and `cloister merge`.

use crate::args::{DeviceChoice, Precision};
use clap::{Args, ValueEnum};
use cloister_finetune as tuning;
use std::path::PathBuf;

/// `cloister finetune`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cloister finetune --base PACKAGE --data rows.jsonl --output OUT          LoRA, and a table\n  \
    cloister finetune --base DIR --data rows.jsonl --output OUT --preset study\n  \
    cloister finetune --base PACKAGE --data rows.jsonl --output OUT --method full,lora,ia3 --seed 0,1,2\n\n\
    A run that was cut off goes on from its last checkpoint when the command is given again.")]
pub struct FinetuneCommand {
    /// What to start from: the folder of a model package, or of a CodeGen checkpoint as Hugging Face's libraries write it.
    #[arg(long, value_name = "PACKAGE_OR_DIR")]
    pub base: PathBuf,
    /// JSON Lines with `code` and `cwe` (null or "none" for no weakness) on each line; also `id`, `safe`, `line`, `group`
    /// and `split` (`train` is learned from, `test` is held out).
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The folder for adapter, checkpoints, log, package and table.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// What is learned; several are tried one after the other [default: lora]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub method: Vec<Method>,
    /// Values that belong together; those given beside it count.
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Rows that are measured on and not learned from [default: the rows with the split `test`, else a share of --data]
    #[arg(long, value_name = "FILE")]
    pub held_out: Option<PathBuf>,
    /// The share of --data that is held out where neither file nor splits say which, 0 to 0.9; groups stay whole.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = 0.2)]
    pub held_out_share: f64,
    /// Learn from at most so many rows; groups stay whole.
    #[arg(long, value_name = "N")]
    pub rows: Option<usize>,
    /// Where the merged package goes, with one method and one seed [default: `package` in the run's folder]
    #[arg(long, value_name = "PACKAGE")]
    pub export: Option<PathBuf>,
    /// How the merged package's matrices are stored.
    #[arg(long, value_enum, default_value_t = Precision::F16)]
    pub quantize: Precision,
    /// For a checkpoint: JSON with the prompt, as for `cloister import`.
    #[arg(long, value_name = "FILE")]
    pub prompt: Option<PathBuf>,
    /// Where the model is trained and measured.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Optimiser steps [default: as many as 3 epochs have]
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    pub steps: Option<usize>,
    /// How often each example is met [default: 3]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
    /// Examples of a step [default: 16]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Examples that go through the model at once: more take more memory.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub micro_batch: usize,
    /// The longest example in tokens [default: the base's context, at most 512]
    #[arg(long, value_name = "N")]
    pub sequence: Option<usize>,
    /// Peak learning rate [default: 5e-5 for full, 5e-4 for lora, 5e-3 for ia3]
    #[arg(long, value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// Steps over which the learning rate rises [default: a twentieth of all]
    #[arg(long, value_name = "N")]
    pub warmup: Option<usize>,
    /// How the learning rate falls afterwards [default: cosine]
    #[arg(long, value_enum)]
    pub schedule: Option<Schedule>,
    /// AdamW's weight decay.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub weight_decay: f32,
    /// The largest norm of a step's gradients.
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    pub clip: f64,
    /// LoRA: the inner dimension.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub rank: usize,
    /// LoRA: what is learned counts alpha / rank times.
    #[arg(long, value_name = "N", default_value_t = 16.0)]
    pub alpha: f64,
    /// LoRA: the matrices that it stands beside.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Target::QkvProj, Target::OutProj])]
    pub targets: Vec<Target>,
    /// Seed of fresh adapters and of the order of the rows; several are tried one after the other.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [0])]
    pub seed: Vec<u64>,
    /// Steps between checkpoints.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub checkpoint_every: usize,
}

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Every weight.
    Full,
    /// Two thin matrices beside each chosen one.
    Lora,
    /// Factors of keys, values and inner activations.
    Ia3,
}

impl From<Method> for tuning::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Full => Self::Full,
            Method::Lora => Self::Lora,
            Method::Ia3 => Self::Ia3,
        }
    }
}

/// Values that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// The study's: every weight, 500 rows, 100 held out; 3 epochs of batches of 8, a linear fall. See docs/finetuning.md.
    Study,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// Half a cosine.
    Cosine,
    /// A line.
    Linear,
}

impl From<Schedule> for tuning::Schedule {
    fn from(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Cosine => Self::Cosine,
            Schedule::Linear => Self::Linear,
        }
    }
}

/// A matrix of each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Target {
    /// Queries, keys and values.
    QkvProj,
    /// Out of attention.
    OutProj,
    /// Into the feed-forward layer.
    FcIn,
    /// Out of it.
    FcOut,
}

impl From<Target> for tuning::Target {
    fn from(target: Target) -> Self {
        match target {
            Target::QkvProj => Self::QkvProj,
            Target::OutProj => Self::OutProj,
            Target::FcIn => Self::FcIn,
            Target::FcOut => Self::FcOut,
        }
    }
}

/// `cloister merge`.
#[derive(Debug, Args)]
pub struct MergeCommand {
    /// The package that the adapter was tuned on.
    #[arg(long, value_name = "PACKAGE")]
    pub base: PathBuf,
    /// The folder of the adapter (adapter.safetensors and adapter.json).
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// The folder of the package to write.
    #[arg(long, short, value_name = "PACKAGE")]
    pub output: PathBuf,
    /// How the matrices are stored.
    #[arg(long, value_enum, default_value_t = Precision::F16)]
    pub quantize: Precision,
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.0..=0.9).contains(value))
        .ok_or_else(|| "give a number from 0 to 0.9, such as 0.2".to_string())
}
