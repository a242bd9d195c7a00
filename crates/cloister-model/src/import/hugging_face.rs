//! From Hugging Face's `CodeGenForCausalLM` to the layout of [`crate::tensor_shapes`].
//!
//! The reference fuses queries, values and keys into one matrix, in 4 groups whatever the number of heads, each group
//! holding its queries, then its **values**, then its keys; and it rotates interleaved pairs. Both are undone here,
//! once, so that the forward pass needs neither.

use crate::{CodeGenConfig, ModelError};
use burn::tensor::TensorData;

/// Groups in the fused projection, fixed in the reference.
const GROUPS: usize = 4;

/// Where a tensor's elements stand in the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// At the same place.
    Same,
    /// Rows and columns change places.
    Transposed,
    /// The same, and the reference's row of each column is another.
    Gathered(Vec<usize>),
}

impl Layout {
    /// The reference's (row, column) of an element of a matrix here.
    pub fn place(&self, row: usize, column: usize) -> (usize, usize) {
        match self {
            Self::Same => (row, column),
            Self::Transposed => (column, row),
            Self::Gathered(rows) => (rows.get(column).copied().unwrap_or(column), row),
        }
    }
}

/// The name here of a tensor of a state dict, and its layout. `None` for what the forward pass does not need (the stored
/// causal masks).
///
/// # Errors
/// [`ModelError::Shape`] where the fused projection has another shape than the configuration asks for.
pub fn layout(config: &CodeGenConfig, name: &str, shape: &[usize]) -> Result<Option<(String, Layout)>, ModelError> {
    let short = name.strip_prefix("transformer.").unwrap_or(name);
    if ["attn.causal_mask", "attn.bias", "attn.masked_bias"].iter().any(|mask| short.ends_with(mask)) {
        return Ok(None);
    }
    let layout = if short.ends_with("attn.qkv_proj.weight") {
        let expected = vec![3 * config.n_embd, config.n_embd];
        if shape != expected {
            return Err(ModelError::Shape { name: name.into(), expected, found: shape.to_vec() });
        }
        Layout::Gathered(fused_rows(config))
    } else if short.ends_with("weight") && shape.len() == 2 && short != "wte.weight" {
        Layout::Transposed
    } else {
        Layout::Same
    };
    Ok(Some((short.to_string(), layout)))
}

/// Converts one tensor of a state dict. `None` for what the forward pass does not need (the stored causal masks).
///
/// # Errors
/// [`ModelError`] where the name is not CodeGen's or the shape does not fit.
pub fn convert(
    config: &CodeGenConfig,
    name: &str,
    data: TensorData,
) -> Result<Option<(String, TensorData)>, ModelError> {
    let Some((short, layout)) = layout(config, name, &data.shape().to_vec())? else { return Ok(None) };
    let data = data.convert::<f32>();
    if layout == Layout::Same {
        return Ok(Some((short, data)));
    }
    let [columns, rows] = data.shape().dims::<2>();
    let values: Vec<f32> = data.iter::<f32>().collect();
    let mut out = Vec::with_capacity(values.len());
    for row in 0..rows {
        out.extend((0..columns).map(|column| {
            let (from, at) = layout.place(row, column);
            values[from * rows + at]
        }));
    }
    Ok(Some((short, TensorData::new(out, [rows, columns]))))
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
