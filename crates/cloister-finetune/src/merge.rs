//! One model of a model and what was learned beside it.

use crate::adapter::{Ia3, Lora};
use crate::{FinetuneError, Tuned};
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use cloister_model::CodeGen;
use cloister_model::nn::linear::Linear;

/// The model whose weights do alone what model and adapters do together: LoRA's product is added to its matrix, and a factor
/// goes into the columns that compute what it multiplies (the keys and values), or into the rows that read it (the inner
/// activation).
///
/// # Errors
/// [`FinetuneError::Model`] where the merged weights are not finite.
pub fn merged(tuned: &Tuned) -> Result<CodeGen, FinetuneError> {
    let Tuned { base: mut model, adapters } = tuned.valid();
    let Some(adapters) = adapters else { return Ok(model) };
    for (block, adapter) in model.h.iter_mut().zip(adapters.h) {
        add(&mut block.attn.qkv_proj, adapter.qkv_proj.as_ref());
        add(&mut block.attn.out_proj, adapter.out_proj.as_ref());
        add(&mut block.fc_in, adapter.fc_in.as_ref());
        add(&mut block.fc_out, adapter.fc_out.as_ref());
        if let Some(Ia3 { key, value, inner }) = &adapter.ia3 {
            let (key, value, inner) = (key.val(), value.val(), inner.val());
            let d = key.dims()[0];
            let queries = Tensor::<1>::ones([d], &key.device());
            let factors = Tensor::cat(vec![queries, key, value], 0).reshape([1, 3 * d]);
            set(&mut block.attn.qkv_proj, |weight| weight * factors);
            let width = inner.dims()[0];
            set(&mut block.fc_out, |weight| weight * inner.reshape([width, 1]));
        }
    }
    Ok(model)
}

fn add(linear: &mut Linear, lora: Option<&Lora>) {
    if let Some(lora) = lora {
        set(linear, |weight| weight + lora.delta());
    }
}

fn set(linear: &mut Linear, change: impl FnOnce(Tensor<2>) -> Tensor<2>) {
    linear.weight = Param::from_tensor(change(linear.weight.val()));
}
