//! Causal self-attention with a KV cache.

use super::{linear::Linear, rotary::Positions};
use burn::module::Module;
use burn::tensor::{Tensor, activation::softmax};

/// The keys and values of the tokens already seen, a pair per block, each `[batch, heads, tokens, head_dim]`.
///
/// Cloning is cheap: tensors share their buffers. A prompt's prefix can so be prefilled once and used many times.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    layers: Vec<Option<(Tensor<4>, Tensor<4>)>>,
    len: usize,
}

impl KvCache {
    /// An empty cache for a model of so many blocks.
    pub fn new(n_layer: usize) -> Self {
        Self { layers: vec![None; n_layer], len: 0 }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends keys and values to a block's and returns all of them.
    fn extend(&mut self, layer: usize, key: Tensor<4>, value: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let joined = match self.layers[layer].take() {
            Some((k, v)) => (Tensor::cat(vec![k, key], 2), Tensor::cat(vec![v, value], 2)),
            None => (key, value),
        };
        self.layers[layer] = Some(joined.clone());
        joined
    }

    /// Counts the tokens of a finished pass.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

/// Multi-head causal self-attention. No biases, as in the reference.
#[derive(Module, Debug)]
pub struct CausalSelfAttention {
    /// Queries, then keys, then values, each with heads in plain order: `[d, 3d]`.
    pub qkv_proj: Linear,
    /// `[d, d]`.
    pub out_proj: Linear,
    #[module(skip)]
    n_head: usize,
}

impl CausalSelfAttention {
    /// From its two projections.
    pub fn new(qkv_proj: Linear, out_proj: Linear, n_head: usize) -> Self {
        Self { qkv_proj, out_proj, n_head }
    }

    /// `[batch, len, d]` to `[batch, len, d]`.
    pub fn forward(&self, x: Tensor<3>, positions: &Positions) -> Tensor<3> {
        self.out_proj.forward(attend(self.qkv_proj.forward(x), self.n_head, positions, None))
    }
}

/// What attention computes between its two projections: `[batch, len, 3d]`, queries, keys and values, to `[batch, len, d]`.
/// `cache` is a cache and the block's place in it.
pub fn attend(qkv: Tensor<3>, n_head: usize, positions: &Positions, cache: Option<(&mut KvCache, usize)>) -> Tensor<3> {
    let [batch, len, width] = qkv.dims();
    let d = width / 3;
    let head_dim = d / n_head;
    let heads =
        |index: usize| qkv.clone().narrow(2, index * d, d).reshape([batch, len, n_head, head_dim]).swap_dims(1, 2);
    let query = positions.rotate(heads(0));
    let key = positions.rotate(heads(1));
    let value = heads(2);
    let (key, value) = match cache {
        Some((cache, layer)) => cache.extend(layer, key, value),
        None => (key, value),
    };
    // Scaling the query costs len·d products where scaling the scores would cost heads·len².
    let scores = (query * (head_dim as f64).sqrt().recip()).matmul(key.swap_dims(2, 3)) + positions.bias();
    let mixed = softmax(scores, 3).matmul(value);
    mixed.swap_dims(1, 2).reshape([batch, len, d])
}
