//! `model.json`.

use crate::PackageError;
use cloister_model::CodeGenConfig;
use cloister_model::quant::{BLOCK, Bits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The content of `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The version of the format, [`crate::SCHEMA`].
    pub schema: u64,
    /// Which model this is, in lower-case words: `cloister-small-1`.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// What the weights are the weights of.
    pub architecture: Architecture,
    /// The tokenizer, in the format of the tokenizers library. Added tokens that are special are never read from the
    /// user's text.
    pub tokenizer: FileEntry,
    /// What stands before and behind the code.
    pub prompt: Prompt,
    /// The answers, one of them [`crate::NONE_LABEL`]. The order is that of every list of logits.
    pub labels: Vec<Label>,
    /// From logits to probabilities.
    pub calibration: Calibration,
    /// A unit whose probability of a weakness reaches this is reported, 0 to 1.
    pub threshold: f64,
    /// How the model came to be.
    pub training: Training,
    /// How good it is, measured.
    pub evaluation: Vec<Figure>,
    /// What its users must know.
    pub card: Card,
    /// A known input with its logits.
    pub self_test: SelfTest,
    /// The shards.
    pub weights: Weights,
}

/// What the weights are the weights of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// `codegen`.
    pub family: String,
    /// Every size.
    pub config: CodeGenConfig,
}

impl Architecture {
    /// The family that this crate loads.
    pub const CODEGEN: &str = "codegen";

    /// CodeGen of these sizes.
    pub fn codegen(config: CodeGenConfig) -> Self {
        Self { family: Self::CODEGEN.into(), config }
    }
}

/// One file of the package beside `model.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its plain name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 as 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// A text with the tokens that stand for it. The tokens are what the model reads; they are pinned here because special
/// tokens are not read from texts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenText {
    /// For people.
    pub text: String,
    /// For the model.
    pub tokens: Vec<u32>,
}

/// The prompt is prefix, code, suffix. The state at its last token predicts the answer; with line evidence, the states at
/// the ends of the lines as well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prompt {
    /// Before the code. May be empty.
    pub prefix: TokenText,
    /// Behind the code. May be empty only where the prefix is not.
    pub suffix: TokenText,
    /// Whether the answer is asked at the end of every line of the unit as well, each line adding its odds. For models
    /// that were trained for it; absent means no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub line_evidence: bool,
    /// The tokens with which the model ends what it says, where it was trained to answer in words; absent where it was not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<u32>,
}

impl Prompt {
    /// Whether the model answers in words.
    pub fn speaks(&self) -> bool {
        !self.stop.is_empty()
    }
}

/// One answer that the model can give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// `none`, or a CWE id such as `CWE-89`.
    pub label: String,
    /// What the model says for it.
    pub answer: TokenText,
}

/// From label logits to calibrated probabilities.
///
/// With z = logsumexp over the CWE logits − the logit of `none`:
/// P(weak) = sigmoid(scale · z + offset), and P(CWE | weak) is the softmax of the CWE logits over `temperature`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Above 0.
    pub scale: f64,
    /// Any finite value.
    pub offset: f64,
    /// Above 0.
    pub temperature: f64,
}

impl Default for Calibration {
    /// The probabilities of the model itself.
    fn default() -> Self {
        Self { scale: 1.0, offset: 0.0, temperature: 1.0 }
    }
}

/// How the model came to be. What is not known is left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Training {
    /// The command that reproduces it.
    pub command: String,
    /// The seed of everything random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Optimiser steps, pre-training and fine-tuning together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Tokens seen, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What the language model was trained on.
    pub corpus: Vec<CorpusEntry>,
    /// What it was fine-tuned on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetEntry>,
    /// Whatever else matters.
    pub notes: String,
}

/// One source of training text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CorpusEntry {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as an SPDX expression.
    pub licence: String,
}

/// The data set of the fine-tuning.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatasetEntry {
    /// Examples.
    pub rows: u64,
    /// Groups of examples that stay on one side of a split.
    pub groups: u64,
    /// The SHA-256 of the data set.
    pub sha256: String,
}

/// One measured figure.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Lower end of the 95 % interval, where there is one.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// On how many examples.
    pub n: u64,
    /// Of which data.
    pub data: String,
    /// The command that repeats the measurement.
    pub command: String,
}

/// What users of the model must know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Card {
    /// What it learned from, in sentences.
    pub trained_on: Vec<String>,
    /// What it cannot see, in sentences.
    pub cannot_see: Vec<String>,
}

/// A known input with its logits, to be computed anew on each device before the device is trusted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    /// Python whose first window of the first unit gives `tokens`; may be empty.
    pub text: String,
    /// The whole prompt.
    pub tokens: Vec<u32>,
    /// One per label, of the last token alone.
    pub logits: Vec<f32>,
    /// The largest difference to accept.
    pub tolerance: Tolerance,
}

