//! The weights of a checkpoint: what the files hold, and one tensor at a time.

use crate::CheckpointError;
use crate::error::at;
use cloister_model::ModelError;
use half::{bf16, f16};
use pytorch_reader::{DType, PytorchReader};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The largest header of a safetensors file, and the largest index, in bytes.
const MOST: u64 = 16 << 20;

/// Element types that weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    BF16,
}

impl Element {
    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// A tensor of a checkpoint, not yet read.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// The file that holds it.
    pub file: PathBuf,
    /// Its shape in the file.
    pub shape: Vec<usize>,
    /// Its element type; `None` for types that weights do not have (causal masks).
    pub element: Option<Element>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// Its first byte in the file, and how many there are.
    Bytes(u64, usize),
    Pickled(pytorch_reader::Tensor),
}

/// The elements of a tensor.
#[derive(Debug, Clone)]
pub struct RawTensor {
    element: Element,
    bytes: Vec<u8>,
}

impl RawTensor {
    /// The element at a place, counted row by row.
    pub fn at(&self, index: usize) -> f32 {
        let size = self.element.size();
        let Some(bytes) = self.bytes.get(index * size..index * size + size) else { return 0.0 };
        match (self.element, bytes) {
            (Element::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Element::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
            (Element::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
            _ => 0.0,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.element.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl StoredTensor {
    /// Reads the elements.
    ///
    /// # Errors
    /// [`CheckpointError::Tensor`] for elements that are not floating point or not finite, [`CheckpointError::Weights`] where
    /// the file does not hold what it says.
    pub fn read(&self, name: &str) -> Result<RawTensor, CheckpointError> {
        let fault = |source: ModelError| CheckpointError::Tensor { file: self.file.display().to_string(), source };
        let Some(element) = self.element else {
            return Err(fault(ModelError::ElementType { name: name.into(), dtype: "of a mask or an index".into() }));
        };
        let bytes = match &self.source {
            Source::Bytes(start, length) => {
                let mut file = File::open(&self.file).map_err(at(&self.file))?;
                file.seek(SeekFrom::Start(*start)).map_err(at(&self.file))?;
                let mut bytes = vec![0; *length];
                file.read_exact(&mut bytes).map_err(at(&self.file))?;
                bytes
            }
            Source::Pickled(tensor) => tensor.read().map_err(|error| damaged(&self.file, error))?,
        };
        let raw = RawTensor { element, bytes };
        if raw.len() != self.shape.iter().product::<usize>() {
            return Err(damaged(&self.file, format!("`{name}` has not as many elements as its shape says")));
        }
        if (0..raw.len()).any(|index| !raw.at(index).is_finite()) {
            return Err(fault(ModelError::NotFinite(name.into())));
        }
        Ok(raw)
    }
}

fn damaged(file: &Path, problem: impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Weights { file: file.display().to_string(), problem: problem.to_string() }
}

/// The tensors of the checkpoint in a folder, by name: of `model.safetensors` or `pytorch_model.bin`, else of the parts that
/// their index names.
///
/// # Errors
/// [`CheckpointError`] names the file and its fault.
pub fn open(folder: &Path) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    for whole in ["model.safetensors", "pytorch_model.bin"] {
        let path = folder.join(whole);
        if path.is_file() {
            return list(&path);
        }
        let index = folder.join(format!("{whole}.index.json"));
        if index.is_file() {
            return indexed(folder, &index);
        }
    }
    Err(CheckpointError::NoWeights(folder.display().to_string()))
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of the parts that an index names. The index has to say what is there: neither less nor more, none twice.
fn indexed(folder: &Path, index: &Path) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    let fault = |problem: String| CheckpointError::Index { file: index.display().to_string(), problem };
    let mut text = String::new();
    let length = File::open(index).and_then(|file| file.take(MOST).read_to_string(&mut text)).map_err(at(index))?;
    if length as u64 == MOST {
        return Err(fault("it is larger than any index has reason to be".into()));
    }
    let Index { weight_map } = serde_json::from_str(&text).map_err(|error| fault(error.to_string()))?;
    let parts: BTreeSet<&String> = weight_map.values().collect();
    let mut tensors: BTreeMap<String, StoredTensor> = BTreeMap::new();
    for part in parts {
        if part.is_empty() || part.starts_with('.') || part.contains(['/', '\\', ':']) {
            return Err(fault(format!("it names {part:?}, which is no plain file name")));
        }
        let path = folder.join(part);
        if !path.is_file() {
            return Err(fault(format!("it names {part}, which is missing")));
        }
        for (name, tensor) in list(&path)? {
            match weight_map.get(&name) {
                Some(file) if file == part => {}
                Some(other) => return Err(fault(format!("`{name}` is in {part} where it says {other}"))),
                None => return Err(fault(format!("`{name}` is in {part}, and it does not say so"))),
            }
            tensors.insert(name, tensor);
        }
    }
    match weight_map.iter().find(|(name, _)| !tensors.contains_key(*name)) {
        Some((name, part)) => Err(fault(format!("it says that `{name}` is in {part}, which does not hold it"))),
        None => Ok(tensors),
    }
}

/// The tensors of one file.
fn list(path: &Path) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    if path.extension().is_some_and(|extension| extension == "safetensors") { safetensors(path) } else { pickled(path) }
}

fn safetensors(path: &Path) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    let mut file = File::open(path).map_err(at(path))?;
    let total = file.metadata().map_err(at(path))?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| damaged(path, "it is too short for a header"))?;
    let length = u64::from_le_bytes(length);
    if length > MOST || length + 8 > total {
        return Err(damaged(path, format!("its header claims {length} bytes of {total}")));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(at(path))?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|error| damaged(path, format!("its header cannot be read ({error})")))?;
    let room = total - 8 - length;
    let mut tensors = BTreeMap::new();
    for (name, info) in header.tensors() {
        let (start, end) = info.data_offsets;
        if start > end || end as u64 > room {
            return Err(damaged(path, format!("it ends before `{name}` does")));
        }
        let element = match info.dtype {
            Dtype::F32 => Some(Element::F32),
            Dtype::F16 => Some(Element::F16),
            Dtype::BF16 => Some(Element::BF16),
            _ => None,
        };
        let elements = info.shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let bytes = element.and_then(|element| elements?.checked_mul(element.size()));
        if element.is_some() && bytes != Some(end - start) {
            return Err(damaged(path, format!("`{name}` has not as many bytes as its shape says")));
        }
        let source = Source::Bytes(8 + length + start as u64, end - start);
        tensors.insert(name, StoredTensor { file: path.into(), shape: info.shape.clone(), element, source });
    }
    Ok(tensors)
}

/// A PyTorch file. Its pickle is parsed for tensors and never run.
fn pickled(path: &Path) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    let reader = PytorchReader::new(path).map_err(|error| damaged(path, error))?;
    let tensors = reader.into_tensors().into_iter().map(|(name, tensor)| {
        let element = match tensor.dtype() {
            DType::F32 => Some(Element::F32),
            DType::F16 => Some(Element::F16),
            DType::BF16 => Some(Element::BF16),
            _ => None,
        };
        let shape = tensor.shape().to_vec();
        (name, StoredTensor { file: path.into(), shape, element, source: Source::Pickled(tensor) })
    });
    Ok(tensors.collect())
}
