//! The recipe of the shipped model: `assets/training/recipe.toml`.

use crate::TrainError;
use crate::error::at;
use cloister_model::CodeGenConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Every choice that the shipped model depends on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The package's id.
    pub id: String,
    /// The package's name for people.
    pub name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// The model's sizes.
    pub model: CodeGenConfig,
    /// The texts around the code.
    pub prompt: PromptTexts,
    /// Tokens of a row in pre-training.
    pub sequence: usize,
    /// Language-model pre-training.
    pub pretrain: Stage,
    /// Instruction fine-tuning.
    pub finetune: Finetune,
}

/// The texts around the code.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptTexts {
    /// Before the code.
    pub prefix: String,
    /// Behind it; its last token predicts the answer.
    pub suffix: String,
}

/// A stage of training.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Optimiser steps of each cycle of the learning rate, one after the other. A model that has finished its cycles
    /// can be given another without starting again.
    pub cycles: Vec<usize>,
    /// The finished model is the mean of the models at the ends of the last so many cycles, weight by weight (Izmailov et
    /// al., 2018).
    #[serde(default = "one")]
    pub average: usize,
    /// Tokens per step, padding included.
    pub batch_tokens: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from 0 at the beginning of a cycle.
    pub warmup: usize,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

impl Stage {
    /// Optimiser steps of all cycles.
    pub fn steps(&self) -> usize {
        self.cycles.iter().sum()
    }

    /// The steps at which the cycles end.
    pub fn ends(&self) -> Vec<usize> {
        let mut step = 0;
        let end = |length: &usize| {
            step += length;
            step
        };
        self.cycles.iter().map(end).collect()
    }
}

fn one() -> usize {
    1
}

/// Instruction fine-tuning: the stage and what its batches are drawn from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finetune {
    /// The stage.
    #[serde(flatten)]
    pub stage: Stage,
    /// Weight of the line pointer's loss beside the answer's.
    pub line_weight: f64,
    /// Weight of the labels at the lines' ends beside the answer's.
    pub line_label_weight: f64,
    /// Weight of the twins' margin loss beside the answer's.
    pub margin_weight: f64,
    /// Weight of the next token's loss beside the answer's: it keeps alive what pre-training taught.
    pub language_weight: f64,
    /// Batches of the data set that are learned from and calibrated on: later ones came after the model.
    pub data_batches: u32,
    /// Share of batches' items that are authored pairs.
    pub authored_share: f64,
    /// Share that are changes of authored modules; where there is none, the modules are not used at all.
    #[serde(default)]
    pub module_share: f64,
    /// Share that are patterns in real functions.
    pub pattern_share: f64,
    /// Share that are real functions with a protection taken out.
    pub mutation_share: f64,
    /// How often the safe form of another pattern stands in the same function.
    pub bystander_share: f64,
    /// The classes that are met most often in Python: their patterns are drawn `common_weight` times as often as others.
    pub common: Vec<String>,
    /// How much oftener.
    pub common_weight: f64,
    /// Share of local names that are renamed in authored code.
    pub rename_share: f64,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`TrainError`] where it cannot be read.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(at(path))?;
        let recipe: Self = toml::from_str(&text)
            .map_err(|error| TrainError::Content { path: path.into(), reason: error.to_string() })?;
        recipe.model.validate()?;
        Ok(recipe)
    }
}
