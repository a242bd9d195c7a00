//! The loss of a batch.

use crate::FinetuneError;
use crate::examples::Example;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_model::CodeGen;
use cloister_package::Manifest;

/// What is asked of the final hidden states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objective {
    /// Cross-entropy of the answer's tokens among the whole vocabulary.
    NextToken,
    /// Cross-entropy of the answer among the answers, each of one token, with what the ends of the lines add to it: for bases
    /// that are asked so (see [`cloister_engine::line_evidence`]).
    Evidence {
        /// The token of each answer.
        tokens: Vec<u32>,
        /// The index of "none".
        none: usize,
    },
}

impl Objective {
    /// How a package is asked.
    pub fn of(manifest: &Manifest) -> Self {
        let single: Option<Vec<u32>> = (manifest.labels.iter())
            .map(|label| match label.answer.tokens.as_slice() {
                [token] => Some(*token),
                _ => None,
            })
            .collect();
        match (single, manifest.none_index(), manifest.prompt.line_evidence) {
            (Some(tokens), Some(none), true) => Self::Evidence { tokens, none },
            _ => Self::NextToken,
        }
    }
}

/// Examples that go through the model at once, each padded behind its end. Padding is never attended to, because nothing
/// asked stands behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The examples.
    pub examples: Vec<Example>,
    /// Tokens of the longest.
    pub len: usize,
}

impl Batch {
    /// Of at least one example.
    pub fn new(examples: Vec<Example>) -> Self {
        let len = examples.iter().map(|example| example.ids.len()).max().unwrap_or(0);
        Self { examples, len }
    }

    /// Token ids, `[examples, len]`.
    pub fn ids(&self, device: &Device) -> Tensor<2, Int> {
        let padded = self
            .examples
            .iter()
            .flat_map(|example| (0..self.len).map(|place| example.ids.get(place).map_or(0, |id| *id as i32)));
        Tensor::from_data(TensorData::new(padded.collect::<Vec<i32>>(), [self.examples.len(), self.len]), device)
    }

    /// How many predictions the loss is the mean of.
    pub fn weight(&self, objective: &Objective) -> usize {
        match objective {
            Objective::NextToken => self.examples.iter().map(|example| example.answer.len()).sum(),
            Objective::Evidence { .. } => self.examples.len(),
        }
    }
}

/// The sum of the cross-entropies of a batch, `[1]`, in nats. `hidden` are the states after the final norm, `[examples, len,
/// d]`.
///
/// # Errors
/// [`FinetuneError::Model`] where an answer's token is outside the vocabulary.
pub fn loss(
    model: &CodeGen,
    hidden: Tensor<3>,
    batch: &Batch,
    objective: &Objective,
) -> Result<Tensor<1>, FinetuneError> {
    let [rows, len, d] = hidden.dims();
    let device = hidden.device().inner();
    let hidden = hidden.reshape([rows * len, d]);
    let ints = |values: Vec<i32>| {
        let count = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
    };
    let place = |row: usize, place: usize| (row * len + place) as i32;
    match objective {
        Objective::NextToken => {
            let (mut places, mut targets) = (Vec::new(), Vec::new());
            for (row, example) in batch.examples.iter().enumerate() {
                places.extend(example.asked().map(|asked| place(row, asked)));
                targets.extend(example.answer.iter().map(|token| *token as i32));
            }
            let count = targets.len();
            let logits = model.logits(hidden.select(0, ints(places)).unsqueeze_dim::<3>(0)).squeeze_dim::<2>(0);
            Ok(log_softmax(logits, 1).gather(1, ints(targets).reshape([count, 1])).sum().neg())
        }
        Objective::Evidence { tokens, none } => {
            let head = model.label_head(tokens)?;
            let last = (batch.examples.iter().enumerate()).map(|(row, example)| place(row, example.ids.len() - 1));
            let logits = head.forward(hidden.clone().select(0, ints(last.collect())));
            let others: Vec<f32> = (0..tokens.len()).map(|label| f32::from(u8::from(label != *none))).collect();
            let others = Tensor::<2>::from_data(TensorData::new(others, [1, tokens.len()]), &device);
            let mut sum = Tensor::<1>::zeros([1], &device);
            for (row, example) in batch.examples.iter().enumerate() {
                let mut logits = logits.clone().narrow(0, row, 1);
                if !example.line_ends.is_empty() {
                    let ends = example.line_ends.iter().map(|end| place(row, *end)).collect();
                    let at_lines = head.forward(hidden.clone().select(0, ints(ends)));
                    let odds = at_lines.clone() - at_lines.narrow(1, *none, 1);
                    // A constant shift keeps the exponentials in range; the largest logit's gradient cancels out.
                    let shift = odds.clone().max_dim(0).detach();
                    let evidence = (odds - shift.clone()).exp().sum_dim(0).log() + shift;
                    logits = logits + evidence * others.clone();
                }
                sum = sum - log_softmax(logits, 1).narrow(1, example.label, 1).reshape([1]);
            }
            Ok(sum)
        }
    }
}
