//! Matrices in 8 and 4 bits: whole numbers in blocks of 32, each block with a scale.
//!
//! A block runs along the dimension that is summed over where the matrix is multiplied: a column's rows of a `[in, out]`
//! matrix, a row's columns of the embedding. So a kernel multiplies whole numbers and scales once a block.

use half::f16;

/// Elements that share a scale.
pub const BLOCK: usize = 32;

/// How many bits an element has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits {
    /// −127 to 127 as one byte, times the scale.
    Eight,
    /// −8 to 7, stored with 8 added as half a byte (the even element in the lower half), times the scale.
    Four,
}

impl Bits {
    /// Bytes of a row of `columns` elements.
    pub fn row_bytes(self, columns: usize) -> usize {
        match self {
            Self::Eight => columns,
            Self::Four => columns.div_ceil(2),
        }
    }
}

/// Along which dimension the blocks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Along {
    /// The blocks of a column: `[in, out]` matrices.
    Rows,
    /// The blocks of a row: the embedding.
    Columns,
}

impl Along {
    /// How the matrix of this name is cut into blocks.
    pub fn of(name: &str) -> Self {
        if name == "wte.weight" { Self::Columns } else { Self::Rows }
    }

    /// The shape of the scales of a matrix.
    pub fn scales(self, [rows, columns]: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Rows => [rows.div_ceil(BLOCK), columns],
            Self::Columns => [rows, columns.div_ceil(BLOCK)],
        }
    }
}

/// A matrix in few bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// Of each element.
    pub bits: Bits,
    /// Rows and columns of the matrix.
    pub shape: [usize; 2],
    /// How the blocks run.
    pub along: Along,
    /// The elements, row by row, [`Bits::row_bytes`] each.
    pub values: Vec<u8>,
    /// The scales, `[blocks, columns]` or `[rows, blocks]`.
    pub scales: Vec<f16>,
}

impl Quantized {
    /// Rounds a row-major matrix; where `values` is too short, what is missing counts as 0.
    pub fn new(bits: Bits, along: Along, values: &[f32], shape: [usize; 2]) -> Self {
        let columns = shape[1];
        Self::from_fn(bits, along, shape, |row, column| values.get(row * columns + column).copied().unwrap_or(0.0))
    }

    /// Rounds the matrix whose element in a row and a column is `at(row, column)`, which is asked twice. The largest element
    /// of a block is kept as exactly as the scale's 16 bits allow.
    pub fn from_fn(bits: Bits, along: Along, shape: [usize; 2], at: impl Fn(usize, usize) -> f32) -> Self {
        let [rows, columns] = shape;
        let [scale_rows, scale_columns] = along.scales(shape);
        let mut largest = vec![0.0f32; scale_rows * scale_columns];
        let place = |row: usize, column: usize| match along {
            Along::Rows => row / BLOCK * columns + column,
            Along::Columns => row * scale_columns + column / BLOCK,
        };
        for row in 0..rows {
            for column in 0..columns {
                let (value, seen) = (at(row, column), &mut largest[place(row, column)]);
                if value.abs() > seen.abs() {
                    *seen = value;
                }
            }
        }
        // Four bits reach one further down than up: the largest element is put there, whatever its sign.
        let scales: Vec<f16> = largest
            .iter()
            .map(|largest| match bits {
                Bits::Eight => f16::from_f32(largest.abs() / 127.0),
                Bits::Four => f16::from_f32(largest / -8.0),
            })
            .collect();
        let mut stored = vec![0u8; rows * bits.row_bytes(columns)];
        for row in 0..rows {
            let line = &mut stored[row * bits.row_bytes(columns)..][..bits.row_bytes(columns)];
            for column in 0..columns {
                let scale = scales[place(row, column)].to_f32();
                let ratio = if scale == 0.0 { 0.0 } else { (at(row, column) / scale).round() };
                match bits {
                    Bits::Eight => line[column] = (ratio.clamp(-127.0, 127.0) as i8) as u8,
                    Bits::Four => {
                        let nibble = (ratio.clamp(-8.0, 7.0) as i8 + 8) as u8;
                        line[column / 2] |= nibble << (4 * (column % 2));
                    }
                }
            }
        }
        Self { bits, shape, along, values: stored, scales }
    }

