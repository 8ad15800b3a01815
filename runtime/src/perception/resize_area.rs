//! OpenCV's INTER_AREA resize of 8-bit pictures, bit for bit.
//!
//! From: a camera picture `[height, width, 3]` u8. To: `[height, width, 3]` u8 of the model's size, for checkpoints
//! whose data was made that way (SimplerEnv resizes with it before the processor sees the picture). Source: OpenCV 4
//! `cv::resize(…, INTER_AREA)`.
//!
//! OpenCV has five ways to do it, and all five are here:
//! 1. same size: a copy;
//! 2. both sides shrink by exactly 2: `(a + b + c + d + 2) >> 2`;
//! 3. both sides shrink by whole numbers: integer sum times a float32 reciprocal, ties to even;
//! 4. no side grows: float32 weights per row and column, ties to even;
//! 5. any side grows: bilinear with 11-bit weights taken from the areas. The name says area; it is no area mean.

use super::resize::{ResizeError, check_frame, check_sides};
use super::resize_area_tables::{Blend, Border, Share, blends, scale, shares, whole};
use crate::camera::RgbImage;

/// One pair of sizes: weights and buffers. Made once, then no frame allocates.
#[derive(Debug, Clone)]
pub struct AreaPlan {
    source_px: [u32; 2],
    target_px: [u32; 2],
    method: Method,
}

#[derive(Debug, Clone)]
enum Method {
    Copy,
    /// Source pixels per target pixel: columns, rows.
    Whole([usize; 2]),
    /// `line` and `sum` are one row in float32, `[width, 3]`.
    Fractional {
        columns: Vec<Share>,
        rows: Vec<Share>,
        line: Vec<f32>,
        sum: Vec<f32>,
    },
    /// `lines` are two blended source rows, `[width, 3]`, and which source rows they are.
    Linear {
        columns: Vec<Blend>,
        rows: Vec<Blend>,
        lines: [(Option<usize>, Vec<i32>); 2],
    },
}

impl AreaPlan {
    /// For pictures of `source_px` to `target_px` (width, height), in either direction.
    ///
    /// # Errors
    /// A side of zero or above [`crate::camera::SIDE_PX_MAX`].
    pub fn new(source_px: [u32; 2], target_px: [u32; 2]) -> Result<Self, ResizeError> {
        check_sides(source_px, target_px)?;
        let scales = [0, 1].map(|i| scale(source_px[i], target_px[i]));
        let row_len = 3 * target_px[0] as usize;
        let method = if source_px == target_px {
            Method::Copy
        } else if scales.iter().all(|&scale| scale >= 1.0) {
            match scales.map(whole) {
                [Some(columns), Some(rows)] => Method::Whole([columns, rows]),
                _ => Method::Fractional {
                    columns: shares(source_px[0], target_px[0], scales[0]),
                    rows: shares(source_px[1], target_px[1], scales[1]),
                    line: vec![0.0; row_len],
                    sum: vec![0.0; row_len],
                },
            }
        } else {
            Method::Linear {
                columns: blends(source_px[0], target_px[0], Border::LastTakesAll),
                rows: blends(source_px[1], target_px[1], Border::Repeat),
                lines: [(None, vec![0; row_len]), (None, vec![0; row_len])],
            }
        };
        Ok(Self { source_px, target_px, method })
    }

    /// `[width, height]` of the pictures that this plan takes.
    pub fn source_px(&self) -> [u32; 2] {
        self.source_px
    }

    /// `[width, height]` of the result.
    pub fn target_px(&self) -> [u32; 2] {
        self.target_px
    }

    /// Resizes into `target`, `[height, width, 3]`.
    ///
    /// # Errors
    /// A picture or a buffer of another size than the plan's.
    pub fn resize(&mut self, source: &RgbImage, target: &mut [u8]) -> Result<(), ResizeError> {
        check_frame(self.source_px, self.target_px, source, target.len())?;
        let source_row = 3 * self.source_px[0] as usize;
        let target_row = 3 * self.target_px[0] as usize;
        let source = source.data();
        match &mut self.method {
            Method::Copy => target.copy_from_slice(source),
            Method::Whole(factors) => shrink_whole(source, source_row, *factors, target, target_row),
            Method::Fractional { columns, rows, line, sum } => {
                shrink_fractional(source, source_row, columns, rows, line, sum, target)
            }
            Method::Linear { columns, rows, lines } => grow(source, source_row, columns, rows, lines, target),
        }
        Ok(())
    }
}

