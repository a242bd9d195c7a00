//! A linear layer that can be built from given tensors.

use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Tensor, module::linear};

/// y = x·W + b.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[d_in, d_out]`: the transpose of PyTorch's, so that the product needs no transposition.
    pub weight: Param<Tensor<2>>,
    /// `[d_out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Normal weights of the given standard deviation, bias 0.
    pub fn new(d_in: usize, d_out: usize, bias: bool, std: f64, device: &Device) -> Self {
        Self::from_tensors(
            Tensor::random([d_in, d_out], Distribution::Normal(0.0, std), device),
            bias.then(|| Tensor::zeros([d_out], device)),
        )
    }

    /// From given parameters: weight `[d_in, d_out]`, bias `[d_out]`.
    pub fn from_tensors(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight: Param::from_tensor(weight), bias: bias.map(Param::from_tensor) }
    }

    /// [.., d_in] to [.., d_out].
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val(), self.bias.as_ref().map(|b| b.val()))
    }
}