    /// The element in a row and a column, as close as it was kept.
    pub fn at(&self, row: usize, column: usize) -> f32 {
        let [_, columns] = self.shape;
        let [_, scale_columns] = self.along.scales(self.shape);
        let scale = match self.along {
            Along::Rows => self.scales[row / BLOCK * columns + column],
            Along::Columns => self.scales[row * scale_columns + column / BLOCK],
        };
        let line = &self.values[row * self.bits.row_bytes(columns)..];
        let whole = match self.bits {
            Bits::Eight => line[column] as i8,
            Bits::Four => (line[column / 2] >> (4 * (column % 2)) & 15) as i8 - 8,
        };
        f32::from(whole) * scale.to_f32()
    }

    /// The matrix, row by row, as close as it was kept.
    pub fn values(&self) -> Vec<f32> {
        let [rows, columns] = self.shape;
        (0..rows).flat_map(|row| (0..columns).map(move |column| self.at(row, column))).collect()
    }
}

/// The two elements of a byte of half bytes, the even one first, before they are scaled.
pub(crate) fn nibbles(byte: u8) -> [f32; 2] {
    [f32::from((byte & 15) as i8 - 8), f32::from((byte >> 4) as i8 - 8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(shape: [usize; 2]) -> Vec<f32> {
        (0..shape[0] * shape[1]).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.01 * (1.0 + (i % 7) as f32)).collect()
    }

    #[test]
    fn an_element_is_off_by_half_a_step_at_most() {
        // Neither dimension is a multiple of the block, and the columns are odd.
        let shape = [70, 45];
        let values = matrix(shape);
        for along in [Along::Rows, Along::Columns] {
            for (bits, steps) in [(Bits::Eight, 127.0), (Bits::Four, 8.0)] {
                let made = Quantized::new(bits, along, &values, shape);
                let back = made.values();
                let [_, scale_columns] = along.scales(shape);
                assert_eq!(made.scales.len(), along.scales(shape).iter().product::<usize>());
                assert_eq!(made.values.len(), 70 * bits.row_bytes(45));
                for (i, (a, b)) in values.iter().zip(&back).enumerate() {
                    let (row, column) = (i / 45, i % 45);
                    let scale = match along {
                        Along::Rows => made.scales[row / BLOCK * 45 + column],
                        Along::Columns => made.scales[row * scale_columns + column / BLOCK],
                    };
                    // The end of the range that four bits do not reach is a whole step away.
                    let step = scale.to_f32().abs();
                    let limit = if bits == Bits::Four { 1.0 } else { 0.5 } * step + step * steps * 1e-3;
                    assert!((a - b).abs() <= limit, "{bits:?} {along:?} {i}: {a} {b} (step {step})");
                }
            }
        }
    }

    #[test]
    fn a_block_of_zeros_stays_one() {
        for bits in [Bits::Eight, Bits::Four] {
            let made = Quantized::new(bits, Along::Rows, &[0.0; 64], [64, 1]);
            assert_eq!(made.values(), [0.0; 64]);
        }
    }

    #[test]
    fn the_largest_of_a_block_is_kept() {
        for value in [3.5f32, -3.5] {
            let mut values = [0.25f32; 32];
            values[5] = value;
            for bits in [Bits::Eight, Bits::Four] {
                let back = Quantized::new(bits, Along::Rows, &values, [32, 1]).values();
                assert!((back[5] - value).abs() < 2e-3, "{bits:?}: {} for {value}", back[5]);
            }
        }
    }
}
