//! Rotary position embedding, and what else depends on positions alone: the causal mask.

use crate::{CodeGenConfig, ModelError};
use burn::tensor::{Device, Tensor, TensorData};

/// Added to a masked score; its exponential is exactly 0 in f32. Finite, because WGSL compilers may assume that there
/// are no infinities, and so that a row that is masked throughout (left padding) gives no NaN.
const MASKED: f32 = -1e30;

/// Sines, cosines and mask of one forward pass. Depends on the positions alone, so one value serves all blocks.
#[derive(Debug, Clone)]
pub struct Positions {
    cos: Tensor<4>,
    sin: Tensor<4>,
    bias: Tensor<4>,
    past: usize,
    len: usize,
}

impl Positions {
    /// Positions `past .. past + len` under a causal mask, the same for every row of the batch.
    ///
    /// # Errors
    /// [`ModelError::ContextOverflow`] where they do not fit in the context.
    pub fn causal(config: &CodeGenConfig, past: usize, len: usize, device: &Device) -> Result<Self, ModelError> {
        Self::left_padded(config, past, len, &[0], device)
    }

    /// As [`Self::causal`] for a batch whose row `b` begins with `padding[b]` tokens of padding: positions count from
    /// the first real token, and padding is never attended to. The output at a padded place means nothing.
    ///
    /// # Errors
    /// [`ModelError::ContextOverflow`] where they do not fit in the context.
    pub fn left_padded(
        config: &CodeGenConfig,
        past: usize,
        len: usize,
        padding: &[usize],
        device: &Device,
    ) -> Result<Self, ModelError> {
        let total = past + len;
        if total > config.n_positions {
            return Err(ModelError::ContextOverflow { tokens: total, context: config.n_positions });
        }
        let batch = padding.len();
        let places = padding.iter().flat_map(|&pad| (past..total).map(move |row| row.saturating_sub(pad)));
        let bias = padding.iter().flat_map(|&pad| {
            (past..total).flat_map(move |row| {
                (0..total).map(move |column| if column < pad || column > row { MASKED } else { 0.0 })
            })
        });
        Ok(Self::of(config, places, bias.collect(), [batch, past, len], device))
    }

    /// Positions of the nodes of a tree behind `past` tokens: each node stands one place behind its parent (behind the past
    /// where it has none), and sees the past, its ancestors and itself. Parents stand before their children.
    ///
    /// # Errors
    /// [`ModelError::ContextOverflow`] where the deepest node does not fit in the context, [`ModelError::Config`] where a
    /// node stands before its parent.
    pub fn tree(
        config: &CodeGenConfig,
        past: usize,
        parents: &[Option<usize>],
        device: &Device,
    ) -> Result<Self, ModelError> {
        let (len, total) = (parents.len(), past + parents.len());
        let mut places: Vec<usize> = Vec::with_capacity(len);
        let mut bias = vec![MASKED; len * total];
        for (node, parent) in parents.iter().enumerate() {
            bias[node * total..node * total + past].fill(0.0);
            let place = match parent {
                None => past,
                Some(parent) => {
                    let Some(place) = places.get(*parent) else {
                        return Err(ModelError::Config(format!(
                            "node {node} of a tree stands before its parent {parent}"
                        )));
                    };
                    bias.copy_within(parent * total + past..parent * total + total, node * total + past);
                    place + 1
                }
            };
            if place >= config.n_positions {
                return Err(ModelError::ContextOverflow { tokens: place + 1, context: config.n_positions });
            }
            bias[node * total + past + node] = 0.0;
            places.push(place);
        }
        Ok(Self::of(config, places.into_iter(), bias, [1, past, len], device))
    }

    fn of(
        config: &CodeGenConfig,
        places: impl Iterator<Item = usize>,
        bias: Vec<f32>,
        [batch, past, len]: [usize; 3],
        device: &Device,
    ) -> Self {
        let half = config.rotary_dim / 2;
        let (mut cos, mut sin) = (Vec::with_capacity(batch * len * half), Vec::with_capacity(batch * len * half));
        for place in places {
            for i in 0..half {
                let angle = place as f64 * inverse_frequency(i, config.rotary_dim);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        let table = |values: Vec<f32>, width: usize| {
            Tensor::<4>::from_data(TensorData::new(values, [batch, 1, len, width]), device)
        };
        Self { cos: table(cos, half), sin: table(sin, half), bias: table(bias, past + len), past, len }
    }

    /// Tokens before the first of this pass.
    pub fn past(&self) -> usize {
        self.past
    }

    /// Tokens of this pass.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the pass has no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is added to the attention scores, `[batch or 1, 1, len, past + len]`.
    pub(crate) fn bias(&self) -> Tensor<4> {
        self.bias.clone()
    }

    /// Rotates the leading dimensions of each head of `x` `[batch, heads, len, head_dim]`.
    ///
    /// The reference rotates the pairs (0,1), (2,3), …; here the import has put the even ones first, so that the pairs
    /// are (i, i + half) and need no strided access. Queries and keys are reordered alike, so the scores are the same.
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let head_dim = x.dims()[3];
        let half = self.cos.dims()[3];
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let even = x.clone().narrow(3, 0, half);
        let odd = x.clone().narrow(3, half, half);
        let mut parts = vec![even.clone() * cos.clone() - odd.clone() * sin.clone(), odd * cos + even * sin];
        if head_dim > 2 * half {
            parts.push(x.narrow(3, 2 * half, head_dim - 2 * half));
        }
        Tensor::cat(parts, 3)
    }
}

/// 10000^(−2i/rotary_dim).
fn inverse_frequency(i: usize, rotary_dim: usize) -> f64 {
    10000f64.powf(-(2.0 * i as f64) / rotary_dim as f64)
}
