//! The whole model.

use super::{
    attention::CausalSelfAttention, block::Block, layer_norm::LayerNorm, line_pointer::LinePointer, linear::Linear,
    rotary::Positions,
};
use crate::{CodeGenConfig, ModelError};
use burn::module::{Module, Param};
use burn::tensor::{
    Device, Distribution, Int, Tensor, TensorData,
    module::{embedding, linear},
};

/// CodeGen as it is trained: embedding, parallel blocks, final norm and an untied language-model head with bias.
#[derive(Module, Debug)]
pub struct CodeGen {
    /// Token embedding, `[vocab, d]`. Not scaled, and there are no learned positions.
    pub wte: Param<Tensor<2>>,
    /// The blocks.
    pub h: Vec<Block>,
    /// The norm before the head.
    pub ln_f: LayerNorm,
    /// `[d, vocab]`, with bias.
    pub lm_head: Linear,
    /// Present where the configuration has `line_pointer_dim`.
    pub line_pointer: Option<LinePointer>,
    #[module(skip)]
    config: CodeGenConfig,
}

/// Standard deviation of fresh weights, as in the reference.
const INITIAL_STD: f64 = 0.02;

impl CodeGen {
    /// A fresh model with random weights, for training. The projections that write to the residual stream start
    /// smaller by √(2·n_layer), as in GPT-2.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the sizes do not fit together.
    pub fn random(config: &CodeGenConfig, device: &Device) -> Result<Self, ModelError> {
        config.validate()?;
        let d = config.n_embd;
        let residual = INITIAL_STD / (2.0 * config.n_layer as f64).sqrt();
        let block = |_| Block {
            ln_1: LayerNorm::new(d, config.layer_norm_epsilon, device),
            attn: CausalSelfAttention::new(
                Linear::new(d, 3 * d, false, INITIAL_STD, device),
                Linear::new(d, d, false, residual, device),
                config.n_head,
            ),
            fc_in: Linear::new(d, config.inner_dim(), true, INITIAL_STD, device),
            fc_out: Linear::new(config.inner_dim(), d, true, residual, device),
        };
        Ok(Self {
            wte: Param::from_tensor(Tensor::random(
                [config.vocab_size, d],
                Distribution::Normal(0.0, INITIAL_STD),
                device,
            )),
            h: (0..config.n_layer).map(block).collect(),
            ln_f: LayerNorm::new(d, config.layer_norm_epsilon, device),
            lm_head: Linear::new(d, config.vocab_size, true, INITIAL_STD, device),
            line_pointer: config.line_pointer_dim.map(|p| LinePointer {
                query: Linear::new(d, p, true, INITIAL_STD, device),
                key: Linear::new(d, p, true, INITIAL_STD, device),
            }),
            config: config.clone(),
        })
    }

    /// From parts that fit the configuration (see [`crate::CodeGenBuilder`], which checks that they do).
    pub(crate) fn from_parts(
        config: CodeGenConfig,
        wte: Tensor<2>,
        h: Vec<Block>,
        ln_f: LayerNorm,
        lm_head: Linear,
        line_pointer: Option<LinePointer>,
    ) -> Self {
        Self { wte: Param::from_tensor(wte), h, ln_f, lm_head, line_pointer, config }
    }

    /// The model's sizes.
    pub fn config(&self) -> &CodeGenConfig {
        &self.config
    }

    /// Final hidden states of sequences, without a cache.
    ///
    /// # Shapes
    /// - ids: `[batch, len]`, positions for `len` tokens
    /// - output: `[batch, len, d]`, after the final norm
    pub fn forward(&self, ids: Tensor<2, Int>, positions: &Positions) -> Tensor<3> {
        let mut x = embedding(self.wte.val(), ids);
        for block in &self.h {
            x = block.forward(x, positions);
        }
        self.ln_f.forward(x)
    }

    /// Logits over the whole vocabulary: `[batch, len, d]` to `[batch, len, vocab]`.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.lm_head.forward(hidden)
    }

    /// The rows of the language-model head for a few tokens, taken out once.
    ///
    /// # Errors
    /// [`ModelError::Config`] where a token is outside the vocabulary.
    pub fn label_head(&self, tokens: &[u32]) -> Result<LabelHead, ModelError> {
        if let Some(token) = tokens.iter().find(|&&t| t as usize >= self.config.vocab_size) {
            return Err(ModelError::outside(*token, &self.config));
        }
        let ids: Vec<i32> = tokens.iter().map(|&t| t as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens.len()]), &self.wte.val().device());
        Ok(LabelHead {
            weight: self.lm_head.weight.val().select(1, ids.clone()),
            bias: self.lm_head.bias.as_ref().map(|bias| bias.val().select(0, ids)),
        })
    }
}

/// A few rows of the language-model head: the logits of the answers alone.
///
/// Plain tensors and not a module: in training, gradients flow through them to the whole head.
#[derive(Debug, Clone)]
pub struct LabelHead {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

impl LabelHead {
    /// From weights `[d, labels]` and biases `[labels]`.
    pub(crate) fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight, bias }
    }

    /// `[rows, d]` to `[rows, labels]`.
    pub fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        linear(hidden, self.weight.clone(), self.bias.clone())
    }
}
