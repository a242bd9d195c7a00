//! The activation of the feed-forward layer.

use burn::tensor::{Tensor, activation::sigmoid};

/// `gelu_new`: 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
///
/// Written as x·sigmoid(2y), which is the same function, because it takes four elementwise steps and no power
/// function (`powf` is slow on the CPU and undefined for negative bases in WGSL).
pub fn gelu_new<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    const LINEAR: f64 = 2.0 * core::f64::consts::FRAC_2_SQRT_PI * core::f64::consts::FRAC_1_SQRT_2;
    const CUBIC: f64 = LINEAR * 0.044715;
    let slope = x.clone() * x.clone() * CUBIC + LINEAR;
    x.clone() * sigmoid(x * slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn it_is_the_tanh_formula() {
        let values = [-30.0f32, -3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0, 30.0];
        let found = gelu_new(Tensor::<1>::from_data(values, &Device::flex())).into_data_as::<f32>();
        for (x, y) in values.iter().zip(found.iter::<f32>()) {
            let x = f64::from(*x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            let expected = 0.5 * x * (1.0 + inner.tanh());
            assert!((expected - f64::from(y)).abs() < 1e-6 * x.abs().max(1.0), "{x}: {y} against {expected}");
        }
    }
}
