//! What a package asks of the machine, from its manifest alone: so that a page can tell before it loads anything.
//!
//! The arithmetic follows where [`cloister_model::Inference`] puts things: the matrices of the blocks on the device,
//! packed where they are stored in 8 or 4 bits and widened to f32 where they are not; embedding and head in the host's
//! memory, as they are stored; vectors in f32. On the CPU, device and host are the same memory.

use crate::{MAX_SHARD_BYTES, Manifest, WeightType};
use cloister_model::quant::{Along, Bits};
use cloister_model::{CodeGenConfig, tensor_shapes};
use serde::Serialize;

/// The largest whole number that JavaScript counts exactly. What is larger fits nowhere either way.
const MOST: u64 = (1 << 53) - 1;

/// Columns of a matrix that a device takes packed come in groups of so many.
const PACKED_GROUP: u64 = 8;

/// How the matrices of a package are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// 8 bits and a scale for every 32.
    Q8,
    /// 4 bits and a scale for every 32.
    Q4,
}

impl Precision {
    /// How this package is stored.
    pub fn of(manifest: &Manifest) -> Self {
        match (manifest.weights.bits(), manifest.weights.dtype) {
            (Some(Bits::Eight), _) => Self::Q8,
            (Some(Bits::Four), _) => Self::Q4,
            (None, WeightType::F16) => Self::F16,
            (None, WeightType::F32) => Self::F32,
        }
    }

    fn bits(self) -> Option<Bits> {
        match self {
            Self::Q8 => Some(Bits::Eight),
            Self::Q4 => Some(Bits::Four),
            Self::F16 | Self::F32 => None,
        }
    }
}

/// What one precision of a model asks of the machine. All sizes are bytes, rounded down to 2⁵³ − 1 where they are
/// larger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// The precision.
    pub precision: Precision,
    /// Whether the package is stored in it.
    pub stored: bool,
    /// The files: those of the manifest, or for another precision the size of the tensors.
    pub package_bytes: u64,
    /// On the device: the blocks, the cache of keys and values for a full context, and what one pass computes.
    pub device_bytes: u64,
    /// In the host's memory beside it: embedding and head.
    pub host_bytes: u64,
    /// In the host's memory for as long as the package is loaded: a shard, and the largest matrix while it is put
    /// together.
    pub loading_bytes: u64,
    /// The largest single buffer on the device.
    pub largest_buffer_bytes: u64,
}

impl Manifest {
    /// What this model asks for as it is stored, then in the other precisions that a package can be made in.
    pub fn requirements(&self) -> Vec<Requirement> {
        let stored = Precision::of(self);
        let config = &self.architecture.config;
        let mut all = vec![stored];
        all.extend([Precision::F16, Precision::Q8, Precision::Q4].into_iter().filter(|other| *other != stored));
        all.into_iter()
            .map(|precision| {
                let mut made = requirement(config, precision);
                if precision == stored {
                    made.stored = true;
                    made.package_bytes = self.files().iter().map(|file| file.bytes).sum();
                }
                made
            })
            .collect()
    }
}

fn requirement(config: &CodeGenConfig, precision: Precision) -> Requirement {
    let (mut package, mut device, mut host, mut largest, mut loading) = (0u64, 0u64, 0u64, 0u64, 0u64);
    for (name, shape) in tensor_shapes(config) {
        match *shape.as_slice() {
            [rows, columns] => {
                let shape = [rows as u64, columns as u64];
                let (stored, assembling) = (stored_bytes(&name, shape, precision), assembling_bytes(shape, precision));
                package = package.saturating_add(stored);
                loading = loading.max(assembling);
                if matches!(name.as_str(), "wte.weight" | "lm_head.weight") {
                    host = host.saturating_add(stored);
                } else {
                    let (bytes, buffer) = on_device(&name, shape, precision);
                    device = device.saturating_add(bytes);
                    largest = largest.max(buffer);
                }
            }
            _ => {
                let bytes = shape.iter().fold(4u64, |bytes, size| bytes.saturating_mul(*size as u64));
                package = package.saturating_add(bytes);
                device = device.saturating_add(bytes);
            }
        }
    }
    let (pass, pass_buffer) = one_pass(config);
    let cache = product(&[8, config.n_layer as u64, config.n_positions as u64, config.n_embd as u64]);
    Requirement {
        precision,
        stored: false,
        package_bytes: package.min(MOST),
        device_bytes: device.saturating_add(cache).saturating_add(pass).min(MOST),
        host_bytes: host.min(MOST),
        loading_bytes: loading.saturating_add(MAX_SHARD_BYTES).min(MOST),
        largest_buffer_bytes: largest.max(pass_buffer).min(MOST),
    }
}

/// A matrix in a shard, and in the host's memory where it stays there.
fn stored_bytes(name: &str, [rows, columns]: [u64; 2], precision: Precision) -> u64 {
    match precision {
        Precision::F32 => product(&[4, rows, columns]),
        Precision::F16 => product(&[2, rows, columns]),
        Precision::Q8 | Precision::Q4 => {
            let scales = match Along::of(name) {
                Along::Rows => product(&[2, blocks(rows), columns]),
                Along::Columns => product(&[2, rows, blocks(columns)]),
            };
            let width = if precision == Precision::Q8 { columns } else { columns.div_ceil(2) };
            product(&[rows, width]).saturating_add(scales)
        }
    }
}

