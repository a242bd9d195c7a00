//! Instruction fine-tuning: the answer from the final position and the lines, the pointer, the twins by a margin, and the
//! next token.

use crate::TrainError;
use crate::batch::{Padded, ROUND, Sources};
use crate::examples::{ExampleMaker, Item};
use crate::optimise::Trainer;
use crate::recipe::{Finetune, Recipe};
use crate::score::{Verdict, quality, score};
use burn::module::Module;
use burn::tensor::activation::{log_softmax, softplus};
use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_model::{CodeGen, Positions};
use std::path::Path;

/// By how much a weak half's log-odds should exceed its safe twin's.
const MARGIN: f64 = 3.0;

/// Of so many tokens one is asked for its successor: the full vocabulary at each would cost more than all the rest.
const LANGUAGE_STRIDE: usize = 4;

/// The token that answers each label, and which of them is "none".
#[derive(Debug, Clone)]
pub struct Answers {
    /// A token a label.
    pub tokens: Vec<u32>,
    /// Index of "none".
    pub none: usize,
}

/// Fine-tunes a pre-trained model.
///
/// # Errors
/// [`TrainError`] from data, files or a diverging loss.
pub fn run(
    recipe: &Recipe,
    initial: CodeGen,
    sources: &Sources,
    valid: &[Item],
    maker: &ExampleMaker,
    folder: &Path,
    device: &Device,
) -> Result<(), TrainError> {
    let answers = &maker.answers;
    device.seed(recipe.seed + 1);
    let mut trainer = Trainer::start(folder, &recipe.finetune.stage, initial)?;
    let mut current: (usize, Vec<Vec<Item>>) = (usize::MAX, Vec::new());
    while let Some(step) = trainer.next_step() {
        if step / ROUND != current.0 {
            let round = step / ROUND;
            current = (round, sources.round(maker, &recipe.finetune, recipe.seed, round)?);
        }
        // Two batches a step, one on each thread; they are about equally large.
        let batches =
            [2 * step, 2 * step + 1].map(|i| Padded::new(&current.1[i % (2 * ROUND) % current.1.len()], answers.none));
        let tokens = batches.iter().map(|batch| batch.rows * batch.len).sum();
        let rows: usize = batches.iter().map(|batch| batch.rows).sum();
        let parts = batches
            .iter()
            .map(|batch| {
                let share = batch.rows as f64 / rows as f64;
                (share, move |model: &CodeGen| loss(model, batch, answers, &recipe.finetune, device))
            })
            .collect();
        trainer.apply(parts, tokens)?;
        if (step + 1).is_multiple_of(recipe.finetune.stage.checkpoint_every)
            || step + 1 == recipe.finetune.stage.steps()
        {
            let plain = device.clone().inner();
            let verdicts: Vec<Vec<Verdict>> = score(&trainer.model.valid(), valid, answers, &plain)?;
            trainer.note(&quality(valid, &verdicts).to_string())?;
        }
    }
    Ok(())
}

