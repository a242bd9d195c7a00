//! Matrices that stay packed on the device and are multiplied as they are.
//!
//! Burn's own tensors know quantised elements too, but its web runtime widens them before it multiplies. Here the packed
//! words are what a kernel reads: on a GPU in [`gpu`], through burn's backend extensions; on the CPU in [`cpu`].

mod cpu;
#[cfg(feature = "gpu")]
mod gpu;

use crate::quant::{Along, Bits, Quantized};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Columns are read in groups of so many: two words of bytes, one of half bytes.
const GROUP: usize = 8;

/// A quantised `[in, out]` matrix on a device.
#[derive(Debug, Clone)]
pub struct PackedMatrix {
    bits: Bits,
    /// `[in, out / 4]` or `[in, out / 8]`: the elements of a row, four or eight in each i32, the first in the lowest bits.
    words: Tensor<2, Int>,
    /// `[in / 32, out]`, rounded up.
    scales: Tensor<2>,
}

impl PackedMatrix {
    /// Whether a matrix can be packed so: its blocks run down its columns, and its columns come in whole words.
    pub fn takes(matrix: &Quantized) -> bool {
        matrix.along == Along::Rows
            && matrix.shape[0] > 0
            && matrix.shape[1] > 0
            && matrix.shape[1].is_multiple_of(GROUP)
    }

    /// Uploads a matrix that [`Self::takes`] allows.
    pub fn upload(matrix: Quantized, device: &Device) -> Self {
        let [rows, columns] = matrix.shape;
        let width = matrix.bits.row_bytes(columns) / 4;
        let blocks = matrix.scales.len() / columns;
        let scales: Vec<f32> = matrix.scales.iter().map(|scale| scale.to_f32()).collect();
        // The bytes are the words, the first in the lowest bits: every device that burn runs on is little-endian.
        let words = TensorData::from_bytes_vec(matrix.values, [rows, width], DType::I32);
        Self {
            bits: matrix.bits,
            words: Tensor::from_data(words, (device, DType::I32)),
            scales: Tensor::from_data(TensorData::new(scales, [blocks, columns]), (device, DType::F32)),
        }
    }

    /// x·W: `[rows, in]` to `[rows, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let product = Dispatch::packed_matmul(
            x.into_dispatch(),
            self.words.clone().into_dispatch(),
            self.scales.clone().into_dispatch(),
            self.bits,
        );
        Tensor::from_dispatch(product)
    }
}

/// What a backend must know to multiply by a [`PackedMatrix`].
#[backend_extension(Cube: cfg(feature = "gpu"), Flex)]
pub(crate) trait PackedMatmul: Backend {
    /// `x` `[rows, in]` times the matrix of these words and scales: `[rows, out]`.
    fn packed_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bits: Bits,
    ) -> FloatTensor<Self>;
}
