//! The engine: a loaded package and everything that is asked of it.

use crate::cache::ScoreCache;
use crate::{AnswerTrie, EngineError, PromptMaker, PromptTemplate, Scorer, Tokenizer};
use cloister_package::{Figure, LoadedPackage, Manifest, NONE_LABEL, SelfTest, TokenText, Tolerance};
use serde::Serialize;
use std::time::Duration;

/// Where the model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// On a GPU, through WebGPU.
    Webgpu,
    /// On the CPU.
    Cpu,
}

/// The largest difference between computed and pinned logits, and the largest allowed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfTestResult {
    /// Found.
    pub max_delta: f32,
    /// Allowed.
    pub tolerance: f32,
}

/// What runs, where, and how good it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// Where the model runs.
    pub backend: Backend,
    /// The device's own description.
    pub adapter: String,
    /// The precision of the arithmetic: `f32`.
    pub precision: &'static str,
    /// The package's id.
    pub model_id: String,
    /// The SHA-256 of the package's manifest, which names the whole package.
    pub model_hash: String,
    /// Number of parameters.
    pub parameters: usize,
    /// Tokens of the context.
    pub context_tokens: usize,
    /// The last self-test, where one was run.
    pub self_test: Option<SelfTestResult>,
    /// Tokens per second over the runs so far.
    pub tokens_per_second: Option<f64>,
    /// The package's threshold.
    pub default_threshold: f64,
    /// The CWE ids that can be reported.
    pub labels: Vec<String>,
    /// Whether the model answers in words, and so can be asked for its own ([`Engine::generate`]).
    pub speaks: bool,
    /// What users of the model must know.
    pub card: ModelCard,
}

/// What users of the model must know.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelCard {
    /// The model's name.
    pub name: String,
    /// What it learned from.
    pub trained_on: Vec<String>,
    /// What it cannot see.
    pub cannot_see: Vec<String>,
    /// How good it is, measured.
    pub figures: Vec<Figure>,
}

impl ModelCard {
    /// What a manifest tells its users.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            name: manifest.name.clone(),
            trained_on: manifest.card.trained_on.clone(),
            cannot_see: manifest.card.cannot_see.clone(),
            figures: manifest.evaluation.clone(),
        }
    }
}

/// A package on a device.
#[derive(Debug)]
pub struct Engine {
    pub(crate) manifest: Manifest,
    hash: String,
    pub(crate) prompts: PromptMaker,
    pub(crate) scorer: Scorer,
    pub(crate) cache: ScoreCache,
    pub(crate) speed: Speed,
    backend: Backend,
    adapter: String,
    self_test: Option<SelfTestResult>,
}

impl Engine {
    /// Prepares a package that was loaded to a device of this backend. `adapter` is the device's own description.
    ///
    /// # Errors
    /// [`EngineError`] where tokenizer, prompt, answers and model do not belong together.
    pub fn new(package: LoadedPackage, backend: Backend, adapter: impl Into<String>) -> Result<Self, EngineError> {
        let LoadedPackage { manifest, hash, tokenizer, model } = package;
        let tokenizer = Tokenizer::from_bytes(&tokenizer)?;
        let config = &manifest.architecture.config;
        if tokenizer.vocab_size() > config.vocab_size {
            return Err(EngineError::Inconsistent(format!(
                "the tokenizer has {} tokens where the model knows {}",
                tokenizer.vocab_size(),
                config.vocab_size
            )));
        }
        check_text(&tokenizer, "the prefix", &manifest.prompt.prefix)?;
        check_text(&tokenizer, "the suffix", &manifest.prompt.suffix)?;
        for label in &manifest.labels {
            check_text(&tokenizer, &format!("the answer of {}", label.label), &label.answer)?;
        }
        let answers = AnswerTrie::new(manifest.labels.iter().map(|label| label.answer.tokens.as_slice()))?;
        let template = PromptTemplate {
            prefix: manifest.prompt.prefix.tokens.clone(),
            suffix: manifest.prompt.suffix.tokens.clone(),
        };
        // What an answer takes of the context is not left for code.
        let room = config.n_positions.saturating_sub(answers.depth());
        let prompts = PromptMaker::new(tokenizer, template.clone(), room);
        let mut scorer = Scorer::new(model, template.prefix, answers)?;
        if let Some(none) = manifest.none_index().filter(|_| manifest.prompt.line_evidence) {
            scorer = scorer.with_line_evidence(none);
        }
        Ok(Self {
            manifest,
            hash,
            prompts,
            scorer,
            cache: ScoreCache::new(),
            speed: Speed::default(),
            backend,
            adapter: adapter.into(),
            self_test: None,
        })
    }

