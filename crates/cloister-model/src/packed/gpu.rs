//! The product on a GPU: kernels that read the packed words, for every runtime that burn compiles to (WGSL in the browser).
//!
//! Many rows: a workgroup of 256 computes a tile of 64 by 64 results. In steps of [`STEP`] it brings a piece of x and a piece of
//! the matrix, widened, into 8 KiB of shared memory; each thread then sums 4 by 4 results in registers. Few rows, as in
//! decoding: a workgroup computes 64 columns of one row, each of 16 groups of threads summing every sixteenth row of the
//! matrix, so that words are read once and side by side.

use super::PackedMatmul;
use crate::quant::{BLOCK, Bits};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// Rows and columns of a tile.
const TILE: usize = 64;

/// Threads along each side of a workgroup; each has 4 rows and 4 columns of a tile.
const SIDE: usize = 16;

/// Rows of the matrix that are brought at a time: half a block, so that a step has one scale a column.
const STEP: usize = 16;

/// Up to so many rows of x are multiplied a row at a time.
const FEW: usize = 4;

impl PackedMatmul for CubeBackend {
    fn packed_matmul(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bits: Bits,
    ) -> FloatTensor<Self> {
        let (x, words, scales): (CubeTensor, CubeTensor, CubeTensor) =
            (into_contiguous(x), into_contiguous(words), into_contiguous(scales));
        let [rows, inner] = [x.meta.shape()[0], x.meta.shape()[1]];
        let columns = scales.meta.shape()[1];
        let (client, device) = (x.client.clone(), x.device.clone());
        let out = empty_device_contiguous_dtype(client.clone(), device, [rows, columns].into(), x.dtype);
        let per_word = match bits {
            Bits::Eight => 4,
            Bits::Four => 8,
        };
        let threads = CubeDim::new_2d(SIDE as u32, SIDE as u32);
        let wide = columns.div_ceil(TILE) as u32;
        let (rows_scalar, inner_scalar, columns_scalar) = (rows as u32, inner as u32, columns as u32);
        if rows <= FEW {
            few_rows::launch(
                &client,
                CubeCount::new_2d(wide, rows as u32),
                threads,
                x.into_buffer_arg(),
                words.into_buffer_arg(),
                scales.into_buffer_arg(),
                out.clone().into_buffer_arg(),
                inner_scalar,
                columns_scalar,
                per_word,
            );
        } else {
            many_rows::launch(
                &client,
                CubeCount::new_2d(wide, rows.div_ceil(TILE) as u32),
                threads,
                x.into_buffer_arg(),
                words.into_buffer_arg(),
                scales.into_buffer_arg(),
                out.clone().into_buffer_arg(),
                rows_scalar,
                inner_scalar,
                columns_scalar,
                per_word,
            );
        }
        out
    }
}

/// Four elements of a row of the matrix, from the column `column` on, which is a multiple of 4; scaled.
#[cube]
fn four(
    words: &[i32],
    scales: &[f32],
    row: usize,
    column: usize,
    columns: usize,
    #[comptime] per_word: usize,
) -> Vector<f32, Const<4>> {
    let word = words[(row * columns + column) / per_word];
    let first = row / BLOCK * columns + column;
    let mut values = Vector::<f32, Const<4>>::empty();
    #[unroll]
    for i in 0..4usize {
        let element = if comptime![per_word == 4] {
            // Up and down again carries the sign.
            (word << (24 - 8 * i as i32)) >> 24i32
        } else {
            let shift = (column % 8 + i) as i32 * 4;
            ((word >> shift) & 15i32) - 8i32
        };
        values.insert(i, f32::cast_from(element) * scales[first + i]);
    }
    values
}

