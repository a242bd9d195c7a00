//! The forward pass of a block with what is learned beside it.

use crate::adapter::{BlockAdapter, Lora};
use burn::tensor::Tensor;
use cloister_model::Positions;
use cloister_model::nn::{activation::gelu_new, attention::attend, block::Block, linear::Linear};

/// `[batch, len, d]` to `[batch, len, d]`, as [`Block::forward`] without a cache where there is no adapter.
pub fn block(
    block: &Block,
    adapter: Option<&BlockAdapter>,
    x: Tensor<3>,
    positions: &Positions,
    n_head: usize,
) -> Tensor<3> {
    let lora = |place: fn(&BlockAdapter) -> &Option<Lora>| adapter.and_then(|adapter| place(adapter).as_ref());
    let ia3 = adapter.and_then(|adapter| adapter.ia3.as_ref());
    let h = block.ln_1.forward(x.clone());
    let mut qkv = adapted(&block.attn.qkv_proj, lora(|a| &a.qkv_proj), h.clone());
    if let Some(ia3) = ia3 {
        let [_, _, width] = qkv.dims();
        let queries = Tensor::<1>::ones([width / 3], &qkv.device());
        let factors = Tensor::cat(vec![queries, ia3.key.val(), ia3.value.val()], 0);
        qkv = qkv * factors.reshape([1, 1, width]);
    }
    let mixed = attend(qkv, n_head, positions, None);
    let attended = adapted(&block.attn.out_proj, lora(|a| &a.out_proj), mixed);
    let mut inner = gelu_new(adapted(&block.fc_in, lora(|a| &a.fc_in), h));
    if let Some(ia3) = ia3 {
        let width = inner.dims()[2];
        inner = inner * ia3.inner.val().reshape([1, 1, width]);
    }
    let fed = adapted(&block.fc_out, lora(|a| &a.fc_out), inner);
    x + attended + fed
}

fn adapted(frozen: &Linear, lora: Option<&Lora>, x: Tensor<3>) -> Tensor<3> {
    match lora {
        Some(lora) => frozen.forward(x.clone()) + lora.forward(x),
        None => frozen.forward(x),
    }
}