/// The loss of a batch: mean cross-entropy over the label set of the answer with its evidence, plus the shares of the
/// lines' labels, the pointer, the margin and the next token.
fn loss(
    model: &CodeGen,
    batch: &Padded,
    answers: &Answers,
    settings: &Finetune,
    device: &Device,
) -> Result<Tensor<1>, TrainError> {
    let ints = |values: &[i32]| Tensor::<1, Int>::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
    let positions = Positions::causal(model.config(), 0, batch.len, device)?;
    let ids = ints(&batch.ids).reshape([batch.rows, batch.len]);
    let d = model.config().n_embd;
    let hidden = model.forward(ids, &positions).reshape([batch.rows * batch.len, d]);
    let last = hidden.clone().select(0, ints(&batch.last));
    let head = model.label_head(&answers.tokens)?;
    let mut logits = head.forward(last.clone());
    let labels = ints(&batch.labels).reshape([batch.rows, 1]);
    let mut total = Tensor::<1>::zeros([1], device);
    if batch.lines > 0 {
        let shape = [batch.rows, batch.lines];
        let floats = |values: &[f32]| Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
        let mask = floats(&batch.mask).reshape(shape);
        let candidates = hidden.clone().select(0, ints(&batch.line_ends));
        let at_lines = head.forward(candidates.clone());
        // The same question at the end of every line, of this line alone: it tells the lower layers what to look for
        // long before the final position has learned where to look.
        let line_labels = ints(&batch.line_labels).reshape([batch.rows * batch.lines, 1]);
        let weights = floats(&batch.line_weights).reshape([batch.rows * batch.lines, 1]);
        let cross = log_softmax(at_lines.clone(), 1).gather(1, line_labels) * weights;
        total = total + cross.sum().neg() * (settings.line_label_weight / batch.rows as f64);
        logits = logits + evidence(at_lines, mask.clone(), answers.none);
        if let (false, Some(pointer)) = (batch.pointed.is_empty(), &model.line_pointer) {
            let rows = ints(&batch.pointed);
            let candidates = candidates.reshape([batch.rows, batch.lines, d]).select(0, rows.clone());
            let scores = pointer.forward(last.select(0, rows.clone()), candidates) + mask.select(0, rows);
            let targets = floats(&batch.targets).reshape([batch.pointed.len(), batch.lines]);
            let cross = (log_softmax(scores, 1) * targets).sum_dim(1).mean().neg();
            total = total + cross * settings.line_weight;
        }
    }
    total = total + log_softmax(logits.clone(), 1).gather(1, labels).mean().neg();
    if !batch.twins.is_empty() && settings.margin_weight > 0.0 {
        let odds = log_odds(logits, answers.none, device);
        let (weak, safe): (Vec<i32>, Vec<i32>) = batch.twins.iter().copied().unzip();
        let gap = odds.clone().select(0, ints(&weak)) - odds.select(0, ints(&safe));
        // Twins are a part of the batch: their mean is weighed by their share.
        let share = 2.0 * batch.twins.len() as f64 / batch.rows as f64;
        total = total + softplus(gap.neg() + MARGIN, 1.0).mean() * (settings.margin_weight * share);
    }
    if settings.language_weight > 0.0 {
        let (places, next) = batch.successors(LANGUAGE_STRIDE);
        let count = places.len();
        let logits = model.logits(hidden.select(0, ints(&places)).unsqueeze_dim::<3>(0)).squeeze_dim::<2>(0);
        let cross = log_softmax(logits, 1).gather(1, ints(&next).reshape([count, 1]));
        total = total + cross.mean().neg() * settings.language_weight;
    }
    Ok(total)
}

/// What the lines of each row say together, added to its answer: for each label the logarithm of the odds against "none",
/// summed over the lines. Label logits `[rows · lines, labels]` and a mask `[rows, lines]` give `[rows, labels]`. The
/// engine does the same ([`cloister_engine::line_evidence`]).
fn evidence(at_lines: Tensor<2>, mask: Tensor<2>, none: usize) -> Tensor<2> {
    let [rows, lines] = mask.dims();
    let [_, labels] = at_lines.dims();
    let odds = at_lines.clone() - at_lines.narrow(1, none, 1);
    let odds = odds.reshape([rows, lines, labels]) + mask.clone().unsqueeze_dim::<3>(2);
    // A constant shift keeps the exponentials in range; the largest logit's gradient cancels out.
    let shift = odds.clone().max_dim(1).detach().clamp_min(-1e4);
    let sum = (odds - shift.clone()).exp().sum_dim(1).clamp_min(1e-9).log() + shift;
    let sum = sum.reshape([rows, labels]);
    // "none" against itself would be the number of lines, and a row that is all padding says nothing.
    let other: Vec<f32> = (0..labels).map(|label| if label == none { 0.0 } else { 1.0 }).collect();
    let other = Tensor::<2>::from_data(TensorData::new(other, [1, labels]), &sum.device());
    let any = (mask.max_dim(1) + 1.0).clamp(0.0, 1.0);
    sum * other * any
}

