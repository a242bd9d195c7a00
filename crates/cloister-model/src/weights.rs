//! Named tensors in and out of the model.
//!
//! The names are Hugging Face's without the `transformer.` prefix. Matrices are stored as `[in, out]`, the fused
//! projection as queries, keys, values, and the rotating dimensions of each head with the even ones first: this is the
//! layout of every Cloister package. [`crate::import`] makes it from the reference's.

use crate::nn::{
    attention::CausalSelfAttention, block::Block, layer_norm::LayerNorm, line_pointer::LinePointer, linear::Linear,
};
use crate::quant::Quantized;
use crate::{CodeGen, CodeGenConfig, ModelError};
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::collections::HashMap;

/// Every tensor of an architecture with its shape, in the order of the forward pass.
pub fn tensor_shapes(config: &CodeGenConfig) -> Vec<(String, Vec<usize>)> {
    let (d, inner, vocab) = (config.n_embd, config.inner_dim(), config.vocab_size);
    let mut shapes = vec![("wte.weight".to_string(), vec![vocab, d])];
    for i in 0..config.n_layer {
        for (name, shape) in [
            ("ln_1.weight", vec![d]),
            ("ln_1.bias", vec![d]),
            ("attn.qkv_proj.weight", vec![d, 3 * d]),
            ("attn.out_proj.weight", vec![d, d]),
            ("mlp.fc_in.weight", vec![d, inner]),
            ("mlp.fc_in.bias", vec![inner]),
            ("mlp.fc_out.weight", vec![inner, d]),
            ("mlp.fc_out.bias", vec![d]),
        ] {
            shapes.push((format!("h.{i}.{name}"), shape));
        }
    }
    shapes.push(("ln_f.weight".into(), vec![d]));
    shapes.push(("ln_f.bias".into(), vec![d]));
    shapes.push(("lm_head.weight".into(), vec![d, vocab]));
    shapes.push(("lm_head.bias".into(), vec![vocab]));
    if let Some(p) = config.line_pointer_dim {
        for part in ["query", "key"] {
            shapes.push((format!("line_pointer.{part}.weight"), vec![d, p]));
            shapes.push((format!("line_pointer.{part}.bias"), vec![p]));
        }
    }
    shapes
}

/// All parameters with the names of [`tensor_shapes`], as f32 on the host.
///
/// Reads from the device synchronously, which no browser can do: for native programs.
pub fn named_tensors(model: &CodeGen) -> Vec<(String, TensorData)> {
    fn norm(out: &mut Vec<TensorData>, layer: &LayerNorm) {
        out.push(layer.weight.val().into_data());
        out.push(layer.bias.val().into_data());
    }
    fn linear(out: &mut Vec<TensorData>, layer: &Linear) {
        out.push(layer.weight.val().into_data());
        out.extend(layer.bias.as_ref().map(|bias| bias.val().into_data()));
    }
    let mut out = vec![model.wte.val().into_data()];
    for block in &model.h {
        norm(&mut out, &block.ln_1);
        linear(&mut out, &block.attn.qkv_proj);
        linear(&mut out, &block.attn.out_proj);
        linear(&mut out, &block.fc_in);
        linear(&mut out, &block.fc_out);
    }
    norm(&mut out, &model.ln_f);
    linear(&mut out, &model.lm_head);
    if let Some(pointer) = &model.line_pointer {
        linear(&mut out, &pointer.query);
        linear(&mut out, &pointer.key);
    }
    let names = tensor_shapes(model.config()).into_iter().map(|(name, _)| name);
    names.zip(out.into_iter().map(|data| data.convert::<f32>())).collect()
}

/// A tensor on the device, of either rank that the architecture has.
enum Uploaded {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
}

/// What is built of named tensors that arrive one at a time, in any order: a [`CodeGen`] for training, or an
/// [`crate::Inference`].
pub trait ModelBuilder: Sized {
    /// What is built.
    type Model;

    /// A builder that expects the tensors of this architecture.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the sizes do not fit together.
    fn new(config: CodeGenConfig, device: Device) -> Result<Self, ModelError>;

    /// Checks a tensor's name, shape and values, and puts it in its place.
    ///
    /// # Errors
    /// [`ModelError`] says which of the three is wrong.
    fn insert(&mut self, name: &str, data: TensorData) -> Result<(), ModelError>;

    /// As [`Self::insert`], for a quantised matrix.
    ///
    /// # Errors
    /// As [`Self::insert`].
    fn insert_quantized(&mut self, name: &str, matrix: Quantized) -> Result<(), ModelError>;

    /// The model, once every tensor has come.
    ///
    /// # Errors
    /// [`ModelError::Missing`] where some have not.
    fn build(self) -> Result<Self::Model, ModelError>;
}

/// What a tensor must be, and whether it has come: the checks that all builders share.
pub(crate) struct Expected {
    shapes: Vec<(String, Vec<usize>)>,
    places: HashMap<String, usize>,
    come: Vec<bool>,
}

impl Expected {
    pub(crate) fn of(config: &CodeGenConfig) -> Result<Self, ModelError> {
        config.validate()?;
        let shapes = tensor_shapes(config);
        let places = shapes.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
        Ok(Self { come: vec![false; shapes.len()], shapes, places })
    }

