//! Gradients, block by block.
//!
//! A pass without a graph keeps the input of each block and nothing else. Then, from the last block to the first, the block is
//! computed again with a graph, gone through backward, and forgotten. One block's activations are held at a time, at the price
//! of a second forward pass; gradients of what is frozen are never formed.

use crate::objective::{Batch, Objective, loss};
use crate::{Adapters, FinetuneError, forward};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, module::embedding};
use cloister_model::{CodeGen, Positions};

/// A model in fine-tuning.
#[derive(Module, Debug)]
pub struct Tuned {
    /// On a device with autodiff where all weights are learned, else on one without.
    pub base: CodeGen,
    /// What is learned beside it, on a device with autodiff.
    pub adapters: Option<Adapters>,
}

impl Tuned {
    /// Final hidden states, after the final norm, without a graph: `[batch, len]` to `[batch, len, d]`.
    ///
    /// # Errors
    /// [`FinetuneError::Model`] where the batch does not fit in the context.
    pub fn hidden(&self, batch: &Batch) -> Result<Tensor<3>, FinetuneError> {
        let plain = self.valid();
        let (x, _) = plain.inputs(batch, false)?;
        Ok(plain.base.ln_f.forward(x))
    }

    /// What goes into the final norm, and the input of each block where they are to be kept.
    fn inputs(&self, batch: &Batch, keep: bool) -> Result<(Tensor<3>, Vec<Tensor<3>>), FinetuneError> {
        let device = self.base.wte.val().device();
        let positions = Positions::causal(self.base.config(), 0, batch.len, &device)?;
        let mut kept = Vec::new();
        let mut x = embedding(self.base.wte.val(), batch.ids(&device));
        for layer in 0..self.base.h.len() {
            if keep {
                kept.push(x.clone());
            }
            x = self.block(layer, x, &positions);
        }
        Ok((x, kept))
    }

    fn block(&self, layer: usize, x: Tensor<3>, positions: &Positions) -> Tensor<3> {
        let adapter = self.adapters.as_ref().and_then(|adapters| adapters.h.get(layer));
        forward::block(&self.base.h[layer], adapter, x, positions, self.base.config().n_head)
    }

    /// A copy whose parameters are leaves of their own: threads that share leaves would wait for each other's graphs.
    fn forked(&self, device: &Device) -> Self {
        match &self.adapters {
            // What is frozen is in no graph.
            Some(adapters) => Self { base: self.base.clone(), adapters: Some(adapters.clone().fork(device)) },
            None => Self { base: self.base.clone().fork(device), adapters: None },
        }
    }

    /// The sum of the cross-entropies of a batch divided by `total`, and its gradients for all that is learned.
    ///
    /// # Errors
    /// [`FinetuneError::Model`] where the batch does not fit in the context.
    pub fn gradients(
        &self,
        batch: &Batch,
        objective: &Objective,
        total: usize,
    ) -> Result<(f64, GradientsParams), FinetuneError> {
        let full = self.adapters.is_none();
        let (x, mut inputs) = self.valid().inputs(batch, true)?;
        let mut sum = GradientsAccumulator::new();

        let leaf = x.autodiff().require_grad();
        let hidden = self.base.ln_f.forward(leaf.clone());
        let value = loss(&self.base, hidden, batch, objective)? * (1.0 / total.max(1) as f64);
        let result = f64::from(value.clone().into_scalar::<f32>());
        let mut grads = value.backward();
        let mut flow = taken(&leaf, &mut grads)?;
        if full {
            sum.accumulate(self, GradientsParams::from_grads(grads, self));
        }
        let positions = Positions::causal(self.base.config(), 0, batch.len, &flow.device())?;
        for layer in (0..self.base.h.len()).rev() {
            let Some(input) = inputs.pop() else { continue };
            let leaf = input.autodiff().require_grad();
            // The sum of the output's elements, each times what flows into it, has the gradient that is asked for.
            let mut grads = (self.block(layer, leaf.clone(), &positions) * flow).sum().backward();
            flow = taken(&leaf, &mut grads)?;
            let learned = match &self.adapters {
                Some(adapters) => GradientsParams::from_grads(grads, &adapters.h[layer]),
                None => GradientsParams::from_grads(grads, &self.base.h[layer]),
            };
            sum.accumulate(self, learned);
        }
        if full {
            let embedded = embedding(self.base.wte.val(), batch.ids(&self.base.wte.val().device()));
            let grads = (embedded * flow).sum().backward();
            sum.accumulate(self, GradientsParams::from_grads(grads, self));
        }
        Ok((result, sum.grads()))
    }
}

/// The gradient that has reached a leaf.
fn taken(leaf: &Tensor<3>, grads: &mut burn::tensor::Gradients) -> Result<Tensor<3>, FinetuneError> {
    leaf.grad_remove(grads)
        .ok_or_else(|| cloister_engine::EngineError::Device("no gradient came back through a block".into()).into())
}

/// The mean cross-entropy over batches and its gradients. Batches are shared out among so many threads: most elementwise
/// operations of the CPU backend are serial, so this is what keeps the cores busy.
///
/// # Errors
/// As [`Tuned::gradients`].
pub fn accumulated(
    tuned: &Tuned,
    batches: &[Batch],
    objective: &Objective,
    threads: usize,
    device: &Device,
) -> Result<(f64, GradientsParams), FinetuneError> {
    let total: usize = batches.iter().map(|batch| batch.weight(objective)).sum();
    let work = |tuned: &Tuned, first: usize, stride: usize| -> Result<(f64, GradientsParams), FinetuneError> {
        let (mut value, mut sum) = (0.0, GradientsAccumulator::new());
        for batch in batches.iter().skip(first).step_by(stride) {
            let (part, gradients) = tuned.gradients(batch, objective, total)?;
            value += part;
            sum.accumulate(tuned, gradients);
        }
        Ok((value, sum.grads()))
    };
    let threads = threads.min(batches.len()).max(1);
    if threads == 1 {
        return work(tuned, 0, 1);
    }
    let results: Vec<Result<(f64, GradientsParams), FinetuneError>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|first| {
                let forked = tuned.forked(device);
                let work = &work;
                scope.spawn(move || work(&forked, first, threads))
            })
            .collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let (mut value, mut sum) = (0.0, GradientsAccumulator::new());
    for result in results {
        let (part, gradients) = result?;
        value += part;
        sum.accumulate(tuned, gradients);
    }
    Ok((value, sum.grads()))
}
