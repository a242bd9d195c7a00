//! One weight shard: a safetensors file, read with suspicion.
//!
//! The safetensors crate checks that the tensors cover the file without holes or overlaps and that sizes do not
//! overflow. Added here: a tighter limit on the header, no name twice (a hash map would silently keep the last one),
//! offsets inside the file before any arithmetic on them, and no elements but floating point and packed ones.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// The largest header. A shard of the 350M shape has a few kilobytes.
pub const MAX_HEADER_BYTES: usize = 1 << 20;

/// A tensor, or a run of rows of one.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardTensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape in the file.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Elements,
}

/// The elements of a tensor in a shard.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Numbers, widened to f32.
    Float(Vec<f32>),
    /// Bytes of quantised numbers: I8 or U8 in the file.
    Packed(Vec<u8>),
}

/// Checks a shard and hands its tensors to `each`, one at a time in the order of the file.
///
/// # Errors
/// A description of the fault, or the error of `each`.
pub fn read<E: From<String>>(bytes: &[u8], mut each: impl FnMut(ShardTensor) -> Result<(), E>) -> Result<(), E> {
    check_header(bytes)?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut views: Vec<_> = file.iter().collect();
    views.sort_by_key(|(_, view)| view.data().as_ptr());
    for (name, view) in views {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => Elements::Float(data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
            Dtype::F16 => {
                Elements::Float(data.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect())
            }
            Dtype::BF16 => {
                Elements::Float(data.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect())
            }
            Dtype::I8 | Dtype::U8 => Elements::Packed(data.to_vec()),
            other => {
                return Err(format!(
                    "`{name}` has elements of type {other:?} where F32, F16, BF16, I8 and U8 are read"
                )
                .into());
            }
        };
        each(ShardTensor { name: name.to_string(), shape: view.shape().to_vec(), values })?;
    }
    Ok(())
}

fn check_header(bytes: &[u8]) -> Result<(), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err("it is too short for a header".into());
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES as u64 {
        return Err(format!("its header claims {length} bytes where at most {MAX_HEADER_BYTES} are accepted"));
    }
    let length = length as usize;
    let Some(header) = rest.get(..length) else {
        return Err(format!("its header claims {length} bytes and the file ends before"));
    };
    let header: Header =
        serde_json::from_slice(header).map_err(|error| format!("its header cannot be read ({error})"))?;
    let room = (rest.len() - length) as u64;
    let mut names = HashSet::new();
    for (name, offsets) in header.0 {
        if let Some([start, end]) = offsets
            && (start > end || end > room)
        {
            return Err(format!("`{name}` claims the bytes {start} to {end} of {room}"));
        }
        if let Some(name) = names.replace(name) {
            return Err(format!("`{name}` occurs twice in its header"));
        }
    }
    Ok(())
}

/// The header's entries in order, with the offsets of those that are tensors.
struct Header(Vec<(String, Option<[u64; 2]>)>);

#[derive(Deserialize)]
struct Entry {
    data_offsets: [u64; 2],
    #[serde(rename = "dtype")]
    _dtype: IgnoredAny,
    #[serde(rename = "shape")]
    _shape: IgnoredAny,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let offsets = if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        None
                    } else {
                        Some(map.next_value::<Entry>()?.data_offsets)
                    };
                    entries.push((name, offsets));
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
