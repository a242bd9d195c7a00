//! Instruction fine-tuning: the answer at the final position, the lines by the pointer, the twins by a margin.

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
        if (step + 1).is_multiple_of(recipe.finetune.stage.checkpoint_every) || step + 1 == recipe.finetune.stage.steps
        {
            let plain = device.clone().inner();
            let verdicts: Vec<Vec<Verdict>> = score(&trainer.model.valid(), valid, answers, &plain)?;
            trainer.note(&quality(valid, &verdicts).to_string())?;
        }
    }
    Ok(())
}

/// The loss of a batch: mean cross-entropy over the label set, plus the shares of the lines' labels, the pointer and
/// the margin.
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
    let logits = head.forward(last.clone());
    let labels = ints(&batch.labels).reshape([batch.rows, 1]);
    let mut total = log_softmax(logits.clone(), 1).gather(1, labels).mean().neg();
    if !batch.twins.is_empty() && settings.margin_weight > 0.0 {
        let odds = log_odds(logits, answers.none, device);
        let (weak, safe): (Vec<i32>, Vec<i32>) = batch.twins.iter().copied().unzip();
        let gap = odds.clone().select(0, ints(&weak)) - odds.select(0, ints(&safe));
        // Twins are a part of the batch: their mean is weighed by their share.
        let share = 2.0 * batch.twins.len() as f64 / batch.rows as f64;
        total = total + softplus(gap.neg() + MARGIN, 1.0).mean() * (settings.margin_weight * share);
    }
    if !batch.ends.is_empty() && settings.line_label_weight > 0.0 {
        // The same question at the end of every line, of this line alone: it tells the lower layers what to look for
        // long before the final position has learned where to look.
        let count = batch.ends.len();
        let logits = head.forward(hidden.clone().select(0, ints(&batch.ends)));
        let weights = Tensor::<2>::from_data(TensorData::new(batch.end_weights.clone(), [count, 1]), device);
        let cross = log_softmax(logits, 1).gather(1, ints(&batch.end_labels).reshape([count, 1])) * weights;
        total = total + cross.sum().neg() * (settings.line_label_weight / batch.rows as f64);
    }
    if let (false, Some(pointer)) = (batch.pointed.is_empty(), &model.line_pointer) {
        let shape = [batch.pointed.len(), batch.lines];
        let floats = |values: &[f32]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), device);
        let candidates = hidden.select(0, ints(&batch.line_ends)).reshape([shape[0], shape[1], d]);
        let scores = pointer.forward(last.select(0, ints(&batch.pointed)), candidates) + floats(&batch.mask);
        let cross = (log_softmax(scores, 1) * floats(&batch.targets)).sum_dim(1).mean().neg();
        total = total + cross * settings.line_weight;
    }
    Ok(total)
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
