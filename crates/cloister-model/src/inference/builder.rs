//! An inference model from named tensors that arrive one at a time.

use super::{DeviceMatrix, HostMatrix, Inference, Layer};
use crate::nn::{layer_norm::LayerNorm, line_pointer::LinePointer, linear::Linear};
use crate::packed::PackedMatrix;
use crate::quant::Quantized;
use crate::weights::{Expected, ModelBuilder, numbers};
use crate::{CodeGenConfig, ModelError};
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::HashMap;

/// A tensor where it will be used.
enum Placed {
    Vector(Vec<f32>),
    Device(DeviceMatrix),
    Host(HostMatrix),
}

/// Builds an [`Inference`] from named tensors that arrive one at a time, in any order, each put in its place at once so that the
/// caller can free its bytes.
pub struct InferenceBuilder {
    config: CodeGenConfig,
    device: Device,
    expected: Expected,
    placed: HashMap<String, Placed>,
}

impl ModelBuilder for InferenceBuilder {
    type Model = Inference;

    fn new(config: CodeGenConfig, device: Device) -> Result<Self, ModelError> {
        let expected = Expected::of(&config)?;
        Ok(Self { config, device, expected, placed: HashMap::new() })
    }

    fn insert(&mut self, name: &str, data: TensorData) -> Result<(), ModelError> {
        let shape = data.shape().to_vec();
        let place = self.expected.place(name, &shape)?;
        let data = numbers(name, data)?;
        let placed = match *shape {
            [rows, columns] if stays_on_the_host(name) => {
                Placed::Host(HostMatrix::of(data.iter::<f32>().collect(), [rows, columns]))
            }
            [_, _] => Placed::Device(wide(data, &self.device)),
            _ => Placed::Vector(data.iter::<f32>().collect()),
        };
        self.placed.insert(name.into(), placed);
        self.expected.note(place);
        Ok(())
    }

    /// A matrix that no kernel takes is widened, and so are the small ones of the line pointer.
    fn insert_quantized(&mut self, name: &str, matrix: Quantized) -> Result<(), ModelError> {
        let place = self.expected.place(name, &matrix.shape)?;
        if matrix.scales.iter().any(|scale| !scale.is_finite()) {
            return Err(ModelError::NotFinite(name.into()));
        }
        let placed = if stays_on_the_host(name) {
            Placed::Host(HostMatrix::Quantized(matrix))
        } else if PackedMatrix::takes(&matrix) && !name.starts_with("line_pointer.") {
            Placed::Device(DeviceMatrix::Packed(Box::new(PackedMatrix::upload(matrix, &self.device))))
        } else {
            let data = TensorData::new(matrix.values(), matrix.shape);
            Placed::Device(wide(data, &self.device))
        };
        self.placed.insert(name.into(), placed);
        self.expected.note(place);
        Ok(())
    }

    fn build(mut self) -> Result<Inference, ModelError> {
        self.expected.complete()?;
        let config = self.config.clone();
        let mut layers = Vec::with_capacity(config.n_layer);
        for i in 0..config.n_layer {
            layers.push(Layer {
                ln_1: self.norm(&format!("h.{i}.ln_1"))?,
                qkv_proj: self.matrix(&format!("h.{i}.attn.qkv_proj.weight"))?,
                out_proj: self.matrix(&format!("h.{i}.attn.out_proj.weight"))?,
                fc_in: self.linear(&format!("h.{i}.mlp.fc_in"))?,
                fc_out: self.linear(&format!("h.{i}.mlp.fc_out"))?,
            });
        }
        let line_pointer = match config.line_pointer_dim {
            Some(_) => {
                Some(LinePointer { query: self.wide("line_pointer.query")?, key: self.wide("line_pointer.key")? })
            }
            None => None,
        };
        Ok(Inference {
            wte: self.host("wte.weight")?,
            layers,
            ln_f: self.norm("ln_f")?,
            lm_head: self.host("lm_head.weight")?,
            lm_head_bias: self.values("lm_head.bias")?,
            line_pointer,
            device: self.device,
            config,
        })
    }
}

impl InferenceBuilder {
    fn values(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        match self.placed.remove(name) {
            Some(Placed::Vector(values)) => Ok(values),
            _ => Err(missing(name)),
        }
    }

    fn vector(&mut self, name: &str) -> Result<Tensor<1>, ModelError> {
        let values = self.values(name)?;
        let len = values.len();
        Ok(Tensor::from_data(TensorData::new(values, [len]), &self.device))
    }

    fn matrix(&mut self, name: &str) -> Result<DeviceMatrix, ModelError> {
        match self.placed.remove(name) {
            Some(Placed::Device(matrix)) => Ok(matrix),
            _ => Err(missing(name)),
        }
    }

    fn host(&mut self, name: &str) -> Result<HostMatrix, ModelError> {
        match self.placed.remove(name) {
            Some(Placed::Host(matrix)) => Ok(matrix),
            _ => Err(missing(name)),
        }
    }

    fn norm(&mut self, prefix: &str) -> Result<LayerNorm, ModelError> {
        let (weight, bias) = (self.vector(&format!("{prefix}.weight"))?, self.vector(&format!("{prefix}.bias"))?);
        Ok(LayerNorm::from_tensors(weight, bias, self.config.layer_norm_epsilon))
    }

    fn linear(&mut self, prefix: &str) -> Result<(DeviceMatrix, Tensor<1>), ModelError> {
        Ok((self.matrix(&format!("{prefix}.weight"))?, self.vector(&format!("{prefix}.bias"))?))
    }

    /// A layer whose matrix is small, and was therefore widened.
    fn wide(&mut self, prefix: &str) -> Result<Linear, ModelError> {
        match self.linear(prefix)? {
            (DeviceMatrix::Wide(weight), bias) => Ok(Linear::from_tensors(*weight, Some(bias))),
            (DeviceMatrix::Packed(_), _) => Err(missing(prefix)),
        }
    }
}

fn wide(data: TensorData, device: &Device) -> DeviceMatrix {
    DeviceMatrix::Wide(Box::new(Tensor::from_data(data, device)))
}

fn missing(name: &str) -> ModelError {
    ModelError::Missing { count: 1, first: name.into() }
}

/// The matrices with a row or column for every token.
fn stays_on_the_host(name: &str) -> bool {
    matches!(name, "wte.weight" | "lm_head.weight")
}
