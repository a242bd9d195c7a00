//! From bytes to a model on a device.

use crate::parts::{Assembler, Whole};
use crate::{FileEntry, Manifest, PackageError, hash, shard};
use burn::tensor::{Device, TensorData};
use cloister_model::{Inference, InferenceBuilder, ModelBuilder, ModelError};

/// A package whose every byte was checked.
#[derive(Debug)]
pub struct LoadedPackage<M = Inference> {
    /// `model.json`.
    pub manifest: Manifest,
    /// The SHA-256 of `model.json`. It names the whole package, since `model.json` holds the hashes of the rest.
    pub hash: String,
    /// The tokenizer's file.
    pub tokenizer: Vec<u8>,
    /// The model, on the device that was asked for.
    pub model: M,
}

/// Takes the files of a package one at a time, in any order, and builds what is asked of (or, with
/// [`cloister_model::CodeGenBuilder`], what is trained).
pub struct PackageLoader<B = InferenceBuilder> {
    manifest: Manifest,
    hash: String,
    tokenizer: Option<Vec<u8>>,
    builder: B,
    parts: Assembler,
    pending: Vec<bool>,
}

impl<B: ModelBuilder> PackageLoader<B> {
    /// A loader for the package of this `model.json`, whose weights are to go to `device`.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn new(model_json: &[u8], device: Device) -> Result<Self, PackageError> {
        let manifest = Manifest::parse(model_json)?;
        let config = manifest.architecture.config.clone();
        Ok(Self {
            hash: hash::sha256_hex(model_json),
            tokenizer: None,
            parts: Assembler::new(&config, manifest.weights.bits()),
            builder: B::new(config, device)?,
            pending: vec![true; manifest.files().len()],
            manifest,
        })
    }

    /// What `model.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The files to give, in the order of their indices: the tokenizer, then the shards.
    pub fn files(&self) -> Vec<&FileEntry> {
        self.manifest.files()
    }

    /// Takes the file of this index of [`Self::files`]: checks its size and SHA-256, then parses it, then uploads its
    /// tensors. The bytes are not needed afterwards.
    ///
    /// # Errors
    /// [`PackageError`] names the file and its fault. The loader is then of no further use.
    pub fn accept(&mut self, index: usize, bytes: &[u8]) -> Result<(), PackageError> {
        let count = self.pending.len();
        let (Some(entry), Some(true)) = (self.manifest.files().get(index).copied().cloned(), self.pending.get(index))
        else {
            return Err(PackageError::UnexpectedFile { index, count });
        };
        verify(&entry, bytes)?;
        self.pending[index] = false;
        if index == 0 {
            self.tokenizer = Some(bytes.to_vec());
            return Ok(());
        }
        let (builder, parts) = (&mut self.builder, &mut self.parts);
        shard::read(bytes, |tensor| {
            if let Some((name, whole)) = parts.add(tensor)? {
                match whole {
                    Whole::Float(values, shape) => builder.insert(&name, TensorData::new(values, shape))?,
                    Whole::Quantized(matrix) => builder.insert_quantized(&name, matrix)?,
                }
            }
            Ok::<(), Fault>(())
        })
        .map_err(|fault| match fault {
            Fault::Shard(problem) => PackageError::Shard { file: entry.file.clone(), problem },
            Fault::Tensor(source) => PackageError::Tensor { file: entry.file.clone(), source },
        })
    }

    /// The package, once every file was accepted.
    ///
    /// # Errors
    /// [`PackageError::MissingFile`] where a file was not, [`PackageError::Model`] where tensors are missing.
    pub fn finish(self) -> Result<LoadedPackage<B::Model>, PackageError> {
        let files = self.manifest.files();
        let missing = files.iter().zip(&self.pending).find(|(_, pending)| **pending);
        if let Some((entry, _)) = missing {
            return Err(PackageError::MissingFile(entry.file.clone()));
        }
        let Some(tokenizer) = self.tokenizer else {
            return Err(PackageError::MissingFile(self.manifest.tokenizer.file));
        };
        if let Some(name) = self.parts.incomplete() {
            return Err(ModelError::Missing { count: 1, first: name.into() }.into());
        }
        let model = self.builder.build()?;
        Ok(LoadedPackage { manifest: self.manifest, hash: self.hash, tokenizer, model })
    }
}

/// Checks the size, which is cheap and tells most faults, then the SHA-256.
pub(crate) fn verify(entry: &FileEntry, bytes: &[u8]) -> Result<(), PackageError> {
    let (file, expected, found) = (entry.file.clone(), entry.bytes, bytes.len() as u64);
    if found < expected {
        return Err(PackageError::Truncated { file, expected, found });
    }
    if found > expected {
        return Err(PackageError::TooLong { file, expected, found });
    }
    let found = hash::sha256_hex(bytes);
    if found != entry.sha256 {
        return Err(PackageError::WrongHash { file, expected: entry.sha256.clone(), found });
    }
    Ok(())
}

/// What can go wrong inside a shard.
enum Fault {
    Shard(String),
    Tensor(ModelError),
}

impl From<String> for Fault {
    fn from(problem: String) -> Self {
        Self::Shard(problem)
    }
}

impl From<ModelError> for Fault {
    fn from(source: ModelError) -> Self {
        Self::Tensor(source)
    }
}
