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
    let mut packer = ShardPacker::default();
    let mut shards = Vec::new();
    for tensor in kept(&manifest, tensors)? {
        shards.extend(packer.add(tensor)?);
    }
    shards.extend(packer.finish()?);
    let count = shards.len();
    let mut files = vec![(TOKENIZER_FILE.to_string(), tokenizer)];
    for (index, shard) in shards.into_iter().enumerate() {
        files.push((shard_name(index, count), shard));
    }
    let mut entries: Vec<FileEntry> = files.iter().map(|(file, bytes)| file_entry(file.clone(), bytes)).collect();
    manifest.tokenizer = entries.remove(0);
    manifest.weights.shards = entries;
    manifest.validate()?;
    Ok(PackageFiles { manifest, files })
}

/// What the manifest says of a file.
pub(crate) fn file_entry(file: String, bytes: &[u8]) -> FileEntry {
    FileEntry { file, bytes: bytes.len() as u64, sha256: hash::sha256_hex(bytes) }
}

/// `weights-00001-of-00003.safetensors`, counted from 1 as is the custom.
pub(crate) fn shard_name(index: usize, count: usize) -> String {
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

/// Fills one shard after the other.
#[derive(Default)]
pub struct ShardPacker {
    shard: Vec<Chunk>,
    bytes: usize,
}

impl ShardPacker {
    /// Takes the next tensor and gives back the shards that it has filled.
    ///
    /// # Errors
    /// [`PackageError::Write`] for a vector or a row that no shard can hold.
    pub fn add(&mut self, tensor: KeptTensor) -> Result<Vec<Vec<u8>>, PackageError> {
        let mut full = Vec::new();
        for chunk in tensor.chunks() {
            for chunk in cut(chunk)? {
                if !self.shard.is_empty()
                    && self.bytes + chunk.stored_bytes() > MAX_SHARD_BYTES as usize - HEADER_RESERVE
                {
                    full.push(shard_bytes(&std::mem::take(&mut self.shard))?);
                    self.bytes = 0;
                }
                self.bytes += chunk.stored_bytes();
                self.shard.push(chunk);
            }
        }
        Ok(full)
    }

    /// The last shard, where anything is left for it.
    ///
    /// # Errors
    /// [`PackageError::Write`] where it cannot be put together.
    pub fn finish(self) -> Result<Option<Vec<u8>>, PackageError> {
        if self.shard.is_empty() { Ok(None) } else { shard_bytes(&self.shard).map(Some) }
    }
}

/// A tensor rounded to what is stored of it.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptTensor {
    name: String,
    shape: Vec<usize>,
    content: Content,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Single(Vec<f32>),
    Half(Vec<f16>),
    Quantized(Quantized),
}

impl KeptTensor {
    /// The tensor whose element in a row and a column is `at(row, column)`, as a package with these weights stores it. A
    /// vector is a row.
    ///
    /// # Errors
    /// [`PackageError::Write`] where a value does not fit, or the tensor is neither vector nor matrix.
    pub fn new(
        name: &str,
        shape: &[usize],
        weights: &Weights,
        at: impl Fn(usize, usize) -> f32,
    ) -> Result<Self, PackageError> {
        let (rows, columns) = match *shape {
            [columns] => (1, columns),
            [rows, columns] => (rows, columns),
            _ => return Err(PackageError::Write(format!("the tensor `{name}` is neither a vector nor a matrix"))),
        };
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let content = match weights.bits().filter(|_| shape.len() == 2) {
            Some(bits) => {
                let matrix = Quantized::from_fn(bits, Along::of(name), [rows, columns], &at);
                let finite = matrix.scales.iter().all(|scale| scale.is_finite());
                if !finite || places.clone().any(|(row, column)| !at(row, column).is_finite()) {
                    return Err(PackageError::Write(format!(
                        "the tensor `{name}` holds a value that cannot be quantised; look for a diverged training"
                    )));
                }
                Content::Quantized(matrix)
            }
            None if weights.dtype == WeightType::F16 && shape.len() == 2 => {
                Content::Half(places.map(|(row, column)| f16::from_f32(at(row, column))).collect())
            }
            None => Content::Single(places.map(|(row, column)| at(row, column)).collect()),
        };
        let wrong = match &content {
            Content::Single(values) => values.iter().position(|value| !value.is_finite()).map(|i| (i, "F32")),
            Content::Half(values) => values.iter().position(|value| !value.is_finite()).map(|i| (i, "F16")),
            Content::Quantized(_) => None,
        };
        if let Some((index, dtype)) = wrong {
            let value = at(index / columns.max(1), index % columns.max(1));
            return Err(PackageError::Write(format!(
                "the tensor `{name}` holds {value}, which {dtype} cannot; use f32, or look for a diverged training"
            )));
        }
        Ok(Self { name: name.into(), shape: shape.into(), content })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element in a row and a column as it is stored. A vector is a row.
    pub fn at(&self, row: usize, column: usize) -> f32 {
        let index = row * self.shape.last().copied().unwrap_or(0) + column;
        match &self.content {
            Content::Single(values) => values.get(index).copied().unwrap_or(0.0),
            Content::Half(values) => values.get(index).map_or(0.0, |value| value.to_f32()),
            Content::Quantized(matrix) => matrix.at(row, column),
        }
    }

    fn chunks(self) -> Vec<Chunk> {
        let Self { name, shape, content } = self;
        match content {
            Content::Single(values) => {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                vec![Chunk { name, dtype: Dtype::F32, shape, bytes }]
            }
            Content::Half(values) => {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                vec![Chunk { name, dtype: Dtype::F16, shape, bytes }]
            }
            Content::Quantized(matrix) => {
                let [rows, columns] = matrix.shape;
                let scales = Chunk {
                    name: parts::scale_name(&name),
                    dtype: Dtype::F16,
                    shape: matrix.along.scales(matrix.shape).to_vec(),
                    bytes: matrix.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect(),
                };
                let dtype = match matrix.bits {
                    Bits::Eight => Dtype::I8,
                    Bits::Four => Dtype::U8,
                };
                let shape = vec![rows, matrix.bits.row_bytes(columns)];
                vec![Chunk { name, dtype, shape, bytes: matrix.values }, scales]
            }
        }
    }
}

/// Every tensor in the order of the architecture.
fn kept(manifest: &Manifest, tensors: &[(String, TensorData)]) -> Result<Vec<KeptTensor>, PackageError> {
    let shapes = tensor_shapes(&manifest.architecture.config);
    let mut given: HashMap<&str, &TensorData> = HashMap::new();
    for (name, data) in tensors {
        if given.insert(name, data).is_some() {
            return Err(PackageError::Write(format!("the tensor `{name}` is given twice; give each once")));
        }
    }
    let mut kept = Vec::new();
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
        let values: Vec<f32> = data.iter::<f32>().collect();
        let columns = shape.last().copied().unwrap_or(0);
        kept.push(KeptTensor::new(&name, &shape, &manifest.weights, |row, column| values[row * columns + column])?);
    }
    match given.keys().min() {
        Some(name) => Err(PackageError::Write(format!("the tensor `{name}` is not the architecture's; leave it out"))),
        None => Ok(kept),
    }
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
