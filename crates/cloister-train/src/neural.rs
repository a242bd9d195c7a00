//! A small neural baseline over the model's own tokens: a bidirectional LSTM over learned embeddings, fitted on the authored
//! rows alone. Shorter texts of a batch are padded, which its backward half reads first; batches are of like lengths.

use crate::TrainError;
use burn::module::Module;
use burn::nn::{BiLstm, BiLstmConfig, Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams};
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Width of embeddings and states.
const WIDTH: usize = 64;
/// Tokens of a text that are read.
const LONGEST: usize = 384;
const EPOCHS: usize = 10;
const BATCH: usize = 32;
const LEARNING_RATE: f64 = 1e-3;

/// A fitted network.
pub struct Neural {
    model: Classifier,
    device: Device,
}

#[derive(Module, Debug)]
struct Classifier {
    embedding: Embedding,
    lstm: BiLstm,
    head: Linear,
}

/// Texts padded to one length.
struct Batch {
    ids: Vec<i32>,
    kept: Vec<f32>,
    rows: usize,
    length: usize,
}

impl Batch {
    fn new(texts: &[&[u32]]) -> Self {
        let length = texts.iter().map(|text| text.len().min(LONGEST)).max().unwrap_or(1).max(1);
        let mut batch = Self { ids: Vec::new(), kept: Vec::new(), rows: texts.len(), length };
        for text in texts {
            let text = &text[..text.len().min(LONGEST)];
            batch.ids.extend(text.iter().map(|id| *id as i32));
            batch.ids.extend(std::iter::repeat_n(0, length - text.len()));
            // A text without tokens is read as one of padding: something has to be averaged.
            batch.kept.extend((0..length).map(|at| if at < text.len().max(1) { 1.0 } else { 0.0 }));
        }
        batch
    }
}

impl Classifier {
    fn new(vocabulary: usize, labels: usize, device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(vocabulary, WIDTH).init(device),
            lstm: BiLstmConfig::new(WIDTH, WIDTH, true).init(device),
            // The mean and the maximum of both directions.
            head: LinearConfig::new(4 * WIDTH, labels).init(device),
        }
    }

    /// Label logits `[rows, labels]` from the mean and the maximum of the states over the tokens.
    fn forward(&self, batch: &Batch, device: &Device) -> Tensor<2> {
        let shape = [batch.rows, batch.length];
        let ids = Tensor::<1, Int>::from_data(TensorData::new(batch.ids.clone(), [batch.ids.len()]), device);
        let kept = Tensor::<1>::from_data(TensorData::new(batch.kept.clone(), [batch.kept.len()]), device);
        let kept = kept.reshape(shape).unsqueeze_dim::<3>(2);
        let x = self.lstm.forward(self.embedding.forward(ids.reshape(shape)), None).0;
        let mean = (x.clone() * kept.clone()).sum_dim(1) / kept.clone().sum_dim(1);
        let most = (x + (kept - 1.0) * 1e4).max_dim(1);
        self.head.forward(Tensor::cat(vec![mean.squeeze_dim::<2>(1), most.squeeze_dim::<2>(1)], 1))
    }
}

impl Neural {
    /// Fits on token ids with labels below `labels`.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] where the loss is not finite.
    pub fn fit(rows: &[(Vec<u32>, usize)], vocabulary: usize, labels: usize, seed: u64) -> Result<Self, TrainError> {
        let device = Device::flex().autodiff();
        device.seed(seed);
        let mut model = Classifier::new(vocabulary, labels, &device);
        let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|row| rows[*row].0.len());
        let mut batches: Vec<&[usize]> = order.chunks(BATCH).collect();
        let steps = EPOCHS * batches.len();
        let mut step = 0;
        for _ in 0..EPOCHS {
            batches.shuffle(&mut rng);
            for batch in &batches {
                // Half a batch on each of two threads, as in the model's own training.
                let halves: Vec<&[usize]> = batch.chunks(batch.len().div_ceil(2)).collect();
                let results: Vec<(f32, GradientsParams)> = std::thread::scope(|scope| {
                    let threads: Vec<_> = halves
                        .iter()
                        .map(|half| {
                            let model = model.clone().fork(&device);
                            let (device, share) = (&device, half.len() as f64 / batch.len() as f64);
                            scope.spawn(move || {
                                let loss = loss(&model, rows, half, device) * share;
                                let value = loss.clone().into_scalar::<f32>();
                                (value, GradientsParams::from_grads(loss.backward(), &model))
                            })
                        })
                        .collect();
                    threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
                });
                let mut sum = GradientsAccumulator::new();
                let mut value = 0.0;
                for (part, gradients) in results {
                    value += part;
                    sum.accumulate(&model, gradients);
                }
                if !value.is_finite() {
                    return Err(TrainError::Diverged(step));
                }
                let rate = LEARNING_RATE * (1.0 - step as f64 / steps as f64).max(0.02);
                model = optimizer.step(rate, model, sum.grads());
                step += 1;
            }
        }
        Ok(Self { model: model.valid(), device: device.inner() })
    }

    /// Probability of each label.
    pub fn predict(&self, ids: &[u32]) -> Vec<f32> {
        let logits = self.model.forward(&Batch::new(&[ids]), &self.device);
        softmax(logits, 1).into_data().iter::<f32>().collect()
    }
}

fn loss(model: &Classifier, rows: &[(Vec<u32>, usize)], chosen: &[usize], device: &Device) -> Tensor<1> {
    let texts: Vec<&[u32]> = chosen.iter().map(|row| rows[*row].0.as_slice()).collect();
    let labels: Vec<i32> = chosen.iter().map(|row| rows[*row].1 as i32).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [chosen.len()]), device);
    let logits = model.forward(&Batch::new(&texts), device);
    log_softmax(logits, 1).gather(1, labels.reshape([chosen.len(), 1])).mean().neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_which_token_stands_first() {
        // Padding and order matter: the label is the first token's, the lengths differ.
        let rows: Vec<(Vec<u32>, usize)> = (0..96)
            .map(|i: u32| {
                let label = (i % 2) as usize;
                let rest = (0..i % 7 + 1).map(|j| 3 + (i * 5 + j * 3) % 4);
                (std::iter::once(1 + label as u32).chain(rest).collect(), label)
            })
            .collect();
        let fitted = Neural::fit(&rows, 8, 2, 1).unwrap();
        let right = rows.iter().filter(|(ids, label)| fitted.predict(ids)[*label] > 0.5).count();
        assert!(right >= 90, "{right} of 96");
        assert_eq!(fitted.predict(&[]).len(), 2);
    }
}
