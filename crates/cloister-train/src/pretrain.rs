//! Language-model pre-training.

use crate::TrainError;
use crate::optimise::Trainer;
use crate::recipe::Recipe;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use cloister_model::{CodeGen, Positions};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::path::Path;

/// Threads that share a batch.
const PARTS: usize = 2;

/// Trains on next tokens, from random places of the stream. The places of a step depend on the seed and the step alone,
/// so that a resumed run sees what an uninterrupted one would.
///
/// # Errors
/// [`TrainError`] from data, files or a diverging loss.
pub fn run(recipe: &Recipe, train: &[u16], valid: &[u16], folder: &Path, device: &Device) -> Result<(), TrainError> {
    device.seed(recipe.seed);
    let config = &recipe.model;
    let mut trainer = Trainer::start(folder, &recipe.pretrain, CodeGen::random(config, device)?)?;
    let len = recipe.sequence;
    let rows = (recipe.pretrain.batch_tokens / len / PARTS).max(1);
    while let Some(step) = trainer.next_step() {
        let mut rng = StdRng::seed_from_u64(recipe.seed ^ ((step as u64) << 20));
        let parts = (0..PARTS)
            .map(|_| {
                let tokens = sample(train, rows, len, &mut rng);
                (1.0 / PARTS as f64, move |model: &CodeGen| loss(model, &tokens, rows, device))
            })
            .collect();
        trainer.apply(parts, PARTS * rows * len)?;
        if (step + 1).is_multiple_of(recipe.pretrain.checkpoint_every) || step + 1 == recipe.pretrain.steps() {
            let value = validate(&trainer.model, valid, rows, len, &device.clone().inner())?;
            trainer.note(&format!("validation loss {value:.4}, perplexity {:.2}", value.exp()))?;
        }
    }
    Ok(())
}

/// `rows` stretches of `len + 1` tokens.
fn sample(stream: &[u16], rows: usize, len: usize, rng: &mut impl Rng) -> Vec<i32> {
    (0..rows)
        .flat_map(|_| {
            let start = rng.random_range(0..stream.len() - len - 1);
            stream[start..=start + len].iter().map(|id| i32::from(*id)).collect::<Vec<_>>()
        })
        .collect()
}

/// Mean cross-entropy of the next token, in nats.
fn loss(model: &CodeGen, tokens: &[i32], rows: usize, device: &Device) -> Result<Tensor<1>, TrainError> {
    let len = tokens.len() / rows - 1;
    let positions = Positions::causal(model.config(), 0, len, device)?;
    let all = Tensor::<2, Int>::from_data(TensorData::new(tokens.to_vec(), [rows, len + 1]), device);
    let targets = all.clone().narrow(1, 1, len).reshape([rows * len, 1]);
    let hidden = model.forward(all.narrow(1, 0, len), &positions);
    let logits = model.logits(hidden).reshape([rows * len, model.config().vocab_size]);
    Ok(log_softmax(logits, 1).gather(1, targets).mean().neg())
}

/// Loss on fixed places of held-out packages.
fn validate(model: &CodeGen, stream: &[u16], rows: usize, len: usize, device: &Device) -> Result<f64, TrainError> {
    let model = model.valid();
    let mut rng = StdRng::seed_from_u64(0);
    let batches = 6;
    let mut sum = 0.0;
    for _ in 0..batches {
        let tokens = sample(stream, rows, len, &mut rng);
        sum += f64::from(loss(&model, &tokens, rows, device)?.into_scalar::<f32>());
    }
    Ok(sum / f64::from(batches))
}