/// A matrix that comes in runs of rows: its elements as they gather, and once more as they are handed on.
fn assembling_bytes([rows, columns]: [u64; 2], precision: Precision) -> u64 {
    match precision {
        Precision::F32 | Precision::F16 => product(&[8, rows, columns]),
        Precision::Q8 => product(&[2, rows, columns]),
        Precision::Q4 => product(&[rows, columns]),
    }
}

/// All bytes of a block's matrix on the device, and those of its largest buffer.
fn on_device(name: &str, [rows, columns]: [u64; 2], precision: Precision) -> (u64, u64) {
    let wide = product(&[4, rows, columns]);
    let packed = columns.is_multiple_of(PACKED_GROUP) && !name.starts_with("line_pointer.");
    match precision.bits().filter(|_| packed) {
        None => (wide, wide),
        Some(bits) => {
            let elements = if bits == Bits::Eight { wide / 4 } else { wide / 8 };
            let scales = product(&[4, blocks(rows), columns]);
            (elements.saturating_add(scales), elements.max(scales))
        }
    }
}

/// What a pass over a full context computes, and its largest buffer: the scores of every head, a few times over, and
/// the wide rows of a block.
fn one_pass(config: &CodeGenConfig) -> (u64, u64) {
    let (positions, width) = (config.n_positions as u64, config.n_embd as u64);
    let scores = product(&[4, config.n_head as u64, positions, positions]);
    let inner = product(&[4, positions, config.inner_dim() as u64]);
    let rows = product(&[4, positions, 3, width]);
    let sum = product(&[3, scores]).saturating_add(product(&[3, inner])).saturating_add(product(&[4, rows]));
    (sum, scores.max(inner).max(rows))
}

fn blocks(rows: u64) -> u64 {
    rows.div_ceil(cloister_model::quant::BLOCK as u64)
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product, factor| product.saturating_mul(*factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Weights;
    use crate::testing;
    use crate::writer::build_package;

    #[test]
    fn the_sizes_of_350m_are_those_worked_out_by_hand() {
        let config = CodeGenConfig::codegen_350m_mono();
        // A block has 12·1024² matrix elements, of which the largest matrices are 4·1024². Vectors beside them: 7·1024
        // a block, two norms at the end, and the head's bias.
        let (matrices, vectors) = (20 * 12 * 1024 * 1024u64, 4 * (20 * 7 * 1024 + 2 * 1024 + 51200u64));
        let cache = 2 * 20 * 2048 * 1024 * 4u64;
        let scores = 4 * 16 * 2048 * 2048u64;
        let pass = 3 * scores + 3 * 4 * 2048 * 4096 + 4 * 4 * 2048 * 3 * 1024;
        let tokens = 51200 * 1024u64;
        for (precision, weights, host, largest) in [
            (Precision::F16, 4 * matrices, 4 * tokens, 16 * 1024 * 1024),
            (Precision::Q8, matrices + matrices / 8, 2 * (tokens + tokens / 16), 4 * 1024 * 1024),
            (Precision::Q4, matrices / 2 + matrices / 8, 2 * (tokens / 2 + tokens / 16), 2 * 1024 * 1024),
        ] {
            let made = requirement(&config, precision);
            assert_eq!(made.device_bytes, weights + vectors + cache + pass, "{precision:?}");
            assert_eq!(made.host_bytes, host, "{precision:?}");
            // Of the matrices; over a full context the scores of attention are larger.
            let short = CodeGenConfig { n_positions: 64, ..config.clone() };
            assert_eq!(requirement(&short, precision).largest_buffer_bytes, largest, "{precision:?}");
            assert_eq!(made.largest_buffer_bytes, scores, "{precision:?}");
        }
    }

    #[test]
    fn the_tensors_of_a_package_take_what_was_worked_out() {
        let config = testing::config();
        for (precision, weights) in [
            (Precision::F32, Weights::plain(WeightType::F32)),
            (Precision::F16, Weights::plain(WeightType::F16)),
            (Precision::Q8, Weights::quantized(Bits::Eight)),
            (Precision::Q4, Weights::quantized(Bits::Four)),
        ] {
            let mut manifest = testing::manifest(config.clone());
            manifest.weights = weights;
            let made = build_package(manifest, &testing::tensors(&config, 1), testing::tokenizer_json()).unwrap();
            // A shard is the length of its header in 8 bytes, the header, the tensors.
            let tensors: u64 = made.files[1..]
                .iter()
                .map(|(_, bytes)| bytes.len() as u64 - 8 - u64::from_le_bytes(bytes[..8].try_into().unwrap()))
                .sum();
            assert_eq!(requirement(&config, precision).package_bytes, tensors, "{precision:?}");
            let all = made.manifest.requirements();
            let total: usize = made.files.iter().map(|(_, bytes)| bytes.len()).sum();
            assert_eq!((all[0].precision, all[0].stored, all[0].package_bytes), (precision, true, total as u64));
            assert!(all[1..].iter().all(|other| !other.stored && other.precision != precision));
        }
    }

    #[test]
    fn absurd_sizes_stay_numbers() {
        let huge = 1 << 20;
        let config = CodeGenConfig {
            vocab_size: huge,
            n_positions: huge,
            n_embd: huge,
            n_layer: 1024,
            n_head: huge,
            rotary_dim: 1,
            n_inner: Some(huge),
            layer_norm_epsilon: 1e-5,
            line_pointer_dim: Some(huge),
        };
        let made = requirement(&config, Precision::F32);
        assert_eq!((made.device_bytes, made.largest_buffer_bytes), (MOST, MOST));
    }
}