/// log p(weak) − log p(none) for each row of label logits `[rows, labels]`: `[rows]`.
fn log_odds(logits: Tensor<2>, none: usize, device: &Device) -> Tensor<1> {
    let [rows, labels] = logits.dims();
    let hide: Vec<f32> = (0..labels).map(|label| if label == none { -1e30 } else { 0.0 }).collect();
    let hide = Tensor::<2>::from_data(TensorData::new(hide, [1, labels]), device);
    let safe = logits.clone().narrow(1, none, 1).reshape([rows]);
    // A constant shift keeps the exponentials in range; the largest logit's gradient cancels out.
    let shift = logits.clone().max_dim(1).detach();
    let weak = ((logits + hide - shift.clone()).exp().sum_dim(1).log() + shift).reshape([rows]);
    weak - safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::Example;
    use cloister_engine::line_evidence;

    #[test]
    fn training_and_engine_add_the_same_evidence() {
        let (labels, lines, none) = (4, 3, 2);
        // Rows of three lines, of one, and of none.
        let mask = [[0.0, 0.0, 0.0], [0.0, -1e30, -1e30], [-1e30, -1e30, -1e30]];
        let values: Vec<f32> = (0..3 * lines * labels).map(|i| ((i * 37 % 23) as f32 - 11.0) / 3.0).collect();
        let device = Device::flex();
        let got = evidence(
            Tensor::from_data(TensorData::new(values.clone(), [3 * lines, labels]), &device),
            Tensor::from_data(TensorData::new(mask.concat(), [3, lines]), &device),
            none,
        );
        let got: Vec<f32> = got.into_data().iter::<f32>().collect();
        for (row, count) in [3, 1, 0].into_iter().enumerate() {
            let at = values[row * lines * labels..].chunks_exact(labels).take(count);
            let expected = line_evidence(&[0.0; 4], at, none);
            for (a, b) in got[row * labels..(row + 1) * labels].iter().zip(&expected) {
                assert!((a - b).abs() < 1e-4, "row {row}: {got:?} {expected:?}");
            }
        }
    }

    #[test]
    fn a_batch_keeps_rows_apart() {
        let example = |ids: &[u32], line_ends: &[usize], weak: &[usize], mended: &[usize]| Example {
            ids: ids.into(),
            label: usize::from(!weak.is_empty()),
            line_ends: line_ends.into(),
            weak: weak.into(),
            mended: mended.into(),
        };
        let weak = example(&[1, 2, 3, 4, 5, 6, 7], &[1, 3, 5], &[1], &[]);
        let safe = example(&[1, 2, 8, 9, 7], &[1, 3], &[], &[1]);
        let batch = Padded::new(&[Item { examples: vec![weak, safe], twins: true }], 0);
        assert_eq!((batch.rows, batch.len, batch.lines), (2, 7, 3));
        assert_eq!(batch.last, [6, 11]);
        assert_eq!(batch.line_ends, [1, 3, 5, 8, 10, 11]);
        assert_eq!(batch.mask.iter().map(|m| *m == 0.0).collect::<Vec<_>>(), [true, true, true, true, true, false]);
        assert_eq!(batch.line_labels, [0, 1, 0, 0, 0, 0]);
        assert_eq!(batch.line_weights, [0.5, 1.0, 0.5, 1.0, 1.0, 0.0]);
        assert_eq!((batch.pointed, batch.targets), (vec![0], vec![0.0, 1.0, 0.0]));
        assert_eq!(batch.twins, [(0, 1)]);
    }

    #[test]
    fn a_token_is_asked_for_the_next_of_its_own_row() {
        let example = |ids: &[u32]| Example {
            ids: ids.into(),
            label: 0,
            line_ends: vec![0],
            weak: Vec::new(),
            mended: Vec::new(),
        };
        let alone = |ids| Item { examples: vec![example(ids)], twins: false };
        let batch = Padded::new(&[alone(&[10, 11, 12, 13, 14, 15]), alone(&[20, 21, 22, 23])], 0);
        assert_eq!(batch.successors(2), (vec![0, 2, 4, 7], vec![11, 13, 15, 22]));
        assert_eq!(batch.successors(1).1, [11, 12, 13, 14, 15, 21, 22, 23]);
    }
}
