//! From a model to the files of a package.

use crate::{FileEntry, MAX_SHARD_BYTES, Manifest, PackageError, WeightType, Weights, hash, parts};
use burn::tensor::TensorData;
use cloister_model::quant::{Along, Bits, Quantized};
use cloister_model::tensor_shapes;
use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};
use std::collections::HashMap;

/// The tokenizer's file in packages that are written here.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// A package in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct PackageFiles {
    /// The manifest, complete.
    pub manifest: Manifest,
    /// Every file beside `model.json`, in the order of [`Manifest::files`].
    pub files: Vec<(String, Vec<u8>)>,
}

/// Packs a model into shards and completes its manifest.
///
/// `manifest` says everything but the files: its `tokenizer` and `weights.shards` are replaced. The matrices are
/// stored as `manifest.weights` says, the vectors as f32. `tensors` are those of
/// [`cloister_model::named_tensors`], `tokenizer` is the content of a `tokenizer.json`.
///
/// # Errors
/// [`PackageError`] where the tensors are not those of the architecture, where a value does not fit the element type,
/// or where the manifest is not one that could be read again.
pub fn build_package(
    mut manifest: Manifest,
    tensors: &[(String, TensorData)],
    tokenizer: Vec<u8>,
) -> Result<PackageFiles, PackageError> {
    let mut shards: Vec<Vec<Chunk>> = Vec::new();
    let mut room = 0;
    for chunk in chunks(&manifest, tensors)? {
        if chunk.stored_bytes() > room {
            shards.push(Vec::new());
            room = MAX_SHARD_BYTES as usize - HEADER_RESERVE;
        }
        room = room.saturating_sub(chunk.stored_bytes());
        if let Some(shard) = shards.last_mut() {
            shard.push(chunk);
        }
    }
    let count = shards.len();
    let mut files = vec![(TOKENIZER_FILE.to_string(), tokenizer)];
    for (index, shard) in shards.into_iter().enumerate() {
        files.push((shard_name(index, count), shard_bytes(&shard)?));
    }
    let mut entries: Vec<FileEntry> = files
        .iter()
        .map(|(file, bytes)| FileEntry {
            file: file.clone(),
            bytes: bytes.len() as u64,
            sha256: hash::sha256_hex(bytes),
        })
        .collect();
    manifest.tokenizer = entries.remove(0);
    manifest.weights.shards = entries;
    manifest.validate()?;
    Ok(PackageFiles { manifest, files })
}

/// `weights-00001-of-00003.safetensors`, counted from 1 as is the custom.
fn shard_name(index: usize, count: usize) -> String {
    format!("weights-{:05}-of-{count:05}.safetensors", index + 1)
}

