//! From a prompt to logits: the model, behind the keys and values of the prefix.

use crate::calibration::softmax;
use crate::evidence::line_evidence;
use crate::{AnswerTrie, EngineError};
use burn::tensor::{Int, Tensor, TensorData};
use cloister_model::{Inference, KvCache, LabelHead};

/// Tokens of one pass. Browsers end GPU work that takes too long, so a longer prompt is read in several passes, each
/// waited for.
const CHUNK: usize = 512;

/// The model with everything that is the same for all prompts.
#[derive(Debug)]
pub struct Scorer {
    model: Inference,
    answers: AnswerTrie,
    head: LabelHead,
    prefix: KvCache,
    prefix_ids: Vec<u32>,
    labels: usize,
    evidence: Option<usize>,
}

/// A prompt that was read.
pub(crate) struct Reading {
    /// The final hidden states of the tokens behind the prefix, `[1, len, d]`.
    pub(crate) hidden: Tensor<3>,
    /// Holds the whole prompt.
    pub(crate) cache: KvCache,
}

/// What the model says of one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct RawScore {
    /// One per label, in the order of the package; with the lines' evidence where the model is asked for it.
    pub logits: Vec<f32>,
    /// For each of the given lines the probability that it carries the weakness, given that there is one; they add up
    /// to 1. Empty where the model has no line pointer.
    pub lines: Vec<f32>,
}

impl Scorer {
    /// Reads the prefix once.
    ///
    /// # Errors
    /// [`EngineError::Model`] where prefix or answers do not suit the model.
    pub fn new(model: Inference, prefix: Vec<u32>, answers: AnswerTrie) -> Result<Self, EngineError> {
        let head = model.label_head(answers.tokens())?;
        let mut cache = KvCache::new(model.config().n_layer);
        if !prefix.is_empty() {
            model.prefill(&prefix, &mut cache)?;
        }
        let labels = answers.tokens().len();
        Ok(Self { model, answers, head, prefix: cache, prefix_ids: prefix, labels, evidence: None })
    }

    /// Asks at the end of every line as well, and adds up what that says ([`line_evidence`]); `none` is the index of the
    /// answer that stands for no weakness. For answers of one token alone: others are not asked at lines.
    #[must_use]
    pub fn with_line_evidence(mut self, none: usize) -> Self {
        self.evidence = self.answers.inner().is_empty().then_some(none);
        self
    }

    /// The model.
    pub fn model(&self) -> &Inference {
        &self.model
    }

    /// Reads one prompt: one prefill behind the prefix, one step more for answers of several tokens, one read from the
    /// device. `line_ends` are the positions in `ids` at which the lines to choose from end.
    ///
    /// # Errors
    /// [`EngineError::Model`] where the prompt does not fit in the context, [`EngineError::Device`] where the device
    /// fails or gives values that are not finite, [`EngineError::Inconsistent`] where the prompt does not begin with
    /// the prefix or a line ends in it.
    pub async fn score(&self, ids: &[u32], line_ends: &[usize]) -> Result<RawScore, EngineError> {
        let after = self.behind_the_prefix(ids)?;
        let places =
            line_ends.iter().map(|end| end.checked_sub(self.prefix_ids.len()).filter(|&end| end < after.len()));
        let Some(places) = places.map(|place| place.map(|place| place as i32)).collect::<Option<Vec<i32>>>() else {
            return Err(EngineError::Inconsistent("a line ends outside the code".into()));
        };
        let Reading { hidden, cache } = self.prefill(after).await?;
        let [_, length, width] = hidden.dims();
        let last = hidden.clone().narrow(1, length - 1, 1).reshape([1, width]);
        let inner = self.answers.inner();
        let mut asked = last.clone();
        if !inner.is_empty() {
            let nodes = self.model.continuations(inner, self.answers.parents(), &cache)?;
            asked = Tensor::cat(vec![asked, nodes.reshape([inner.len(), width])], 0);
        }
        let said = (inner.len() + 1) * self.labels;
        let mut outputs = vec![self.head.forward(asked).reshape([1, said])];
        let count = places.len();
        let mut answered = 0;
        if count > 0 && (self.evidence.is_some() || self.model.line_pointer.is_some()) {
            let places = Tensor::<1, Int>::from_data(TensorData::new(places, [count]), self.model.device());
            let candidates = hidden.select(1, places);
            if self.evidence.is_some() {
                answered = count * self.labels;
                let answers = self.head.forward(candidates.clone().reshape([count, width]));
                outputs.push(answers.reshape([1, answered]));
            }
            if let Some(pointer) = &self.model.line_pointer {
                outputs.push(pointer.forward(last, candidates));
            }
        }
        let values = read(if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(outputs, 1) }).await?;
        let (logits, rest) = values.split_at(said.min(values.len()));
        let (at_lines, lines) = rest.split_at(answered.min(rest.len()));
        let logits = match self.evidence {
            Some(none) => finite(line_evidence(logits, at_lines.chunks_exact(self.labels.max(1)), none))?,
            None => finite(self.answers.scores(logits))?,
        };
        Ok(RawScore { logits, lines: softmax(lines) })
    }

    /// Reads a prompt, and keeps what is needed to go on behind it.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub(crate) async fn read_prompt(&self, ids: &[u32]) -> Result<Reading, EngineError> {
        self.prefill(self.behind_the_prefix(ids)?).await
    }

    fn behind_the_prefix<'a>(&self, ids: &'a [u32]) -> Result<&'a [u32], EngineError> {
        let after = ids.strip_prefix(&self.prefix_ids[..]).filter(|after| !after.is_empty());
        after.ok_or_else(|| {
            EngineError::Inconsistent("a prompt does not begin with the prefix, or is nothing else".into())
        })
    }

    async fn prefill(&self, tokens: &[u32]) -> Result<Reading, EngineError> {
        let mut cache = self.prefix.clone();
        let mut chunks = tokens.chunks(CHUNK).peekable();
        let mut parts = Vec::new();
        while let Some(chunk) = chunks.next() {
            let hidden = self.model.prefill(chunk, &mut cache)?;
            if chunks.peek().is_some() {
                read(hidden.clone().slice([0..1, 0..1, 0..1]).reshape([1, 1])).await?;
            }
            parts.push(hidden);
        }
        let hidden = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 1) };
        Ok(Reading { hidden, cache })
    }
}

/// Waits for the device. Browsers have no other way of reading.
pub(crate) async fn read(tensor: Tensor<2>) -> Result<Vec<f32>, EngineError> {
    let data = tensor.into_data_async().await.map_err(|error| EngineError::Device(error.to_string()))?;
    finite(data.iter::<f32>().collect())
}

/// Values that can be reckoned with.
pub(crate) fn finite(values: Vec<f32>) -> Result<Vec<f32>, EngineError> {
    if values.iter().any(|value| !value.is_finite()) {
        return Err(EngineError::Device("it gave values that are not finite".into()));
    }
    Ok(values)
}
