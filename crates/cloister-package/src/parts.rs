//! Tensors that were cut to fit into shards.
//!
//! A matrix larger than a shard is stored as runs of its rows, named `tensor@row` for the first row of the run: so
//! `lm_head.weight@4096` begins with row 4096 of `lm_head.weight`. Runs come in any order.

use crate::shard::{Elements, ShardTensor};
use cloister_model::quant::{Along, Bits, Quantized};
use cloister_model::{CodeGenConfig, ModelError, tensor_shapes};
use half::f16;
use std::collections::{BTreeMap, HashMap};

/// What the name of a matrix's scales ends in.
const SCALE: &str = ".scale";

/// The name of a run of rows.
pub(crate) fn part_name(tensor: &str, first_row: usize) -> String {
    format!("{tensor}@{first_row}")
}

/// The name of a quantised matrix's scales.
pub(crate) fn scale_name(tensor: &str) -> String {
    format!("{tensor}{SCALE}")
}

/// A whole tensor of the architecture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Whole {
    /// Numbers and their shape.
    Float(Vec<f32>, Vec<usize>),
    /// A matrix in few bits.
    Quantized(Quantized),
}

/// Puts runs of rows together, and quantised elements with their scales.
pub(crate) struct Assembler {
    /// The shape of each stored tensor, and whether its elements are packed.
    stored: HashMap<String, (Vec<usize>, bool)>,
    /// The quantised matrices.
    matrices: HashMap<String, [usize; 2]>,
    bits: Option<Bits>,
    partial: HashMap<String, Partial>,
    /// Elements whose scales have not come, and scales whose elements have not.
    waiting: HashMap<String, Elements>,
}

struct Partial {
    values: Elements,
    /// First row and number of rows of each run that has come.
    runs: BTreeMap<usize, usize>,
    rows: usize,
}

impl Assembler {
    pub(crate) fn new(config: &CodeGenConfig, bits: Option<Bits>) -> Self {
        Self::of(tensor_shapes(config), bits)
    }

    fn of(shapes: Vec<(String, Vec<usize>)>, bits: Option<Bits>) -> Self {
        let mut made = Self {
            stored: HashMap::new(),
            matrices: HashMap::new(),
            bits,
            partial: HashMap::new(),
            waiting: HashMap::new(),
        };
        for (name, shape) in shapes {
            match (bits, shape.as_slice()) {
                (Some(bits), &[rows, columns]) => {
                    let scales = Along::of(&name).scales([rows, columns]);
                    made.stored.insert(scale_name(&name), (scales.to_vec(), false));
                    made.stored.insert(name.clone(), (vec![rows, bits.row_bytes(columns)], true));
                    made.matrices.insert(name, [rows, columns]);
                }
                _ => {
                    made.stored.insert(name, (shape, false));
                }
            }
        }
        made
    }

    /// Takes what a shard holds and returns a whole tensor where there is one.
    pub(crate) fn add(&mut self, tensor: ShardTensor) -> Result<Option<(String, Whole)>, ModelError> {
        let run = tensor.name.rsplit_once('@');
        let name = run.map_or(tensor.name.as_str(), |(name, _)| name);
        let Some((whole, packed)) = self.stored.get(name) else {
            return Err(ModelError::UnknownTensor(tensor.name));
        };
        if matches!(tensor.values, Elements::Packed(_)) != *packed {
            let found = if *packed { "as plain numbers" } else { "quantised" };
            return Err(ModelError::Storage { name: tensor.name, found });
        }
        let (name, whole) = (name.to_string(), whole.clone());
        let (values, shape) = match run {
            None if self.matrices.is_empty() => (tensor.values, tensor.shape),
            None if tensor.shape == whole => (tensor.values, whole),
            None => return Err(ModelError::Shape { name: tensor.name, expected: whole, found: tensor.shape }),
            Some((_, first)) => {
                let first = parse_row(first);
                match self.put(&tensor, &name, first, &whole)? {
                    Some(values) => (values, whole),
                    None => return Ok(None),
                }
            }
        };
        self.pair(name, values, shape)
    }

