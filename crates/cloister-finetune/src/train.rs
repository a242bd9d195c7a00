//! The loop: batches in the order of the seed, a step each, checkpoints and a log.

use crate::error::at;
use crate::examples::Example;
use crate::gradient::accumulated;
use crate::objective::{Batch, Objective};
use crate::optimise::{adam_w, clip};
use crate::saved::{self, Run};
use crate::{Adapters, Base, FinetuneError, Method, Settings, Tuned};
use burn::module::Module;
use burn::tensor::Device;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a step was like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Steps done, this one included.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Mean cross-entropy of the step's answers, in nats.
    pub loss: f64,
    /// The learning rate.
    pub rate: f64,
    /// The norm of all gradients before clipping.
    pub norm: f64,
    /// Tokens that went through the model, padding included.
    pub tokens: usize,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Where a run computes.
#[derive(Debug, Clone)]
pub struct Place {
    /// The device, without autodiff.
    pub device: Device,
    /// Micro-batches that are computed at the same time. More than one helps on a processor; a GPU is busy with one.
    pub threads: usize,
}

impl Place {
    /// This processor.
    pub fn cpu() -> Self {
        Self { device: Device::flex(), threads: std::thread::available_parallelism().map_or(1, usize::from) }
    }

    /// Where a base has to be loaded to for a method.
    pub fn device_for(&self, method: Method) -> Device {
        if method == Method::Full { self.device.clone().autodiff() } else { self.device.clone() }
    }
}

/// Fine-tunes `base`, which was loaded to [`Place::device_for`] the method, in `folder`; a run that was cut off goes on from
/// its last checkpoint. `watch` is told every step. Returns the model, with its adapters where the method has them, on the
/// device without autodiff.
///
/// # Errors
/// [`FinetuneError`] where settings, folder and examples do not fit each other, or the loss diverges.
pub fn run(
    base: &Base,
    examples: &[Example],
    settings: &Settings,
    folder: &Path,
    place: &Place,
    mut watch: impl FnMut(&Step),
) -> Result<Tuned, FinetuneError> {
    settings.validate()?;
    let run = Run {
        base: base.hash.clone(),
        base_id: base.manifest.id.clone(),
        examples: fingerprint(examples),
        settings: settings.clone(),
    };
    saved::claim(folder, &run)?;
    let autodiff = place.device.clone().autodiff();
    let adapters = Adapters::new(settings, base.model.config(), &autodiff);
    let mut tuned = Tuned { base: base.model.clone(), adapters };
    let mut optimizer = adam_w(settings.weight_decay);
    let fresh = || adam_w(settings.weight_decay);
    let mut step = saved::resume(folder, &mut tuned, &mut optimizer, fresh)?.unwrap_or(0);
    let objective = Objective::of(&base.manifest);
    let mut order = Order::new(examples.len(), settings.seed);
    let mut log = Log::open(folder, step)?;
    while step < settings.steps {
        let started = Instant::now();
        let batches = batches(examples, order.batch(step, settings.batch), settings.micro_batch);
        let (loss, gradients) = accumulated(&tuned, &batches, &objective, place.threads, &autodiff)?;
        let (gradients, norm) = clip(&tuned, gradients, settings.clip);
        if !(loss.is_finite() && norm.is_finite()) {
            return Err(FinetuneError::Diverged(step));
        }
        let rate = settings.rate(step);
        tuned = optimizer.step(rate, tuned, gradients);
        step += 1;
        let tokens = batches.iter().map(|batch| batch.examples.len() * batch.len).sum();
        let seconds = started.elapsed().as_secs_f64();
        let done = Step { step, steps: settings.steps, loss, rate, norm, tokens, seconds };
        log.write(&done)?;
        watch(&done);
        if step.is_multiple_of(settings.checkpoint_every) || step == settings.steps {
            saved::save(folder, &tuned, &optimizer, step)?;
        }
    }
    let tuned = tuned.valid();
    if let Some(adapters) = &tuned.adapters {
        saved::write_adapter(folder, adapters, &run)?;
    }
    Ok(tuned)
}

/// A step's examples in micro-batches, those of like length together so that little is padding.
fn batches(examples: &[Example], mut chosen: Vec<usize>, micro_batch: usize) -> Vec<Batch> {
    chosen.sort_by_key(|index| examples[*index].ids.len());
    chosen
        .chunks(micro_batch.max(1))
        .map(|part| Batch::new(part.iter().map(|i| examples[*i].clone()).collect()))
        .collect()
}

/// The order in which examples are met: all of them, then all again in another order. A function of seed and step alone, so
/// that a run that was cut off goes on as if it had not been.
struct Order {
    count: usize,
    seed: u64,
    epoch: Option<(usize, Vec<usize>)>,
}

impl Order {
    fn new(count: usize, seed: u64) -> Self {
        Self { count, seed, epoch: None }
    }

    fn batch(&mut self, step: usize, size: usize) -> Vec<usize> {
        (step * size..(step + 1) * size).map(|place| self.at(place)).collect()
    }

    fn at(&mut self, place: usize) -> usize {
        let (epoch, place) = (place / self.count, place % self.count);
        match &self.epoch {
            Some((known, order)) if *known == epoch => order[place],
            _ => {
                let mut order: Vec<usize> = (0..self.count).collect();
                order.shuffle(&mut StdRng::seed_from_u64(
                    self.seed ^ (epoch as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                ));
                let index = order[place];
                self.epoch = Some((epoch, order));
                index
            }
        }
    }
}

/// The SHA-256 of examples.
fn fingerprint(examples: &[Example]) -> String {
    let mut hash = Sha256::new();
    for example in examples {
        for part in [&example.ids, &example.answer] {
            hash.update((part.len() as u64).to_le_bytes());
            part.iter().for_each(|id| hash.update(id.to_le_bytes()));
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `log.csv`: a line a step.
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Steps behind the checkpoint that a run goes on from are computed again, so their lines are taken out.
    fn open(folder: &Path, step: usize) -> Result<Self, FinetuneError> {
        let path = folder.join("log.csv");
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let of_step =
            |line: &&str| line.split(',').next().and_then(|n| n.parse().ok()).is_some_and(|n: usize| n <= step);
        let mut text = String::from("step,loss,learning_rate,gradient_norm,tokens,seconds\n");
        for line in old.lines().filter(of_step) {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(&path, text).map_err(at(&path))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(at(&path))?;
        Ok(Self { path, file })
    }

    fn write(&mut self, step: &Step) -> Result<(), FinetuneError> {
        let Step { step, loss, rate, norm, tokens, seconds, .. } = step;
        writeln!(self.file, "{step},{loss:.5},{rate:.3e},{norm:.4},{tokens},{seconds:.2}").map_err(at(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_met_once_an_epoch_in_an_order_of_the_seed() {
        let met = |seed: u64| -> Vec<usize> {
            let mut order = Order::new(10, seed);
            (0..5).flat_map(|step| order.batch(step, 4)).collect()
        };
        for epoch in met(1).chunks_exact(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(met(1), met(1));
        assert_ne!(met(1), met(2));
        // Beginning in the middle changes nothing.
        assert_eq!(Order::new(10, 1).batch(3, 4), met(1)[12..16]);
    }
}