    /// The place of a tensor of this name and shape that has not come.
    pub(crate) fn place(&self, name: &str, found: &[usize]) -> Result<usize, ModelError> {
        let Some(&place) = self.places.get(name) else { return Err(ModelError::UnknownTensor(name.into())) };
        if self.come[place] {
            return Err(ModelError::DuplicateTensor(name.into()));
        }
        let expected = &self.shapes[place].1;
        if found != expected.as_slice() {
            return Err(ModelError::Shape { name: name.into(), expected: expected.clone(), found: found.into() });
        }
        Ok(place)
    }

    /// Notes that the tensor of this place has come.
    pub(crate) fn note(&mut self, place: usize) {
        self.come[place] = true;
    }

    /// Whether all have come.
    pub(crate) fn complete(&self) -> Result<(), ModelError> {
        let mut missing = self.shapes.iter().zip(&self.come).filter(|(_, come)| !**come).map(|((name, _), _)| name);
        match missing.next() {
            None => Ok(()),
            Some(first) => Err(ModelError::Missing { count: 1 + missing.count(), first: first.clone() }),
        }
    }
}

/// The numbers of a tensor, in single precision; they must be finite.
pub(crate) fn numbers(name: &str, data: TensorData) -> Result<TensorData, ModelError> {
    if !matches!(data.dtype(), DType::F32 | DType::F16 | DType::BF16) {
        return Err(ModelError::ElementType { name: name.into(), dtype: format!("{:?}", data.dtype()) });
    }
    // One scratch copy at most: f16 has to be widened, because f16 arithmetic is missing on many devices.
    let data = data.convert::<f32>();
    if data.iter::<f32>().any(|value| !value.is_finite()) {
        return Err(ModelError::NotFinite(name.into()));
    }
    Ok(data)
}

/// Builds a model from named tensors that arrive one at a time, each uploaded at once so that the caller can free its
/// bytes.
pub struct CodeGenBuilder {
    config: CodeGenConfig,
    device: Device,
    expected: Expected,
    uploaded: HashMap<String, Uploaded>,
}

impl ModelBuilder for CodeGenBuilder {
    type Model = CodeGen;

    fn new(config: CodeGenConfig, device: Device) -> Result<Self, ModelError> {
        let expected = Expected::of(&config)?;
        Ok(Self { config, device, expected, uploaded: HashMap::new() })
    }

    fn insert(&mut self, name: &str, data: TensorData) -> Result<(), ModelError> {
        let shape = data.shape().to_vec();
        let place = self.expected.place(name, &shape)?;
        let data = numbers(name, data)?;
        let tensor = if shape.len() == 1 {
            Uploaded::Vector(Tensor::from_data(data, &self.device))
        } else {
            Uploaded::Matrix(Tensor::from_data(data, &self.device))
        };
        self.uploaded.insert(name.into(), tensor);
        self.expected.note(place);
        Ok(())
    }

    fn insert_quantized(&mut self, name: &str, matrix: Quantized) -> Result<(), ModelError> {
        self.insert(name, TensorData::new(matrix.values(), matrix.shape))
    }

    fn build(mut self) -> Result<CodeGen, ModelError> {
        self.expected.complete()?;
        let config = self.config.clone();
        let mut blocks = Vec::with_capacity(config.n_layer);
        for i in 0..config.n_layer {
            blocks.push(Block {
                ln_1: self.norm(&format!("h.{i}.ln_1"))?,
                attn: CausalSelfAttention::new(
                    self.linear(&format!("h.{i}.attn.qkv_proj"))?,
                    self.linear(&format!("h.{i}.attn.out_proj"))?,
                    config.n_head,
                ),
                fc_in: self.linear(&format!("h.{i}.mlp.fc_in"))?,
                fc_out: self.linear(&format!("h.{i}.mlp.fc_out"))?,
            });
        }
        let line_pointer = match config.line_pointer_dim {
            Some(_) => {
                Some(LinePointer { query: self.linear("line_pointer.query")?, key: self.linear("line_pointer.key")? })
            }
            None => None,
        };
        let wte = self.matrix("wte.weight")?;
        let ln_f = self.norm("ln_f")?;
        let lm_head = self.linear("lm_head")?;
        Ok(CodeGen::from_parts(config, wte, blocks, ln_f, lm_head, line_pointer))
    }
}

impl CodeGenBuilder {
    fn matrix(&mut self, name: &str) -> Result<Tensor<2>, ModelError> {
        match self.uploaded.remove(name) {
            Some(Uploaded::Matrix(tensor)) => Ok(tensor),
            _ => Err(ModelError::Missing { count: 1, first: name.into() }),
        }
    }

    fn vector(&mut self, name: &str) -> Option<Tensor<1>> {
        match self.uploaded.remove(name) {
            Some(Uploaded::Vector(tensor)) => Some(tensor),
            _ => None,
        }
    }

    fn norm(&mut self, prefix: &str) -> Result<LayerNorm, ModelError> {
        let missing = |name: String| ModelError::Missing { count: 1, first: name };
        let weight = self.vector(&format!("{prefix}.weight"));
        let bias = self.vector(&format!("{prefix}.bias"));
        Ok(LayerNorm::from_tensors(
            weight.ok_or_else(|| missing(format!("{prefix}.weight")))?,
            bias.ok_or_else(|| missing(format!("{prefix}.bias")))?,
            self.config.layer_norm_epsilon,
        ))
    }

    /// Whether a linear layer has a bias is the architecture's business: `tensor_shapes` lists it or does not.
    fn linear(&mut self, prefix: &str) -> Result<Linear, ModelError> {
        let weight = self.matrix(&format!("{prefix}.weight"))?;
        Ok(Linear::from_tensors(weight, self.vector(&format!("{prefix}.bias"))))
    }
}
