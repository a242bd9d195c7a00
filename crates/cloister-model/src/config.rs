//! The sizes of a CodeGen model.

use crate::ModelError;
use serde::{Deserialize, Serialize};

/// Every size of a CodeGen model. Names follow Hugging Face's `CodeGenConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeGenConfig {
    /// Rows of the embedding and of the language-model head.
    pub vocab_size: usize,
    /// Longest sequence in tokens, cached ones included.
    pub n_positions: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Attention heads; a multiple of 4, because the reference stores its fused projection in 4 groups.
    pub n_head: usize,
    /// Leading dimensions of each head that rotate.
    pub rotary_dim: usize,
    /// Width of the feed-forward layer; `4 * n_embd` in the reference when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_inner: Option<usize>,
    /// Epsilon of the layer norms.
    #[serde(default = "default_epsilon")]
    pub layer_norm_epsilon: f64,
    /// Width of the line pointer's query and key, where the model has one (see [`crate::LinePointer`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_pointer_dim: Option<usize>,
}

fn default_epsilon() -> f64 {
    1e-5
}

/// The largest size that a configuration may name: keeps absurd values from reaching an allocation.
const MAX_SIZE: usize = 1 << 20;

impl CodeGenConfig {
    /// The shape of Salesforce's codegen-350M-mono (356,712,448 parameters).
    pub fn codegen_350m_mono() -> Self {
        Self {
            vocab_size: 51200,
            n_positions: 2048,
            n_embd: 1024,
            n_layer: 20,
            n_head: 16,
            rotary_dim: 32,
            n_inner: None,
            layer_norm_epsilon: default_epsilon(),
            line_pointer_dim: None,
        }
    }

    /// Dimensions of one head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Width of the feed-forward layer.
    pub fn inner_dim(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// Number of parameters.
    pub fn num_params(&self) -> usize {
        crate::tensor_shapes(self).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the first that does not.
    pub fn validate(&self) -> Result<(), ModelError> {
        let fail = |text: String| Err(ModelError::Config(text));
        for (name, value) in [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("rotary_dim", self.rotary_dim),
            ("n_inner", self.inner_dim()),
            ("line_pointer_dim", self.line_pointer_dim.unwrap_or(1)),
        ] {
            if value == 0 || value > MAX_SIZE {
                return fail(format!("{name} is {value}, outside 1 to {MAX_SIZE}"));
            }
        }
        if !self.n_head.is_multiple_of(4) {
            return fail(format!("n_head is {}, not a multiple of 4", self.n_head));
        }
        if !self.n_embd.is_multiple_of(self.n_head) {
            return fail(format!("n_embd {} is not a multiple of n_head {}", self.n_embd, self.n_head));
        }
        if self.rotary_dim > self.head_dim() || !self.rotary_dim.is_multiple_of(2) {
            return fail(format!(
                "rotary_dim is {}, which must be even and at most the head's {}",
                self.rotary_dim,
                self.head_dim()
            ));
        }
        if !(self.layer_norm_epsilon > 0.0 && self.layer_norm_epsilon < 1.0) {
            return fail(format!("layer_norm_epsilon is {}", self.layer_norm_epsilon));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_shape_has_the_published_number_of_parameters() {
        let config = CodeGenConfig::codegen_350m_mono();
        config.validate().unwrap();
        assert_eq!(config.num_params(), 356_712_448);
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let good = CodeGenConfig::codegen_350m_mono();
        for (broken, word) in [
            (CodeGenConfig { n_head: 6, ..good.clone() }, "n_head"),
            (CodeGenConfig { n_embd: 1023, ..good.clone() }, "n_embd"),
            (CodeGenConfig { rotary_dim: 66, ..good.clone() }, "rotary_dim"),
            (CodeGenConfig { vocab_size: 0, ..good.clone() }, "vocab_size"),
            (CodeGenConfig { n_layer: usize::MAX, ..good.clone() }, "n_layer"),
            (CodeGenConfig { layer_norm_epsilon: f64::NAN, ..good.clone() }, "epsilon"),
        ] {
            let error = broken.validate().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