/// Whether a file could be a shard that an earlier [`build_package`] named.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn is_shard_name(name: &str) -> bool {
    let numbers = name.strip_prefix("weights-").and_then(|rest| rest.strip_suffix(".safetensors"));
    numbers.and_then(|numbers| numbers.split_once("-of-")).is_some_and(|(index, count)| {
        [index, count].iter().all(|part| part.len() == 5 && part.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Kept free in each shard for the fixed part of its header.
const HEADER_RESERVE: usize = 1024;
/// More than an entry of the header takes beside the tensor's name.
const ENTRY_RESERVE: usize = 160;

/// A tensor or a run of its rows, as it is stored.
struct Chunk {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Chunk {
    /// With its share of the header.
    fn stored_bytes(&self) -> usize {
        self.bytes.len() + self.name.len() + ENTRY_RESERVE
    }
}

/// Every tensor in the order of the architecture, cut where it is larger than a shard.
fn chunks(manifest: &Manifest, tensors: &[(String, TensorData)]) -> Result<Vec<Chunk>, PackageError> {
    let shapes = tensor_shapes(&manifest.architecture.config);
    let mut given: HashMap<&str, &TensorData> = HashMap::new();
    for (name, data) in tensors {
        if given.insert(name, data).is_some() {
            return Err(PackageError::Write(format!("the tensor `{name}` is given twice; give each once")));
        }
    }
    let mut chunks = Vec::new();
    for (name, shape) in shapes {
        let Some(data) = given.remove(name.as_str()) else {
            return Err(PackageError::Write(format!("the tensor `{name}` is missing; give all of the architecture")));
        };
        if data.shape().to_vec() != shape {
            let found = data.shape().to_vec();
            return Err(PackageError::Write(format!(
                "the tensor `{name}` has the shape {found:?} where the architecture asks for {shape:?}; correct one of the two"
            )));
        }
        for tensor in stored(name, shape, data, &manifest.weights)? {
            chunks.extend(cut(tensor)?);
        }
    }
    match given.keys().min() {
        Some(name) => Err(PackageError::Write(format!("the tensor `{name}` is not the architecture's; leave it out"))),
        None => Ok(chunks),
    }
}

/// How a tensor is stored: its bytes, or those of its elements and its scales.
fn stored(name: String, shape: Vec<usize>, data: &TensorData, weights: &Weights) -> Result<Vec<Chunk>, PackageError> {
    if let (Some(bits), &[rows, columns]) = (weights.bits(), shape.as_slice()) {
        let values: Vec<f32> = data.iter::<f32>().collect();
        let along = Along::of(&name);
        let matrix = Quantized::new(bits, along, &values, [rows, columns]);
        if values.iter().any(|value| !value.is_finite()) || matrix.scales.iter().any(|scale| !scale.is_finite()) {
            return Err(PackageError::Write(format!(
                "the tensor `{name}` holds a value that cannot be quantised; look for a diverged training"
            )));
        }
        let dtype = match bits {
            Bits::Eight => Dtype::I8,
            Bits::Four => Dtype::U8,
        };
        let scales = Chunk {
            name: parts::scale_name(&name),
            dtype: Dtype::F16,
            shape: along.scales([rows, columns]).to_vec(),
            bytes: matrix.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect(),
        };
        let elements = Chunk { name, dtype, shape: vec![rows, bits.row_bytes(columns)], bytes: matrix.values };
        return Ok(vec![elements, scales]);
    }
    let half = weights.dtype == WeightType::F16 && shape.len() > 1;
    let (dtype, width) = if half { (Dtype::F16, 2) } else { (Dtype::F32, 4) };
    let mut bytes = Vec::with_capacity(data.num_elements() * width);
    for value in data.iter::<f32>() {
        let kept = if half { f16::from_f32(value).to_f32() } else { value };
        if !kept.is_finite() {
            return Err(PackageError::Write(format!(
                "the tensor `{name}` holds {value}, which {dtype:?} cannot; use f32, or look for a diverged training"
            )));
        }
        if half {
            bytes.extend(f16::from_f32(value).to_le_bytes());
        } else {
            bytes.extend(value.to_le_bytes());
        }
    }
    Ok(vec![Chunk { name, dtype, shape, bytes }])
}

/// Cuts a matrix that is larger than a shard into runs of its rows.
fn cut(tensor: Chunk) -> Result<Vec<Chunk>, PackageError> {
    let most = MAX_SHARD_BYTES as usize - HEADER_RESERVE - ENTRY_RESERVE - tensor.name.len() - 24;
    if tensor.bytes.len() <= most {
        return Ok(vec![tensor]);
    }
    let Chunk { name, dtype, shape, bytes } = tensor;
    let &[rows, columns] = shape.as_slice() else {
        return Err(PackageError::Write(format!(
            "the vector `{name}` is larger than a shard; the format has no place for it"
        )));
    };
    let row_bytes = bytes.len() / rows.max(1);
    let step = most / row_bytes.max(1);
    if step == 0 {
        return Err(PackageError::Write(format!(
            "a row of `{name}` is larger than a shard; the format has no place for it"
        )));
    }
    Ok((0..rows)
        .step_by(step)
        .map(|first| {
            let last = rows.min(first + step);
            Chunk {
                name: parts::part_name(&name, first),
                dtype,
                shape: vec![last - first, columns],
                bytes: bytes[first * row_bytes..last * row_bytes].to_vec(),
            }
        })
        .collect())
}

fn shard_bytes(chunks: &[Chunk]) -> Result<Vec<u8>, PackageError> {
    let write = |error: safetensors::SafeTensorError| PackageError::Write(format!("{error}; report this"));
    let mut views = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let view = TensorView::new(chunk.dtype, chunk.shape.clone(), &chunk.bytes).map_err(write)?;
        views.push((chunk.name.as_str(), view));
    }
    serialize(views, None).map_err(write)
}
