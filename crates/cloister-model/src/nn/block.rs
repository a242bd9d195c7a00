//! One block, in the parallel form of GPT-J.

use super::{
    activation::gelu_new, attention::CausalSelfAttention, layer_norm::LayerNorm, linear::Linear, rotary::Positions,
};
use burn::module::Module;
use burn::tensor::Tensor;

/// x + attention(norm(x)) + feed_forward(norm(x)): one norm feeds both.
#[derive(Module, Debug)]
pub struct Block {
    /// The norm before both branches.
    pub ln_1: LayerNorm,
    /// The attention branch.
    pub attn: CausalSelfAttention,
    /// Into the feed-forward layer, `[d, inner]`.
    pub fc_in: Linear,
    /// Out of it, `[inner, d]`.
    pub fc_out: Linear,
}

impl Block {
    /// `[batch, len, d]` to `[batch, len, d]`.
    pub fn forward(&self, x: Tensor<3>, positions: &Positions) -> Tensor<3> {
        let h = self.ln_1.forward(x.clone());
        let attended = self.attn.forward(h.clone(), positions);
        let fed = self.fc_out.forward(gelu_new(self.fc_in.forward(h)));
        x + attended + fed
    }
}
