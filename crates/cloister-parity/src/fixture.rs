//! Reads what `make_fixtures.py` writes.

use burn::tensor::{DType, Device, TensorData};
use cloister_model::quant::{Along, Bits, Quantized};
use cloister_model::{
    CodeGen, CodeGenBuilder, CodeGenConfig, Inference, InferenceBuilder, ModelBuilder, ModelError, import::hugging_face,
};
use safetensors::{Dtype, SafeTensors};

/// A fixture that cannot be read or run.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// Not what `make_fixtures.py` writes.
    #[error("the fixture cannot be read ({0}); make it again with tests/fixtures/codegen/make_fixtures.py")]
    Format(String),
    /// The model refused it.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device failed.
    #[error("the device failed ({0}); try another one")]
    Device(String),
}

/// One small model and its cases.
pub struct Fixture {
    /// The model's sizes.
    pub config: CodeGenConfig,
    bytes: Vec<u8>,
}

/// Input ids `[batch · len]`, left padding `[batch]`, expected logits `[batch · len · vocab]`.
#[derive(Debug, Clone)]
pub struct Case {
    /// Token ids.
    pub ids: Vec<i32>,
    /// Padding tokens before each row.
    pub padding: Vec<usize>,
    /// What PyTorch computed.
    pub logits: Vec<f32>,
}

fn format(error: impl std::fmt::Display) -> ParityError {
    ParityError::Format(error.to_string())
}

impl Fixture {
    /// From a file's bytes.
    ///
    /// # Errors
    /// [`ParityError::Format`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ParityError> {
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let config =
            metadata.metadata().as_ref().and_then(|map| map.get("config")).ok_or_else(|| format("no config"))?;
        Ok(Self { config: serde_json::from_str(config).map_err(format)?, bytes })
    }

    /// Hugging Face's state dict.
    ///
    /// # Errors
    /// [`ParityError::Format`].
    pub fn weights(&self) -> Result<Vec<(String, TensorData)>, ParityError> {
        let file = SafeTensors::deserialize(&self.bytes).map_err(format)?;
        Ok(file
            .iter()
            .filter_map(|(name, view)| Some((name.strip_prefix("weights.")?.to_string(), view)))
            .filter(|(_, view)| view.dtype() == Dtype::F32)
            .map(|(name, view)| {
                (name, TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), DType::F32))
            })
            .collect())
    }

    /// The model on a device, imported from the state dict.
    ///
    /// # Errors
    /// [`ParityError`] from reading or importing.
    pub fn model(&self, device: &Device) -> Result<CodeGen, ParityError> {
        self.build::<CodeGenBuilder>(None, device)
    }

    /// The model as it is asked, its matrices in so few bits.
    ///
    /// # Errors
    /// [`ParityError`] from reading or importing.
    pub fn inference(&self, bits: Option<Bits>, device: &Device) -> Result<Inference, ParityError> {
        self.build::<InferenceBuilder>(bits, device)
    }

    /// The model with matrices that were rounded to so few bits, and widened again.
    ///
    /// # Errors
    /// [`ParityError`] from reading or importing.
    pub fn rounded(&self, bits: Bits, device: &Device) -> Result<CodeGen, ParityError> {
        self.build::<CodeGenBuilder>(Some(bits), device)
    }

    fn build<B: ModelBuilder>(&self, bits: Option<Bits>, device: &Device) -> Result<B::Model, ParityError> {
        let mut builder = B::new(self.config.clone(), device.clone())?;
        for (name, data) in self.weights()? {
            let Some((name, data)) = hugging_face::convert(&self.config, &name, data)? else { continue };
            match (bits, data.shape().as_slice()) {
                (Some(bits), &[rows, columns]) => {
                    let values: Vec<f32> = data.iter::<f32>().collect();
                    let matrix = Quantized::new(bits, Along::of(&name), &values, [rows, columns]);
                    builder.insert_quantized(&name, matrix)?;
                }
                _ => builder.insert(&name, data)?,
            }
        }
        Ok(builder.build()?)
    }

    /// All cases.
    ///
    /// # Errors
    /// [`ParityError::Format`].
    pub fn cases(&self) -> Result<Vec<Case>, ParityError> {
        let file = SafeTensors::deserialize(&self.bytes).map_err(format)?;
        let words = |name: String| -> Option<Vec<[u8; 4]>> {
            let view = file.tensor(&name).ok()?;
            view.data().chunks_exact(4).map(|bytes| bytes.try_into().ok()).collect()
        };
        Ok((0..)
            .map_while(|i| {
                let integers = |part: &str| words(format!("case.{i}.{part}"));
                Some(Case {
                    ids: integers("ids")?.into_iter().map(i32::from_le_bytes).collect(),
                    padding: integers("padding")?.into_iter().map(|b| i32::from_le_bytes(b) as usize).collect(),
                    logits: words(format!("case.{i}.logits"))?.into_iter().map(f32::from_le_bytes).collect(),
                })
            })
            .collect())
    }
}
