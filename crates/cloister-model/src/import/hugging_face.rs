//! From Hugging Face's `CodeGenForCausalLM` to the layout of [`crate::tensor_shapes`].
//!
//! The reference fuses queries, values and keys into one matrix, in 4 groups whatever the number of heads, each group
//! holding its queries, then its **values**, then its keys; and it rotates interleaved pairs. Both are undone here,
//! once, so that the forward pass needs neither.

use crate::{CodeGenConfig, ModelError};
use burn::tensor::TensorData;

/// Groups in the fused projection, fixed in the reference.
const GROUPS: usize = 4;

/// Converts one tensor of a state dict. `None` for what the forward pass does not need (the stored causal masks).
///
/// # Errors
/// [`ModelError`] where the name is not CodeGen's or the shape does not fit.
pub fn convert(
    config: &CodeGenConfig,
    name: &str,
    data: TensorData,
) -> Result<Option<(String, TensorData)>, ModelError> {
    let short = name.strip_prefix("transformer.").unwrap_or(name);
    if ["attn.causal_mask", "attn.bias", "attn.masked_bias"].iter().any(|mask| short.ends_with(mask)) {
        return Ok(None);
    }
    let data = data.convert::<f32>();
    let data = if short.ends_with("attn.qkv_proj.weight") {
        let expected = vec![3 * config.n_embd, config.n_embd];
        if data.shape().to_vec() != expected {
            return Err(ModelError::Shape { name: name.into(), expected, found: data.shape().to_vec() });
        }
        let rows = fused_rows(config);
        transpose(&gather_rows(&floats(&data), &rows, config.n_embd), rows.len(), config.n_embd)
    } else if short.ends_with("weight") && data.shape().num_dims() == 2 && short != "wte.weight" {
        let [rows, columns] = data.shape().dims::<2>();
        transpose(&floats(&data), rows, columns)
    } else {
        data
    };
    Ok(Some((short.to_string(), data)))
}

/// The reference's row for each row of the plain order: queries, keys, values, heads in order, and within the rotating
/// part of each query and key the even dimensions before the odd ones.
fn fused_rows(config: &CodeGenConfig) -> Vec<usize> {
    let (d, head_dim) = (config.n_embd, config.head_dim());
    let heads_per_group = config.n_head / GROUPS;
    let local = d / GROUPS;
    let half = config.rotary_dim / 2;
    let mut rows = Vec::with_capacity(3 * d);
    // Within a group: queries at 0, values at 1, keys at 2 times the group's width.
    for (part, rotates) in [(0, true), (2, true), (1, false)] {
        for head in 0..config.n_head {
            let (group, member) = (head / heads_per_group, head % heads_per_group);
            let start = group * 3 * local + part * local + member * head_dim;
            rows.extend((0..head_dim).map(|i| {
                let source = match i {
                    _ if !rotates || i >= 2 * half => i,
                    _ if i < half => 2 * i,
                    _ => 2 * (i - half) + 1,
                };
                start + source
            }));
        }
    }
    rows
}

fn floats(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

fn gather_rows(values: &[f32], rows: &[usize], width: usize) -> Vec<f32> {
    rows.iter().flat_map(|row| values[row * width..(row + 1) * width].iter().copied()).collect()
}

/// `[rows, columns]` to `[columns, rows]`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> TensorData {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    TensorData::new(out, [columns, rows])
}
