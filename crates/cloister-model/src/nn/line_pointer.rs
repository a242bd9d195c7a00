//! Which line carries the weakness: a pointer from the final state to the lines' ends.

use super::linear::Linear;
use burn::module::Module;
use burn::tensor::Tensor;

/// Scores positions of a sequence against its final state, as a pointer network does (Vinyals et al., 2015):
/// score(i) = (query(last) · key(i)) / √p.
///
/// The final state has read everything; the state at a line's end has read that line and all before it.
#[derive(Module, Debug)]
pub struct LinePointer {
    /// `[d, p]`.
    pub query: Linear,
    /// `[d, p]`.
    pub key: Linear,
}

impl LinePointer {
    /// Scores of candidate positions.
    ///
    /// # Shapes
    /// - last: `[batch, d]`, candidates: `[batch, n, d]`
    /// - output: `[batch, n]`, to be put through a softmax over the real candidates
    pub fn forward(&self, last: Tensor<2>, candidates: Tensor<3>) -> Tensor<2> {
        let query = self.query.forward(last).unsqueeze_dim::<3>(2);
        let key = self.key.forward(candidates);
        let width = key.dims()[2] as f64;
        key.matmul(query).squeeze_dim::<2>(2) * width.sqrt().recip()
    }
}