    /// Puts a run of rows beside those that have come, and returns the values once there are all.
    fn put(
        &mut self,
        tensor: &ShardTensor,
        name: &str,
        first: Option<usize>,
        whole: &[usize],
    ) -> Result<Option<Elements>, ModelError> {
        let wrong =
            || ModelError::Shape { name: tensor.name.clone(), expected: whole.to_vec(), found: tensor.shape.clone() };
        let (&[all, width], &[rows, found_width]) = (whole, tensor.shape.as_slice()) else { return Err(wrong()) };
        let Some(first) = first else { return Err(ModelError::UnknownTensor(tensor.name.clone())) };
        let fits = first.checked_add(rows).is_some_and(|end| end <= all);
        if width != found_width || rows == 0 || !fits {
            return Err(wrong());
        }
        let partial = self.partial.entry(name.to_string()).or_insert_with(|| Partial {
            values: match tensor.values {
                Elements::Float(_) => Elements::Float(vec![0.0; all * width]),
                Elements::Packed(_) => Elements::Packed(vec![0; all * width]),
            },
            runs: BTreeMap::new(),
            rows: 0,
        });
        let before = partial.runs.range(..=first).next_back().is_some_and(|(start, len)| start + len > first);
        let after = partial.runs.range(first..).next().is_some_and(|(start, _)| *start < first + rows);
        if before || after {
            return Err(ModelError::DuplicateTensor(tensor.name.clone()));
        }
        let place = first * width..(first + rows) * width;
        match (&mut partial.values, &tensor.values) {
            (Elements::Float(all), Elements::Float(run)) => all[place].copy_from_slice(run),
            (Elements::Packed(all), Elements::Packed(run)) => all[place].copy_from_slice(run),
            _ => return Err(wrong()),
        }
        partial.runs.insert(first, rows);
        partial.rows += rows;
        if partial.rows < all {
            return Ok(None);
        }
        // The tensor's name stays known, so that a further run begins anew and the model refuses it as a duplicate.
        Ok(self.partial.remove(name).map(|partial| partial.values))
    }

    /// A quantised matrix is whole once its elements and its scales have come.
    fn pair(
        &mut self,
        name: String,
        values: Elements,
        shape: Vec<usize>,
    ) -> Result<Option<(String, Whole)>, ModelError> {
        let matrix = name.strip_suffix(SCALE).unwrap_or(&name);
        let (Some(bits), Some(&shape)) = (self.bits, self.matrices.get(matrix)) else {
            return match values {
                Elements::Float(values) => Ok(Some((name, Whole::Float(values, shape)))),
                Elements::Packed(_) => Err(ModelError::UnknownTensor(name)),
            };
        };
        let other = if matrix == name { scale_name(matrix) } else { matrix.to_string() };
        let Some(found) = self.waiting.remove(&other) else {
            let duplicate = name.clone();
            return match self.waiting.insert(name, values) {
                Some(_) => Err(ModelError::DuplicateTensor(duplicate)),
                None => Ok(None),
            };
        };
        let (Elements::Packed(values), Elements::Float(scales)) =
            (if matrix == name { (values, found) } else { (found, values) })
        else {
            return Err(ModelError::UnknownTensor(name));
        };
        if scales.iter().any(|scale| !scale.is_finite()) {
            return Err(ModelError::NotFinite(scale_name(matrix)));
        }
        let scales = scales.into_iter().map(f16::from_f32).collect();
        let made = Quantized { bits, shape, along: Along::of(matrix), values, scales };
        Ok(Some((matrix.to_string(), Whole::Quantized(made))))
    }

    /// The first tensor of which something has not come.
    pub(crate) fn incomplete(&self) -> Option<&str> {
        self.partial.keys().chain(self.waiting.keys()).map(String::as_str).min()
    }
}

