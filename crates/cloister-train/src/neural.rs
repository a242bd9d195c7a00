//! Two small neural baselines over the model's own tokens: a bidirectional LSTM over learned embeddings, and a Conformer
//! (Gulati et al., 2020: self-attention and convolution in one block). Fitted on the authored rows alone.

use crate::TrainError;
use burn::module::Module;
use burn::nn::attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig};
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{
    BiLstm, BiLstmConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    PaddingConfig1d, PositionalEncoding, PositionalEncodingConfig,
};
use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams};
use burn::tensor::activation::{log_softmax, sigmoid, silu, softmax};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Width of embeddings and states.
const WIDTH: usize = 64;
/// Tokens of a text that are read.
const LONGEST: usize = 384;
const BLOCKS: usize = 2;
const HEADS: usize = 4;
const KERNEL: usize = 7;
const EPOCHS: usize = 10;
const BATCH: usize = 32;
const LEARNING_RATE: f64 = 1e-3;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Bidirectional LSTM.
    BiLstm,
    /// Self-attention and convolution.
    Conformer,
}

/// A fitted network.
pub struct Neural {
    model: Classifier,
    device: Device,
}

#[derive(Module, Debug)]
struct Classifier {
    embedding: Embedding,
    positions: PositionalEncoding,
    lstm: Option<BiLstm>,
    blocks: Vec<Block>,
    head: Linear,
}

/// Half a feed-forward layer, attention, convolution, half a feed-forward layer, each added to its input.
#[derive(Module, Debug)]
struct Block {
    first: FeedForward,
    attention_norm: LayerNorm,
    attention: MultiHeadAttention,
    convolution_norm: LayerNorm,
    gate: Linear,
    depthwise: Conv1d,
    inner_norm: LayerNorm,
    out: Linear,
    second: FeedForward,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct FeedForward {
    norm: LayerNorm,
    up: Linear,
    down: Linear,
}

impl FeedForward {
    fn new(device: &Device) -> Self {
        Self {
            norm: LayerNormConfig::new(WIDTH).init(device),
            up: LinearConfig::new(WIDTH, 4 * WIDTH).init(device),
            down: LinearConfig::new(4 * WIDTH, WIDTH).init(device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(silu(self.up.forward(self.norm.forward(x))))
    }
}

impl Block {
    fn new(device: &Device) -> Self {
        let depthwise = Conv1dConfig::new(WIDTH, WIDTH, KERNEL).with_groups(WIDTH).with_padding(PaddingConfig1d::Same);
        Self {
            first: FeedForward::new(device),
            attention_norm: LayerNormConfig::new(WIDTH).init(device),
            attention: MultiHeadAttentionConfig::new(WIDTH, HEADS).init(device),
            convolution_norm: LayerNormConfig::new(WIDTH).init(device),
            gate: LinearConfig::new(WIDTH, 2 * WIDTH).init(device),
            depthwise: depthwise.init(device),
            inner_norm: LayerNormConfig::new(WIDTH).init(device),
            out: LinearConfig::new(WIDTH, WIDTH).init(device),
            second: FeedForward::new(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
        }
    }

    /// `[rows, length, width]`, which tokens are padding, and the same as zeros among ones, `[rows, length, 1]`.
    fn forward(&self, x: Tensor<3>, padding: Tensor<2, Bool>, kept: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.first.forward(x) * 0.5;
        let seen = MhaInput::self_attn(self.attention_norm.forward(x.clone())).mask_pad(padding);
        let x = x + self.attention.forward(seen).context;
        let gated = self.gate.forward(self.convolution_norm.forward(x.clone()));
        let gated = gated.clone().narrow(2, 0, WIDTH) * sigmoid(gated.narrow(2, WIDTH, WIDTH));
        let mixed = self.depthwise.forward((gated * kept).swap_dims(1, 2)).swap_dims(1, 2);
        let x = x + self.out.forward(silu(self.inner_norm.forward(mixed)));
        let x = x.clone() + self.second.forward(x) * 0.5;
        self.norm.forward(x)
    }
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
    fn new(network: Network, vocabulary: usize, labels: usize, device: &Device) -> Self {
        let (lstm, blocks, states) = match network {
            Network::BiLstm => (Some(BiLstmConfig::new(WIDTH, WIDTH, true).init(device)), 0, 2 * WIDTH),
            Network::Conformer => (None, BLOCKS, WIDTH),
        };
        Self {
            embedding: EmbeddingConfig::new(vocabulary, WIDTH).init(device),
            positions: PositionalEncodingConfig::new(WIDTH).with_max_sequence_size(LONGEST).init(device),
            lstm,
            blocks: (0..blocks).map(|_| Block::new(device)).collect(),
            head: LinearConfig::new(2 * states, labels).init(device),
        }
    }

    /// Label logits `[rows, labels]` from the mean and the maximum of the states over the tokens.
    fn forward(&self, batch: &Batch, device: &Device) -> Tensor<2> {
        let shape = [batch.rows, batch.length];
        let ids = Tensor::<1, Int>::from_data(TensorData::new(batch.ids.clone(), [batch.ids.len()]), device);
        let kept = Tensor::<1>::from_data(TensorData::new(batch.kept.clone(), [batch.kept.len()]), device);
        let kept = kept.reshape(shape);
        let padding = kept.clone().lower_elem(0.5);
        let kept = kept.unsqueeze_dim::<3>(2);
        let mut x = self.embedding.forward(ids.reshape(shape));
        match &self.lstm {
            Some(lstm) => x = lstm.forward(x, None).0,
            None => {
                x = self.positions.forward(x);
                for block in &self.blocks {
                    x = block.forward(x, padding.clone(), kept.clone());
                }
            }
        }
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
    pub fn fit(
        network: Network,
        rows: &[(Vec<u32>, usize)],
        vocabulary: usize,
        labels: usize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let device = Device::flex().autodiff();
        device.seed(seed);
        let mut model = Classifier::new(network, vocabulary, labels, &device);
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
    fn both_learn_which_token_stands_first() {
        // Padding and order matter: the label is the first token's, the lengths differ.
        let rows: Vec<(Vec<u32>, usize)> = (0..96)
            .map(|i: u32| {
                let label = (i % 2) as usize;
                let rest = (0..i % 7 + 1).map(|j| 3 + (i * 5 + j * 3) % 4);
                (std::iter::once(1 + label as u32).chain(rest).collect(), label)
            })
            .collect();
        for network in [Network::BiLstm, Network::Conformer] {
            let fitted = Neural::fit(network, &rows, 8, 2, 1).unwrap();
            let right = rows.iter().filter(|(ids, label)| fitted.predict(ids)[*label] > 0.5).count();
            assert!(right >= 90, "{network:?}: {right} of 96");
            assert_eq!(fitted.predict(&[]).len(), 2);
        }
    }
}