fn shrink_whole(source: &[u8], source_row: usize, [columns, rows]: [usize; 2], target: &mut [u8], target_row: usize) {
    let reciprocal = 1.0 / (columns * rows) as f32;
    for (line, band) in target.chunks_exact_mut(target_row).zip(source.chunks_exact(rows * source_row)) {
        for (at, byte) in line.iter_mut().enumerate() {
            let first = at / 3 * columns * 3 + at % 3;
            let pixels = band.chunks_exact(source_row).flat_map(|row| row[first..].iter().step_by(3).take(columns));
            let sum: u32 = pixels.map(|&pixel| u32::from(pixel)).sum();
            *byte = if [columns, rows] == [2, 2] { ((sum + 2) >> 2) as u8 } else { to_byte(sum as f32 * reciprocal) };
        }
    }
}

fn shrink_fractional(
    source: &[u8],
    source_row: usize,
    columns: &[Share],
    rows: &[Share],
    line: &mut [f32],
    sum: &mut [f32],
    target: &mut [u8],
) {
    for band in rows.chunk_by(|a, b| a.target == b.target) {
        for (i, row) in band.iter().enumerate() {
            weigh_columns(&source[row.source * source_row..][..source_row], columns, line);
            if i == 0 {
                sum.iter_mut().zip(&*line).for_each(|(sum, value)| *sum = row.weight * value);
            } else {
                sum.iter_mut().zip(&*line).for_each(|(sum, value)| *sum += row.weight * value);
            }
        }
        let begin = band[0].target * sum.len();
        target[begin..].iter_mut().zip(&*sum).for_each(|(byte, &value)| *byte = to_byte(value));
    }
}

/// One source row in float32, summed in the order of the table.
fn weigh_columns(row: &[u8], columns: &[Share], line: &mut [f32]) {
    line.fill(0.0);
    let (pixels, _) = row.as_chunks::<3>();
    let (sums, _) = line.as_chunks_mut::<3>();
    for share in columns {
        let (sum, pixel) = (&mut sums[share.target], pixels[share.source]);
        for channel in 0..3 {
            sum[channel] += f32::from(pixel[channel]) * share.weight;
        }
    }
}

fn grow(
    source: &[u8],
    source_row: usize,
    columns: &[Blend],
    rows: &[Blend],
    lines: &mut [(Option<usize>, Vec<i32>); 2],
    target: &mut [u8],
) {
    lines.iter_mut().for_each(|(held, _)| *held = None); // rows of the frame before
    let target_row = 3 * columns.len();
    for (row, bytes) in rows.iter().zip(target.chunks_exact_mut(target_row)) {
        if lines[0].0 != Some(row.sources[0]) {
            lines.swap(0, 1);
        }
        for ((held, line), &wanted) in lines.iter_mut().zip(&row.sources) {
            if *held != Some(wanted) {
                blend_columns(&source[wanted * source_row..][..source_row], columns, line);
                *held = Some(wanted);
            }
        }
        // OpenCV drops 4 bits before and 16 after the product, so that it fits its vector unit; 2 are left to round.
        let [upper, lower] = row.weights;
        for ((byte, a), b) in bytes.iter_mut().zip(&lines[0].1).zip(&lines[1].1) {
            let sum = ((upper * (a >> 4)) >> 16) + ((lower * (b >> 4)) >> 16);
            *byte = ((sum + 2) >> 2).clamp(0, 255) as u8;
        }
    }
}

fn blend_columns(row: &[u8], columns: &[Blend], line: &mut [i32]) {
    let (pixels, _) = row.as_chunks::<3>();
    let (blended, _) = line.as_chunks_mut::<3>();
    for (sums, column) in blended.iter_mut().zip(columns) {
        let [left, right] = column.sources.map(|at| pixels[at]);
        for channel in 0..3 {
            sums[channel] =
                i32::from(left[channel]) * column.weights[0] + i32::from(right[channel]) * column.weights[1];
        }
    }
}

/// Nearest integer, ties to even, of a mean of bytes. Adding 1.5 * 2^23 leaves no fractional bits, so that the addition
/// itself rounds, in the mode that the standard prescribes; the library function would be a call per byte.
fn to_byte(mean: f32) -> u8 {
    const WHOLE_NUMBERS_ONLY: f32 = 12_582_912.0;
    ((mean + WHOLE_NUMBERS_ONLY).to_bits() - WHOLE_NUMBERS_ONLY.to_bits()) as u8
}

#[cfg(test)]
mod tests {
    use super::to_byte;

    #[test]
    fn rounding_is_to_the_nearest_byte_and_to_even_on_a_tie() {
        for quarter in 0..=255 * 4 {
            let mean = quarter as f32 / 4.0;
            for mean in [mean.next_down().max(0.0), mean, mean.next_up()] {
                assert_eq!(to_byte(mean), mean.round_ties_even() as u8, "{mean}");
            }
        }
    }
}
