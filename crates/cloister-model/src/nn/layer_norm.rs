//! Layer normalisation with the reference's parameter names.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, module::layer_norm};

/// Layer normalisation over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Gain, `[d]`.
    pub weight: Param<Tensor<1>>,
    /// Offset, `[d]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl LayerNorm {
    /// Gain 1 and offset 0.
    pub fn new(d: usize, epsilon: f64, device: &Device) -> Self {
        Self::from_tensors(Tensor::ones([d], device), Tensor::zeros([d], device), epsilon)
    }

    /// From given parameters, each `[d]`.
    pub fn from_tensors(weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Self {
        Self { weight: Param::from_tensor(weight), bias: Param::from_tensor(bias), epsilon }
    }

    /// `[.., d]` to `[.., d]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.weight.val(), Some(self.bias.val()), self.epsilon)
    }
}
