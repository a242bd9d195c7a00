//! The step of the optimiser: clipping by the norm of all gradients together, then AdamW.

use crate::Tuned;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;

/// AdamW (Loshchilov & Hutter, 2019) with the usual moments.
pub fn adam_w(weight_decay: f32) -> ModuleOptimizer {
    AdamWConfig::new().with_beta_2(0.999).with_weight_decay(weight_decay).init()
}

/// The square root of the sum of the squares of all gradients.
pub fn norm(tuned: &Tuned, gradients: &GradientsParams) -> f64 {
    let mut visitor = Squares { gradients, sum: None };
    tuned.visit(&mut visitor);
    visitor.sum.map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>()).sqrt())
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let squares = gradient.clone().mul(gradient).sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + squares,
                None => squares,
            });
        }
    }
}

/// Shrinks all gradients by one factor where their norm exceeds `most`, and returns the norm that they had.
pub fn clip(tuned: &Tuned, mut gradients: GradientsParams, most: f64) -> (GradientsParams, f64) {
    let norm = norm(tuned, &gradients);
    if norm > most {
        let mut visitor = Scaled { gradients: &mut gradients, factor: most / norm };
        tuned.visit(&mut visitor);
    }
    (gradients, norm)
}

struct Scaled<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scaled<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor);
        }
    }
}