/// A row number without sign, spaces or leading zeros, so that no run has two names.
fn parse_row(text: &str) -> Option<usize> {
    let row: usize = text.parse().ok()?;
    (row.to_string() == text).then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembler(bits: Option<Bits>) -> Assembler {
        Assembler::of(vec![("m".to_string(), vec![3, 2]), ("v".to_string(), vec![4])], bits)
    }

    fn float(name: &str, shape: &[usize], values: &[f32]) -> ShardTensor {
        ShardTensor { name: name.into(), shape: shape.into(), values: Elements::Float(values.into()) }
    }

    fn packed(name: &str, shape: &[usize], values: &[u8]) -> ShardTensor {
        ShardTensor { name: name.into(), shape: shape.into(), values: Elements::Packed(values.into()) }
    }

    #[test]
    fn runs_come_in_any_order() {
        let mut parts = assembler(None);
        assert!(parts.add(float("m@1", &[2, 2], &[3., 4., 5., 6.])).unwrap().is_none());
        assert_eq!(parts.incomplete(), Some("m"));
        let (name, whole) = parts.add(float("m@0", &[1, 2], &[1., 2.])).unwrap().unwrap();
        assert_eq!(name, "m");
        assert_eq!(whole, Whole::Float(vec![1., 2., 3., 4., 5., 6.], vec![3, 2]));
        assert_eq!(parts.incomplete(), None);
    }

    #[test]
    fn runs_that_do_not_fit_are_refused() {
        for (name, shape) in [
            ("m@2", vec![2, 2]),
            ("m@0", vec![1, 3]),
            ("m@0", vec![2]),
            ("m@0", vec![0, 2]),
            ("m@18446744073709551615", vec![1, 2]),
            ("m@01", vec![1, 2]),
            ("m@-1", vec![1, 2]),
            ("m@", vec![1, 2]),
            ("x@0", vec![1, 2]),
            ("v@0", vec![4]),
        ] {
            let values = vec![0.0; shape.iter().product()];
            assert!(assembler(None).add(float(name, &shape, &values)).is_err(), "{name}");
        }
        let mut parts = assembler(None);
        parts.add(float("m@1", &[1, 2], &[0.0; 2])).unwrap();
        for first in 0..2 {
            let error = parts.add(float(&format!("m@{first}"), &[2, 2], &[0.0; 4])).unwrap_err();
            assert!(matches!(error, ModelError::DuplicateTensor(_)));
        }
    }

    #[test]
    fn elements_and_scales_come_in_any_order() {
        let values = [1.0, -0.5, 0.25, 0.0, 0.5, 1.0];
        for bits in [Bits::Eight, Bits::Four] {
            let made = Quantized::new(bits, Along::Rows, &values, [3, 2]);
            let width = bits.row_bytes(2);
            let scales: Vec<f32> = made.scales.iter().map(|scale| scale.to_f32()).collect();
            let mut pieces = [
                packed("m@0", &[2, width], &made.values[..2 * width]),
                packed("m@2", &[1, width], &made.values[2 * width..]),
                float("m.scale", &[1, 2], &scales),
            ];
            for turn in 0..3 {
                pieces.rotate_left(turn);
                let mut parts = assembler(Some(bits));
                assert!(parts.add(pieces[0].clone()).unwrap().is_none());
                assert!(parts.add(pieces[1].clone()).unwrap().is_none() && parts.incomplete().is_some());
                let whole = parts.add(pieces[2].clone()).unwrap().unwrap();
                assert_eq!(whole, ("m".to_string(), Whole::Quantized(made.clone())));
                assert_eq!(parts.incomplete(), None);
            }
        }
    }

    #[test]
    fn quantised_pieces_that_do_not_fit_are_refused() {
        for piece in [
            float("m", &[3, 2], &[0.0; 6]),
            packed("m", &[2, 2], &[0; 4]),
            packed("m.scale", &[1, 2], &[0; 2]),
            float("m.scale", &[2, 2], &[0.0; 4]),
            float("v.scale", &[1, 4], &[0.0; 4]),
            packed("v", &[4], &[0; 4]),
        ] {
            assert!(assembler(Some(Bits::Eight)).add(piece.clone()).is_err(), "{piece:?}");
        }
        let mut parts = assembler(Some(Bits::Eight));
        parts.add(packed("m", &[3, 2], &[0; 6])).unwrap();
        let error = parts.add(packed("m", &[3, 2], &[0; 6])).unwrap_err();
        assert!(matches!(error, ModelError::DuplicateTensor(_)));
        let error = parts.add(float("m.scale", &[1, 2], &[f32::NAN, 1.0])).unwrap_err();
        assert!(matches!(error, ModelError::NotFinite(_)));
        assert!(assembler(None).add(packed("m", &[3, 2], &[0; 6])).is_err());
    }
}
