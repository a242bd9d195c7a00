//! The model as it is asked, not trained: block matrices on the device, packed where they were stored so; embedding and head
//! in the host's memory.

mod builder;
mod host;

pub use builder::InferenceBuilder;
pub use host::HostMatrix;

use crate::nn::attention::{KvCache, attend};
use crate::nn::{activation::gelu_new, layer_norm::LayerNorm, line_pointer::LinePointer, rotary::Positions};
use crate::packed::PackedMatrix;
use crate::{CodeGenConfig, LabelHead, ModelError};
use burn::tensor::module::linear;
use burn::tensor::{Device, Tensor, TensorData};

/// An `[in, out]` matrix on the device.
#[derive(Debug, Clone)]
pub enum DeviceMatrix {
    /// Single precision.
    Wide(Box<Tensor<2>>),
    /// 8 or 4 bits in blocks.
    Packed(Box<PackedMatrix>),
}

impl DeviceMatrix {
    /// x·W + b: `[rows, in]` to `[rows, out]`.
    fn forward(&self, x: Tensor<2>, bias: Option<&Tensor<1>>) -> Tensor<2> {
        match self {
            Self::Wide(weight) => linear(x, Tensor::clone(weight), bias.cloned()),
            Self::Packed(matrix) => {
                let product = matrix.forward(x);
                match bias {
                    Some(bias) => product + bias.clone().unsqueeze_dim::<2>(0),
                    None => product,
                }
            }
        }
    }
}

/// A block's parameters; what they compute is that of [`crate::nn::block::Block`].
#[derive(Debug)]
struct Layer {
    ln_1: LayerNorm,
    qkv_proj: DeviceMatrix,
    out_proj: DeviceMatrix,
    fc_in: (DeviceMatrix, Tensor<1>),
    fc_out: (DeviceMatrix, Tensor<1>),
}

impl Layer {
    /// `[len, d]` to `[len, d]`.
    fn forward(&self, x: Tensor<2>, n_head: usize, positions: &Positions, cache: (&mut KvCache, usize)) -> Tensor<2> {
        let [len, d] = x.dims();
        let h = self.ln_1.forward(x.clone());
        let qkv = self.qkv_proj.forward(h.clone(), None).reshape([1, len, 3 * d]);
        let attended = attend(qkv, n_head, positions, Some(cache)).reshape([len, d]);
        let attended = self.out_proj.forward(attended, None);
        let fed = gelu_new(self.fc_in.0.forward(h, Some(&self.fc_in.1)));
        x + attended + self.fc_out.0.forward(fed, Some(&self.fc_out.1))
    }
}

/// CodeGen for questions alone: one sequence at a time, behind a cache, no gradients. Made by [`InferenceBuilder`].
#[derive(Debug)]
pub struct Inference {
    config: CodeGenConfig,
    device: Device,
    wte: HostMatrix,
    layers: Vec<Layer>,
    ln_f: LayerNorm,
    lm_head: HostMatrix,
    lm_head_bias: Vec<f32>,
    /// Present where the configuration has `line_pointer_dim`.
    pub line_pointer: Option<LinePointer>,
}

impl Inference {
    /// The model's sizes.
    pub fn config(&self) -> &CodeGenConfig {
        &self.config
    }

    /// Where the blocks are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Reads `ids` behind what the cache holds, extends the cache and returns the final hidden states of the new tokens,
    /// `[1, len, d]`, after the final norm.
    ///
    /// # Errors
    /// [`ModelError::ContextOverflow`] where cached and new tokens exceed the context, [`ModelError::Config`] where a token is
    /// outside the vocabulary.
    pub fn prefill(&self, ids: &[u32], cache: &mut KvCache) -> Result<Tensor<3>, ModelError> {
        let positions = Positions::causal(&self.config, cache.len(), ids.len(), &self.device)?;
        let hidden = self.run(ids, &positions, cache)?;
        cache.advance(ids.len());
        Ok(hidden)
    }

    /// Reads the nodes of a tree of continuations behind what the cache holds, all at once, and returns their final hidden
    /// states, `[1, nodes, d]`. `parents` names for each the node that it follows, or none where it follows the cached
    /// tokens. The cache stays as it is.
    ///
    /// # Errors
    /// As [`Positions::tree`], and [`ModelError::Config`] where a token is outside the vocabulary.
    pub fn continuations(
        &self,
        ids: &[u32],
        parents: &[Option<usize>],
        cache: &KvCache,
    ) -> Result<Tensor<3>, ModelError> {
        let positions = Positions::tree(&self.config, cache.len(), parents, &self.device)?;
        self.run(ids, &positions, &mut cache.clone())
    }

    /// The columns of the language-model head for a few tokens, on the device.
    ///
    /// # Errors
    /// [`ModelError::Config`] where a token is outside the vocabulary.
    pub fn label_head(&self, tokens: &[u32]) -> Result<LabelHead, ModelError> {
        self.check(tokens)?;
        let weight = TensorData::new(self.lm_head.columns(tokens), [self.config.n_embd, tokens.len()]);
        let bias: Vec<f32> = tokens.iter().map(|token| self.lm_head_bias[*token as usize]).collect();
        let bias = TensorData::new(bias, [tokens.len()]);
        Ok(LabelHead::new(Tensor::from_data(weight, &self.device), Some(Tensor::from_data(bias, &self.device))))
    }

    /// Logits over the whole vocabulary for one final hidden state, which was read from the device: `[d]` to `[vocab]`. Runs on
    /// the host.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        let mut logits = self.lm_head.multiply(hidden);
        logits.iter_mut().zip(&self.lm_head_bias).for_each(|(logit, bias)| *logit += bias);
        logits
    }

    fn check(&self, tokens: &[u32]) -> Result<(), ModelError> {
        match tokens.iter().find(|token| **token as usize >= self.config.vocab_size) {
            None => Ok(()),
            Some(token) => Err(ModelError::outside(*token, &self.config)),
        }
    }

    fn run(&self, ids: &[u32], positions: &Positions, cache: &mut KvCache) -> Result<Tensor<3>, ModelError> {
        self.check(ids)?;
        let d = self.config.n_embd;
        let embedded = TensorData::new(self.wte.rows(ids), [ids.len(), d]);
        let mut x = Tensor::<2>::from_data(embedded, &self.device);
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x, self.config.n_head, positions, (&mut *cache, index));
        }
        Ok(self.ln_f.forward(x).reshape([1, ids.len(), d]))
    }
}
