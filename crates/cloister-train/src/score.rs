//! Scores of examples, and what they say about a model.

use crate::TrainError;
use crate::batch::Padded;
use crate::examples::{Example, Item};
use crate::finetune::Answers;
use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_engine::line_evidence;
use cloister_model::{CodeGen, Positions};
use std::fmt;

/// What a model says of one example.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Label logits, with the lines' evidence.
    pub logits: Vec<f32>,
    /// log p(weak) − log p(none), uncalibrated.
    pub odds: f64,
    /// The likeliest label but "none".
    pub class: usize,
    /// Index of the line that the pointer prefers, where the model has one.
    pub line: Option<usize>,
}

/// Scores items one padded batch after the other, in order.
///
/// # Errors
/// [`TrainError`] where an example does not fit in the context.
pub fn score(
    model: &CodeGen,
    items: &[Item],
    answers: &Answers,
    device: &Device,
) -> Result<Vec<Vec<Verdict>>, TrainError> {
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        out.push(score_item(model, item, answers, device)?);
    }
    Ok(out)
}

fn score_item(model: &CodeGen, item: &Item, answers: &Answers, device: &Device) -> Result<Vec<Verdict>, TrainError> {
    let ints = |values: &[i32]| Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
    let batch = Padded::new(std::slice::from_ref(item), answers.none);
    let d = model.config().n_embd;
    let positions = Positions::causal(model.config(), 0, batch.len, device)?;
    let hidden = model.forward(ints(&batch.ids).reshape([batch.rows, batch.len]), &positions);
    let hidden = hidden.reshape([batch.rows * batch.len, d]);
    let last = hidden.clone().select(0, ints(&batch.last));
    let (head, labels) = (model.label_head(&answers.tokens)?, answers.tokens.len());
    let logits: Vec<f32> = head.forward(last.clone()).into_data().iter::<f32>().collect();
    let mut verdicts = Vec::with_capacity(batch.rows);
    for (row, (example, logits)) in item.examples.iter().zip(logits.chunks_exact(labels)).enumerate() {
        let (mut at_lines, mut line) = (Vec::new(), None);
        if !example.line_ends.is_empty() {
            let flat: Vec<i32> = example.line_ends.iter().map(|p| (row * batch.len + p) as i32).collect();
            let candidates = hidden.clone().select(0, ints(&flat));
            at_lines = head.forward(candidates.clone()).into_data().iter::<f32>().collect();
            if let Some(pointer) = &model.line_pointer {
                let scores = pointer.forward(last.clone().narrow(0, row, 1), candidates.unsqueeze_dim::<3>(0));
                let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
                line = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            }
        }
        let logits = line_evidence(logits, at_lines.chunks_exact(labels), answers.none);
        verdicts.push(Verdict {
            odds: log_odds(&logits, answers.none),
            class: (0..logits.len())
                .filter(|label| *label != answers.none)
                .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
                .unwrap_or(answers.none),
            logits,
            line,
        });
    }
    Ok(verdicts)
}

/// log Σ exp over the classes, minus the logit of "none".
pub fn log_odds(logits: &[f32], none: usize) -> f64 {
    let weak = logits.iter().enumerate().filter(|(label, _)| *label != none).map(|(_, logit)| f64::from(*logit));
    let top = weak.clone().fold(f64::NEG_INFINITY, f64::max);
    top + weak.map(|logit| (logit - top).exp()).sum::<f64>().ln() - f64::from(logits[none])
}

/// How well verdicts fit, at even odds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    /// Found among the weak.
    pub recall: f64,
    /// Flagged among the others.
    pub false_positive_rate: f64,
    /// Twins with the weak one flagged and the safe one not.
    pub pairs: f64,
    /// Twins whose weak half has the higher odds.
    pub ranked: f64,
    /// The right class among the weak.
    pub exact: f64,
    /// The right line among the weak.
    pub line: f64,
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "recall {:.3}, false positives {:.3}, pairs {:.3}, ranked {:.3}, exact class {:.3}, line {:.3}",
            self.recall, self.false_positive_rate, self.pairs, self.ranked, self.exact, self.line
        )
    }
}

/// The quality of verdicts on items.
pub fn quality(items: &[Item], verdicts: &[Vec<Verdict>]) -> Quality {
    let mut quality = Quality::default();
    let (mut weak, mut safe, mut twins) = (0.0f64, 0.0f64, 0.0f64);
    let flag = |condition: bool| f64::from(u8::from(condition));
    for (item, verdicts) in items.iter().zip(verdicts) {
        for (example, verdict) in item.examples.iter().zip(verdicts) {
            let flagged = flag(verdict.odds > 0.0);
            if is_weak(example) {
                weak += 1.0;
                quality.recall += flagged;
                quality.exact += flag(verdict.class == example.label);
                quality.line += flag(verdict.line.is_some_and(|line| example.weak.contains(&line)));
            } else {
                safe += 1.0;
                quality.false_positive_rate += flagged;
            }
        }
        if item.twins {
            twins += 1.0;
            quality.pairs += flag(verdicts[0].odds > 0.0 && verdicts[1].odds <= 0.0);
            quality.ranked += flag(verdicts[0].odds > verdicts[1].odds);
        }
    }
    for (sum, count) in [
        (&mut quality.recall, weak),
        (&mut quality.exact, weak),
        (&mut quality.line, weak),
        (&mut quality.false_positive_rate, safe),
        (&mut quality.pairs, twins),
        (&mut quality.ranked, twins),
    ] {
        *sum /= count.max(1.0);
    }
    quality
}

fn is_weak(example: &Example) -> bool {
    !example.weak.is_empty()
}