    /// Computes the package's known input on the device and compares with the pinned logits. Its text, where it has
    /// one, must come out of the parser and the tokenizer as the pinned tokens.
    ///
    /// # Errors
    /// [`EngineError::SelfTest`] where the logits differ by more than the package allows for the backend,
    /// [`EngineError::Inconsistent`] where the tokens are others.
    pub async fn self_test(&mut self) -> Result<SelfTestResult, EngineError> {
        let test = &self.manifest.self_test;
        if !test.text.is_empty() && self.prompts.first(&test.text)? != test.tokens {
            return Err(EngineError::Inconsistent(
                "the self-test's text gives other tokens than the pinned ones".into(),
            ));
        }
        let tolerance = match self.backend {
            Backend::Cpu => test.tolerance.cpu,
            Backend::Webgpu => test.tolerance.webgpu,
        };
        let score = self.scorer.score(&test.tokens, &[]).await?;
        // `max` would skip a NaN, but the scorer has refused those.
        let max_delta = score.logits.iter().zip(&test.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if max_delta > tolerance {
            return Err(EngineError::SelfTest { max_delta, tolerance });
        }
        let result = SelfTestResult { max_delta, tolerance };
        self.self_test = Some(result);
        Ok(result)
    }

    /// Computes a self-test for this package, to be pinned in its manifest.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] where `text` holds no code.
    pub async fn pin_self_test(&self, text: &str, tolerance: Tolerance) -> Result<SelfTest, EngineError> {
        let tokens = self.prompts.first(text)?;
        let score = self.scorer.score(&tokens, &[]).await?;
        Ok(SelfTest { text: text.into(), tokens, logits: score.logits, tolerance })
    }

    /// What `model.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.prompts.tokenizer()
    }

    /// What runs, where, and how good it is.
    pub fn info(&self) -> Info {
        let config = self.scorer.model().config();
        let labels = self.manifest.labels.iter().map(|label| label.label.clone());
        Info {
            backend: self.backend,
            adapter: self.adapter.clone(),
            precision: "f32",
            model_id: self.manifest.id.clone(),
            model_hash: self.hash.clone(),
            parameters: config.num_params(),
            context_tokens: config.n_positions,
            self_test: self.self_test,
            tokens_per_second: self.speed.tokens_per_second(),
            default_threshold: self.manifest.threshold,
            labels: labels.filter(|label| label != NONE_LABEL).collect(),
            speaks: self.manifest.prompt.speaks(),
            card: ModelCard::of(&self.manifest),
        }
    }
}

/// A pinned text and its tokens must be the same to this tokenizer: else the package was put together from two.
fn check_text(tokenizer: &Tokenizer, what: &str, pinned: &TokenText) -> Result<(), EngineError> {
    let decoded = tokenizer.decode(&pinned.tokens)?;
    if decoded == pinned.text {
        return Ok(());
    }
    Err(EngineError::Inconsistent(format!("{what} is {:?}, and its tokens stand for {decoded:?}", pinned.text)))
}

/// Tokens per second, over the runs so far with the older ones counting less.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Speed {
    tokens: f64,
    seconds: f64,
}

impl Speed {
    /// Tokens after which a run counts half: a few seconds of work on a slow machine.
    const MEMORY: f64 = 20_000.0;

    pub(crate) fn add(&mut self, tokens: usize, time: Duration) {
        let fade = 0.5f64.powf(tokens as f64 / Self::MEMORY);
        self.tokens = self.tokens * fade + tokens as f64;
        self.seconds = self.seconds * fade + time.as_secs_f64();
    }

    fn tokens_per_second(self) -> Option<f64> {
        (self.tokens > 0.0 && self.seconds > 0.0).then(|| self.tokens / self.seconds)
    }
}
