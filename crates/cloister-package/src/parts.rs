//! Tensors that were cut to fit into shards.
//!
//! A matrix larger than a shard is stored as runs of its rows, named `tensor@row` for the first row of the run: so
//! `lm_head.weight@4096` begins with row 4096 of `lm_head.weight`. Runs come in any order.

use burn::tensor::TensorData;
use cloister_model::{CodeGenConfig, ModelError, tensor_shapes};
use std::collections::{BTreeMap, HashMap};

/// The name of a run of rows.
pub(crate) fn part_name(tensor: &str, first_row: usize) -> String {
    format!("{tensor}@{first_row}")
}

/// Puts the runs together.
pub(crate) struct Assembler {
    shapes: HashMap<String, Vec<usize>>,
    partial: HashMap<String, Partial>,
}

struct Partial {
    values: Vec<f32>,
    /// First row and number of rows of each run that has come.
    runs: BTreeMap<usize, usize>,
    rows: usize,
}

impl Assembler {
    pub(crate) fn new(config: &CodeGenConfig) -> Self {
        Self { shapes: tensor_shapes(config).into_iter().collect(), partial: HashMap::new() }
    }

    /// Takes what a shard holds under `name` and returns a whole tensor where there is one.
    pub(crate) fn add(
        &mut self,
        name: String,
        shape: Vec<usize>,
        values: Vec<f32>,
    ) -> Result<Option<(String, TensorData)>, ModelError> {
        let Some((tensor, first)) = name.rsplit_once('@') else {
            return Ok(Some((name, TensorData::new(values, shape))));
        };
        let Some(whole) = self.shapes.get(tensor) else {
            return Err(ModelError::UnknownTensor(name));
        };
        let wrong = || ModelError::Shape { name: name.clone(), expected: whole.clone(), found: shape.clone() };
        let (&[all, width], &[rows, found_width]) = (whole.as_slice(), shape.as_slice()) else {
            return Err(wrong());
        };
        let Some(first) = parse_row(first) else {
            return Err(ModelError::UnknownTensor(name));
        };
        let fits = first.checked_add(rows).is_some_and(|end| end <= all);
        if width != found_width || rows == 0 || !fits {
            return Err(wrong());
        }
        let partial = self.partial.entry(tensor.to_string()).or_insert_with(|| Partial {
            values: vec![0.0; all * width],
            runs: BTreeMap::new(),
            rows: 0,
        });
        let before = partial.runs.range(..=first).next_back().is_some_and(|(start, len)| start + len > first);
        let after = partial.runs.range(first..).next().is_some_and(|(start, _)| *start < first + rows);
        if before || after {
            return Err(ModelError::DuplicateTensor(name));
        }
        partial.values[first * width..(first + rows) * width].copy_from_slice(&values);
        partial.runs.insert(first, rows);
        partial.rows += rows;
        if partial.rows < all {
            return Ok(None);
        }
        let shape = whole.clone();
        // The tensor's name stays known, so that a further run begins anew and the model refuses it as a duplicate.
        Ok(self.partial.remove(tensor).map(|partial| (tensor.to_string(), TensorData::new(partial.values, shape))))
    }

    /// The first tensor of which some runs have not come.
    pub(crate) fn incomplete(&self) -> Option<&str> {
        self.partial.keys().map(String::as_str).min()
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

    fn assembler() -> Assembler {
        Assembler {
            shapes: HashMap::from([("m".to_string(), vec![3, 2]), ("v".to_string(), vec![4])]),
            partial: HashMap::new(),
        }
    }

    #[test]
    fn runs_come_in_any_order() {
        let mut parts = assembler();
        assert!(parts.add("m@1".into(), vec![2, 2], vec![3., 4., 5., 6.]).unwrap().is_none());
        assert_eq!(parts.incomplete(), Some("m"));
        let (name, data) = parts.add("m@0".into(), vec![1, 2], vec![1., 2.]).unwrap().unwrap();
        assert_eq!(name, "m");
        assert_eq!(data, TensorData::new(vec![1f32, 2., 3., 4., 5., 6.], [3, 2]));
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
            assert!(assembler().add(name.into(), shape, values).is_err(), "{name}");
        }
        let mut parts = assembler();
        parts.add("m@1".into(), vec![1, 2], vec![0.0; 2]).unwrap();
        for first in 0..2 {
            let error = parts.add(format!("m@{first}"), vec![2, 2], vec![0.0; 4]).unwrap_err();
            assert!(matches!(error, ModelError::DuplicateTensor(_)));
        }
    }
}
