//! The embedding and the head, which stay in the host's memory.
//!
//! Both have a row or column for every token of the vocabulary, of which a pass needs a few: so a few are looked up, and no
//! device has to take a buffer of their size (CodeGen's are 210 MB in f32, where WebGPU promises 128 MB).

use crate::quant::{Along, BLOCK, Bits, Quantized, nibbles};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// A matrix in the host's memory, row by row, as it was stored.
#[derive(Debug, Clone, PartialEq)]
pub enum HostMatrix {
    /// Single precision, and rows and columns.
    Single(Vec<f32>, [usize; 2]),
    /// Half precision, and rows and columns.
    Half(Vec<f16>, [usize; 2]),
    /// 8 or 4 bits in blocks.
    Quantized(Quantized),
}

impl HostMatrix {
    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Single(_, shape) | Self::Half(_, shape) => *shape,
            Self::Quantized(matrix) => matrix.shape,
        }
    }

    /// Keeps `values` in half precision where nothing is lost by that, as where they were stored so.
    pub fn of(values: Vec<f32>, shape: [usize; 2]) -> Self {
        let exact = |value: &f32| f16::from_f32(*value).to_f32() == *value;
        if values.iter().all(exact) {
            Self::Half(values.into_iter().map(f16::from_f32).collect(), shape)
        } else {
            Self::Single(values, shape)
        }
    }

    /// Writes a row to `out`, which has the matrix's columns. The row must be there.
    fn row(&self, row: usize, out: &mut [f32]) {
        let columns = self.shape()[1];
        match self {
            Self::Single(values, _) => out.copy_from_slice(&values[row * columns..][..columns]),
            Self::Half(values, _) => values[row * columns..][..columns].convert_to_f32_slice(out),
            Self::Quantized(matrix) => {
                let width = matrix.bits.row_bytes(columns);
                whole_numbers(matrix.bits, &matrix.values[row * width..][..width], out);
                match matrix.along {
                    Along::Columns => {
                        let blocks = columns.div_ceil(BLOCK);
                        let scales = &matrix.scales[row * blocks..][..blocks];
                        for (out, scale) in out.chunks_mut(BLOCK).zip(scales) {
                            let scale = scale.to_f32();
                            out.iter_mut().for_each(|value| *value *= scale);
                        }
                    }
                    Along::Rows => {
                        let scales = &matrix.scales[row / BLOCK * columns..][..columns];
                        out.iter_mut().zip(scales).for_each(|(value, scale)| *value *= scale.to_f32());
                    }
                }
            }
        }
    }

    /// Some rows, `[rows.len(), columns]`. They must be there.
    pub fn rows(&self, rows: &[u32]) -> Vec<f32> {
        let columns = self.shape()[1];
        let mut out = vec![0.0; rows.len() * columns];
        for (row, out) in rows.iter().zip(out.chunks_exact_mut(columns)) {
            self.row(*row as usize, out);
        }
        out
    }

    /// Some columns, `[rows, columns.len()]`. They must be there.
    pub fn columns(&self, columns: &[u32]) -> Vec<f32> {
        let [rows, width] = self.shape();
        let mut out = Vec::with_capacity(rows * columns.len());
        for row in 0..rows {
            out.extend(columns.iter().map(|column| match self {
                Self::Single(values, _) => values[row * width + *column as usize],
                Self::Half(values, _) => values[row * width + *column as usize].to_f32(),
                Self::Quantized(matrix) => matrix.at(row, *column as usize),
            }));
        }
        out
    }

    /// x·W of one row `x`, which has the matrix's rows.
    pub fn multiply(&self, x: &[f32]) -> Vec<f32> {
        let columns = self.shape()[1];
        let (mut sums, mut line) = (vec![0.0; columns], vec![0.0; columns]);
        for (row, x) in x.iter().enumerate() {
            self.row(row, &mut line);
            sums.iter_mut().zip(&line).for_each(|(sum, value)| *sum += x * value);
        }
        sums
    }
}

/// The elements of a row before they are scaled.
fn whole_numbers(bits: Bits, bytes: &[u8], out: &mut [f32]) {
    match bits {
        Bits::Eight => out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = f32::from(*byte as i8)),
        Bits::Four => {
            let (pairs, last) = out.as_chunks_mut::<2>();
            for (pair, byte) in pairs.iter_mut().zip(bytes) {
                *pair = nibbles(*byte);
            }
            if let ([last], Some(byte)) = (last, bytes.last()) {
                [*last, _] = nibbles(*byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_columns_and_products_are_those_of_the_matrix() {
        // Neither is a multiple of the block, and the columns are odd.
        let shape @ [rows, columns] = [37, 45];
        let values: Vec<f32> = (0..rows * columns).map(|i| (i * 29 % 83) as f32 / 64.0 - 0.5).collect();
        let mut matrices = vec![HostMatrix::Single(values.clone(), shape), HostMatrix::of(values.clone(), shape)];
        assert!(matches!(matrices[1], HostMatrix::Half(..)));
        assert!(matches!(HostMatrix::of(vec![0.1], [1, 1]), HostMatrix::Single(..)));
        for along in [Along::Rows, Along::Columns] {
            for bits in [Bits::Eight, Bits::Four] {
                matrices.push(HostMatrix::Quantized(Quantized::new(bits, along, &values, shape)));
            }
        }
        for matrix in matrices {
            let all = match &matrix {
                HostMatrix::Quantized(matrix) => matrix.values(),
                _ => values.clone(),
            };
            assert_eq!(matrix.rows(&[36, 0]), [&all[36 * columns..], &all[..columns]].concat());
            let picked: Vec<f32> =
                (0..rows).flat_map(|row| [all[row * columns + 44], all[row * columns + 1]]).collect();
            assert_eq!(matrix.columns(&[44, 1]), picked);
            let x: Vec<f32> = (0..rows).map(|i| i as f32 * 0.1 - 1.0).collect();
            for (column, found) in matrix.multiply(&x).into_iter().enumerate() {
                let sum: f32 = (0..rows).map(|row| x[row] * all[row * columns + column]).sum();
                assert!((found - sum).abs() < 1e-3, "{column}: {found} {sum}");
            }
        }
    }
}