/// The largest difference from the pinned logits to accept, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// On a CPU.
    pub cpu: f32,
    /// On a GPU.
    pub webgpu: f32,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { cpu: 1e-3, webgpu: 1e-2 }
    }
}

/// The shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// The element type of the matrices, or of their scales where they are quantised; vectors are kept in f32.
    pub dtype: WeightType,
    /// `null`, or how the matrices are quantised.
    pub quantization: Option<Quantization>,
    /// safetensors files of at most [`crate::MAX_SHARD_BYTES`].
    pub shards: Vec<FileEntry>,
}

impl Weights {
    /// Plain weights; the shards are for the writer to fill in.
    pub fn plain(dtype: WeightType) -> Self {
        Self { dtype, quantization: None, shards: Vec::new() }
    }

    /// Matrices in few bits; the shards are for the writer to fill in.
    pub fn quantized(bits: Bits) -> Self {
        Self { dtype: WeightType::F16, quantization: Some(Quantization::of(bits)), shards: Vec::new() }
    }

    /// How many bits an element of the matrices has, where they are quantised in a way that this crate knows.
    pub fn bits(&self) -> Option<Bits> {
        self.quantization.as_ref().and_then(Quantization::bits)
    }
}

/// Element types of stored matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
}

/// A way of storing weights in fewer bits. Schemes bring their own parameters, so that a new one needs no new version
/// of the format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// The scheme's name.
    pub scheme: String,
    /// Its parameters, such as `blockSize`.
    #[serde(flatten)]
    pub parameters: BTreeMap<String, serde_json::Value>,
}

impl Quantization {
    /// Blocks of [`cloister_model::quant`].
    pub fn of(bits: Bits) -> Self {
        let scheme = match bits {
            Bits::Eight => "q8",
            Bits::Four => "q4",
        };
        Self { scheme: scheme.into(), parameters: BTreeMap::from([("blockSize".into(), BLOCK.into())]) }
    }

    /// The bits of an element. `None` for a scheme or a block size that this crate does not know.
    pub fn bits(&self) -> Option<Bits> {
        [Bits::Eight, Bits::Four].into_iter().find(|bits| Self::of(*bits) == *self)
    }
}

impl Manifest {
    /// Reads and checks `model.json`.
    ///
    /// The schema version is looked at first: a package of a later format is told so, whatever else it holds.
    ///
    /// # Errors
    /// [`PackageError`] names the field and what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PackageError> {
        if bytes.len() > crate::MAX_MANIFEST_BYTES {
            return Err(PackageError::ManifestTooLarge { found: bytes.len(), limit: crate::MAX_MANIFEST_BYTES });
        }
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| PackageError::NotJson(error.to_string()))?;
        match value.get("schema") {
            Some(schema) if schema.as_u64() == Some(crate::SCHEMA) => {}
            Some(schema) => {
                let found: String = schema.to_string().chars().take(40).collect();
                return Err(PackageError::UnknownSchema { found, known: crate::SCHEMA });
            }
            None => return Err(PackageError::manifest("schema", "is missing, so this is not a Cloister package")),
        }
        if let Some(family) = value.pointer("/architecture/family").and_then(|family| family.as_str())
            && family != Architecture::CODEGEN
        {
            return Err(PackageError::UnknownArchitecture(family.chars().take(80).collect()));
        }
        if let Some(quantization) = value.pointer("/weights/quantization").filter(|value| value.is_object()) {
            let known =
                serde_json::from_value(quantization.clone()).is_ok_and(|read: Quantization| read.bits().is_some());
            if !known {
                return Err(PackageError::UnknownQuantization(quantization.to_string().chars().take(80).collect()));
            }
        }
        // From the bytes again and not from the value: so a field given twice is refused, and errors name the line.
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| PackageError::manifest("its content", format!("does not fit the format ({error})")))?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// As text, with a line per field.
    ///
    /// # Errors
    /// [`PackageError`] as [`Self::parse`] would: nothing is written that could not be read again.
    pub fn to_json(&self) -> Result<String, PackageError> {
        self.validate()?;
        let mut text =
            serde_json::to_string_pretty(self).map_err(|error| PackageError::Write(format!("{error}; report this")))?;
        text.push('\n');
        Ok(text)
    }

    /// The place of [`crate::NONE_LABEL`] among the labels.
    pub fn none_index(&self) -> Option<usize> {
        self.labels.iter().position(|label| label.label == crate::NONE_LABEL)
    }

    /// How many parameters the architecture has.
    pub fn parameters(&self) -> u64 {
        crate::validate::count_parameters(&self.architecture.config)
    }

    /// The tokenizer, then the shards: the order of [`crate::PackageLoader::accept`].
    pub fn files(&self) -> Vec<&FileEntry> {
        std::iter::once(&self.tokenizer).chain(&self.weights.shards).collect()
    }
}
