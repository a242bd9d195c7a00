//! The product on the CPU.
//!
//! Many rows: a strip of columns at a time is widened into a buffer that the caches hold, and multiplied from there, so
//! widening costs one pass over the strip where the product makes as many as there are rows. Few rows, as in decoding: the
//! whole numbers are multiplied as they are read, and each block's sums scaled once. Both loops run over columns, which lie
//! side by side, so that the compiler makes SIMD of them (AVX, NEON, SIMD128).

use super::PackedMatmul;
use crate::quant::{BLOCK, Bits, nibbles};
use burn::backend::Flex;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{Shape, TensorData};
use std::ops::Range;

/// Elements of a widened strip: a megabyte.
const STRIP: usize = 1 << 18;

/// Up to so many rows are multiplied without widening.
const FEW: usize = 4;

impl PackedMatmul for Flex {
    fn packed_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bits: Bits,
    ) -> FloatTensor<Self> {
        let shape: &Shape = x.layout().shape();
        let [rows, inner] = [shape[0], shape[1]];
        let matrix = Packed { bits, bytes: words.bytes(), scales: scales.storage::<f32>(), inner };
        let columns = matrix.columns();
        let mut out = vec![0.0; rows * columns];
        if rows <= FEW {
            let x = x.into_data();
            for (x, out) in x.iter::<f32>().collect::<Vec<_>>().chunks_exact(inner).zip(out.chunks_exact_mut(columns)) {
                matrix.multiply(x, out);
            }
        } else {
            let width = (STRIP / inner).next_multiple_of(super::GROUP);
            for start in (0..columns).step_by(width) {
                let strip = start..(start + width).min(columns);
                let count = strip.len();
                let wide = FloatTensor::<Self>::from_data(TensorData::new(matrix.widen(strip.clone()), [inner, count]));
                let product = Self::float_matmul(x.clone(), wide).into_data();
                if count == columns {
                    return FloatTensor::<Self>::from_data(product);
                }
                for (row, values) in product.as_slice::<f32>().unwrap_or_default().chunks_exact(count).enumerate() {
                    out[row * columns..][strip.clone()].copy_from_slice(values);
                }
            }
        }
        FloatTensor::<Self>::from_data(TensorData::new(out, [rows, columns]))
    }
}

/// A packed matrix as it lies in memory.
struct Packed<'a> {
    bits: Bits,
    bytes: &'a [u8],
    scales: &'a [f32],
    inner: usize,
}

impl Packed<'_> {
    fn columns(&self) -> usize {
        self.scales.len() / self.inner.div_ceil(BLOCK)
    }

    /// The bytes of some columns of a row.
    fn row(&self, row: usize, columns: &Range<usize>) -> &[u8] {
        let width = self.bits.row_bytes(self.columns());
        &self.bytes[row * width..][self.bits.row_bytes(columns.start)..self.bits.row_bytes(columns.end)]
    }

    /// Some columns as numbers, row by row.
    fn widen(&self, columns: Range<usize>) -> Vec<f32> {
        let mut out = vec![0.0; self.inner * columns.len()];
        for (row, out) in out.chunks_exact_mut(columns.len()).enumerate() {
            let scales = &self.scales[row / BLOCK * self.columns()..][columns.clone()];
            let bytes = self.row(row, &columns);
            match self.bits {
                Bits::Eight => {
                    for ((out, byte), scale) in out.iter_mut().zip(bytes).zip(scales) {
                        *out = f32::from(*byte as i8) * scale;
                    }
                }
                Bits::Four => {
                    let pairs = out.as_chunks_mut::<2>().0.iter_mut().zip(bytes).zip(scales.as_chunks::<2>().0);
                    for ((out, byte), scale) in pairs {
                        *out = nibbles(*byte);
                        out[0] *= scale[0];
                        out[1] *= scale[1];
                    }
                }
            }
        }
        out
    }

    /// Adds x·W to `out`, for one row x.
    fn multiply(&self, x: &[f32], out: &mut [f32]) {
        let all = 0..self.columns();
        let mut sums = vec![0.0; all.len()];
        for (block, x) in x.chunks(BLOCK).enumerate() {
            sums.fill(0.0);
            for (row, x) in x.iter().enumerate() {
                let bytes = self.row(block * BLOCK + row, &all);
                match self.bits {
                    Bits::Eight => {
                        for (sum, byte) in sums.iter_mut().zip(bytes) {
                            *sum += f32::from(*byte as i8) * x;
                        }
                    }
                    Bits::Four => {
                        for (sum, byte) in sums.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                            let [even, odd] = nibbles(*byte);
                            sum[0] += even * x;
                            sum[1] += odd * x;
                        }
                    }
                }
            }
            let scales = &self.scales[block * all.len()..][..all.len()];
            for ((out, sum), scale) in out.iter_mut().zip(&sums).zip(scales) {
                *out += sum * scale;
            }
        }
    }
}
