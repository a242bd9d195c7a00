//! What a run depends on beside base and rows.

use crate::FinetuneError;
use serde::{Deserialize, Serialize};

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Every weight.
    Full,
    /// Two thin matrices beside each chosen matrix (Hu et al., 2021).
    Lora,
    /// A factor for each key, value and inner activation of the feed-forward layer (Liu et al., 2022).
    Ia3,
}

impl Method {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lora => "lora",
            Self::Ia3 => "ia3",
        }
    }

    /// The peak learning rate where none is given: the fewer parameters there are, the further each has to go.
    pub fn default_learning_rate(self) -> f64 {
        match self {
            Self::Full => 5e-5,
            Self::Lora => 5e-4,
            Self::Ia3 => 5e-3,
        }
    }
}

/// A matrix of each block that LoRA can stand beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// How the learning rate falls after its rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine.
    Cosine,
    /// A line.
    Linear,
}

/// Everything that a run depends on beside base and rows. What is resumed must have been begun with the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is learned.
    pub method: Method,
    /// LoRA: the inner dimension.
    pub rank: usize,
    /// LoRA: what is learned counts `alpha / rank` times.
    pub alpha: f64,
    /// LoRA: the matrices that it stands beside.
    pub targets: Vec<Target>,
    /// Optimiser steps.
    pub steps: usize,
    /// Examples of a step.
    pub batch: usize,
    /// Examples that go through the model at once; a step adds up the gradients of as many as it takes.
    pub micro_batch: usize,
    /// The longest example in tokens, at most the model's context.
    pub sequence: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises.
    pub warmup: usize,
    /// How it falls to 0 afterwards.
    pub schedule: Schedule,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// The largest norm of all gradients together.
    pub clip: f64,
    /// Seed of fresh adapters and of the order of the examples.
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

impl Settings {
    /// Usual values for a method.
    pub fn new(method: Method) -> Self {
        Self {
            method,
            rank: 8,
            alpha: 16.0,
            targets: vec![Target::QkvProj, Target::OutProj],
            steps: 100,
            batch: 16,
            micro_batch: 1,
            sequence: 512,
            learning_rate: method.default_learning_rate(),
            warmup: 10,
            schedule: Schedule::Cosine,
            weight_decay: 0.0,
            clip: 1.0,
            seed: 0,
            checkpoint_every: 50,
        }
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`FinetuneError::Setting`] names the first that cannot be used.
    pub fn validate(&self) -> Result<(), FinetuneError> {
        let fail = |name, problem: &str| Err(FinetuneError::Setting { name, problem: problem.into() });
        for (name, value) in [
            ("--rank", self.rank),
            ("--steps", self.steps),
            ("--batch", self.batch),
            ("--micro-batch", self.micro_batch),
            ("--sequence", self.sequence),
            ("--checkpoint-every", self.checkpoint_every),
        ] {
            if value == 0 {
                return fail(name, "is 0; give 1 or more");
            }
        }
        if self.method == Method::Lora && self.targets.is_empty() {
            return fail("--targets", "is empty; name one matrix or more");
        }
        for (name, value) in [("--learning-rate", self.learning_rate), ("--alpha", self.alpha), ("--clip", self.clip)] {
            if !(value > 0.0 && value.is_finite()) {
                return fail(name, "is not a number above 0; give one such as 0.001");
            }
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return fail("--weight-decay", "is not a number from 0 on; give one such as 0.01");
        }
        Ok(())
    }

    /// The learning rate of a step: a line up, then down to 0 at the last step.
    pub fn rate(&self, step: usize) -> f64 {
        let warmup = self.warmup.min(self.steps);
        if step < warmup {
            return self.learning_rate * (step + 1) as f64 / warmup as f64;
        }
        let progress = ((step - warmup) as f64 / (self.steps - warmup).max(1) as f64).min(1.0);
        self.learning_rate
            * match self.schedule {
                Schedule::Linear => 1.0 - progress,
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        for schedule in [Schedule::Cosine, Schedule::Linear] {
            let settings =
                Settings { steps: 20, warmup: 4, learning_rate: 1.0, schedule, ..Settings::new(Method::Lora) };
            let rates: Vec<f64> = (0..20).map(|step| settings.rate(step)).collect();
            assert_eq!(rates[..4], [0.25, 0.5, 0.75, 1.0]);
            assert!(rates[4..].is_sorted_by(|a, b| a > b), "{rates:?}");
            assert!(rates[19] > 0.0 && rates[19] < 0.1 && settings.rate(20) < 1e-9, "{rates:?}");
        }
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        let good = Settings::new(Method::Lora);
        good.validate().unwrap();
        for (broken, name) in [
            (Settings { rank: 0, ..good.clone() }, "--rank"),
            (Settings { targets: Vec::new(), ..good.clone() }, "--targets"),
            (Settings { learning_rate: f64::NAN, ..good.clone() }, "--learning-rate"),
            (Settings { weight_decay: -1.0, ..good.clone() }, "--weight-decay"),
        ] {
            let error = broken.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