#[cube(launch)]
fn many_rows(
    x: &[f32],
    words: &[i32],
    scales: &[f32],
    out: &mut [f32],
    rows: u32,
    inner: u32,
    columns: u32,
    #[comptime] per_word: usize,
) {
    let (rows, inner, columns) = (rows as usize, inner as usize, columns as usize);
    let thread = UNIT_POS as usize;
    let (across, down) = (thread % SIDE, thread / SIDE);
    let first_row = CUBE_POS_Y as usize * TILE;
    let first_column = CUBE_POS_X as usize * TILE;
    // A vector of `left` holds four rows of x at one place of the inner dimension, a vector of `right` four columns.
    let mut left = Shared::<[Vector<f32, Const<4>>]>::new_slice(STEP * SIDE);
    let mut right = Shared::<[Vector<f32, Const<4>>]>::new_slice(STEP * SIDE);
    let zero = Vector::<f32, Const<4>>::new(0.0f32);
    let mut sum0 = zero;
    let mut sum1 = zero;
    let mut sum2 = zero;
    let mut sum3 = zero;
    let steps = inner.div_ceil(STEP);
    for step in 0..steps {
        let start = step * STEP;
        // Neighbouring threads read neighbouring elements: of x along a row, of the matrix along a row too.
        let place = start + across;
        let mut some = zero;
        #[unroll]
        for i in 0..4usize {
            let row = first_row + down * 4 + i;
            if row < rows && place < inner {
                some.insert(i, x[row * inner + place]);
            }
        }
        left[across * SIDE + down] = some;
        let row = start + down;
        let column = first_column + across * 4;
        let mut some = zero;
        if row < inner && column < columns {
            some = four(words, scales, row, column, columns, per_word);
        }
        right[down * SIDE + across] = some;
        sync_cube();
        #[unroll]
        for i in 0..STEP {
            let a = left[i * SIDE + down];
            let b = right[i * SIDE + across];
            sum0 += b * Vector::<f32, Const<4>>::new(a.extract(0usize));
            sum1 += b * Vector::<f32, Const<4>>::new(a.extract(1usize));
            sum2 += b * Vector::<f32, Const<4>>::new(a.extract(2usize));
            sum3 += b * Vector::<f32, Const<4>>::new(a.extract(3usize));
        }
        sync_cube();
    }
    let column = first_column + across * 4;
    if column < columns {
        let row = first_row + down * 4;
        store(out, sum0, row, column, rows, columns);
        store(out, sum1, row + 1, column, rows, columns);
        store(out, sum2, row + 2, column, rows, columns);
        store(out, sum3, row + 3, column, rows, columns);
    }
}

#[cube]
fn store(out: &mut [f32], sums: Vector<f32, Const<4>>, row: usize, column: usize, rows: usize, columns: usize) {
    if row < rows {
        #[unroll]
        for i in 0..4usize {
            out[row * columns + column + i] = sums.extract(i);
        }
    }
}

#[cube(launch)]
fn few_rows(
    x: &[f32],
    words: &[i32],
    scales: &[f32],
    out: &mut [f32],
    inner: u32,
    columns: u32,
    #[comptime] per_word: usize,
) {
    let (inner, columns) = (inner as usize, columns as usize);
    let thread = UNIT_POS as usize;
    let (across, down) = (thread % SIDE, thread / SIDE);
    let row = CUBE_POS_Y as usize;
    let column = CUBE_POS_X as usize * TILE + across * 4;
    let mut sums = Shared::<[Vector<f32, Const<4>>]>::new_slice(SIDE * SIDE);
    let mut sum = Vector::<f32, Const<4>>::new(0.0f32);
    if column < columns {
        let steps = inner.div_ceil(SIDE);
        for step in 0..steps {
            let place = step * SIDE + down;
            if place < inner {
                sum += four(words, scales, place, column, columns, per_word)
                    * Vector::<f32, Const<4>>::new(x[row * inner + place]);
            }
        }
    }
    sums[down * SIDE + across] = sum;
    sync_cube();
    if down == 0 && column < columns {
        let mut total = sums[across];
        for i in 1..SIDE {
            total += sums[i * SIDE + across];
        }
        #[unroll]
        for i in 0..4usize {
            out[row * columns + column + i] = total.extract(i);
        }
    }
}
