//! Pillow's bicubic resize of 8-bit pictures, bit for bit.
//!
//! From: a camera picture `[height, width, 3]` u8. To: the model's size, `[height, width, 3]` u8 or, through a
//! [`PixelTable`], planar `[3, height, width]` f32. Source: Pillow `Image.resize(size, BICUBIC)`: columns first,
//! rounded to 8 bits, then rows, rounded again. That is what the official processors of both families call. A crop is
//! not a resize, and this never crops.
//!
//! How: sixteen rows at a time are transposed, so that both passes are the same operation: a weighted sum of lines of
//! 16 bytes.

use super::pixel_norm::PixelTable;
use super::resize::{ResizeError, check_frame, check_lengths, check_sides};
use super::resize_pillow_taps::{AxisTaps, LOW_BITS, TapPair, WEIGHT_BITS};
use crate::camera::RgbImage;
use std::array::from_fn;
use wide::{i16x8, i32x4, i32x8, u8x16};

/// Bytes that are worked on at once.
const LANES: usize = 16;
type Line = [u8; LANES];

/// One pair of sizes: weights and buffers. Made once, then no frame allocates.
#[derive(Debug, Clone)]
pub struct BicubicPlan {
    source_px: [u32; 2],
    target_px: [u32; 2],
    columns: AxisTaps,
    rows: AxisTaps,
    /// Sixteen source rows, transposed: `[source width + spare, channel]` lines, one byte per row.
    strip: Vec<Line>,
    /// The same after the column pass: `[channel, target width]` lines, padded to a multiple of 16.
    narrow: Vec<Line>,
    /// All rows after the column pass, planar in each row: `[source height + spare, 3 * target width / 16]`.
    middle: Vec<Line>,
    /// One finished row, planar: `[3 * target width]`, padded to a multiple of 16.
    row: Vec<u8>,
}

impl BicubicPlan {
    /// For pictures of `source_px` to `target_px` (width, height), in either direction.
    ///
    /// # Errors
    /// A side of zero or above [`crate::camera::SIDE_PX_MAX`].
    pub fn new(source_px: [u32; 2], target_px: [u32; 2]) -> Result<Self, ResizeError> {
        check_sides(source_px, target_px)?;
        let [source_width, source_height] = source_px.map(|side| side as usize);
        let blocks = (3 * target_px[0] as usize).div_ceil(LANES);
        Ok(Self {
            source_px,
            target_px,
            columns: AxisTaps::new(source_px[0], target_px[0]),
            rows: AxisTaps::new(source_px[1], target_px[1]),
            strip: vec![[0; LANES]; (3 * (source_width + 1)).next_multiple_of(LANES)],
            narrow: vec![[0; LANES]; blocks * LANES],
            middle: vec![[0; LANES]; (source_height + 1).next_multiple_of(LANES) * blocks],
            row: vec![0; blocks * LANES],
        })
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
        self.resize_bytes(source.data(), target)
    }

    /// The same from plain bytes, `[height, width, 3]`.
    ///
    /// # Errors
    /// A buffer of another length than the plan's.
    pub fn resize_bytes(&mut self, source: &[u8], target: &mut [u8]) -> Result<(), ResizeError> {
        check_lengths(self.source_px, self.target_px, source.len(), target.len())?;
        let width = self.target_px[0] as usize;
        self.column_pass(source);
        self.row_pass(|y, planar| {
            let (red, rest) = planar.split_at(width);
            let (green, blue) = rest.split_at(width);
            let pixels = target[3 * width * y..][..3 * width].chunks_exact_mut(3);
            for (((pixel, &r), &g), &b) in pixels.zip(red).zip(green).zip(blue) {
                pixel.copy_from_slice(&[r, g, b]);
            }
        });
        Ok(())
    }

    /// Resizes and looks every byte up in `table`, into `target`, `[3, height, width]`.
    ///
    /// # Errors
    /// A picture or a buffer of another size than the plan's.
    pub fn resize_planar(
        &mut self,
        source: &RgbImage,
        table: &PixelTable,
        target: &mut [f32],
    ) -> Result<(), ResizeError> {
        check_frame(self.source_px, self.target_px, source, target.len())?;
        let [width, height] = self.target_px.map(|side| side as usize);
        self.column_pass(source.data());
        self.row_pass(|y, planar| {
            for (plane, line) in target.chunks_exact_mut(width * height).zip(planar.chunks_exact(width)) {
                table.apply(line, &mut plane[width * y..][..width]);
            }
        });
        Ok(())
    }

    /// Source rows to `middle`.
    fn column_pass(&mut self, source: &[u8]) {
        let row_bytes = 3 * self.source_px[0] as usize;
        let width = self.target_px[0] as usize;
        let blocks = self.row.len() / LANES;
        let strips = source.chunks(LANES * row_bytes).zip(self.middle.chunks_exact_mut(LANES * blocks));
        for (source_rows, middle_rows) in strips {
            transpose_in(source_rows, row_bytes, &mut self.strip);
            for (x, (first, pairs)) in self.columns.iter().enumerate() {
                for channel in 0..3 {
                    self.narrow[channel * width + x] = weighted_sum(&self.strip, 3 * first + channel, 3, pairs);
                }
            }
            for (block, lines) in self.narrow.as_chunks::<LANES>().0.iter().enumerate() {
                for (row, line) in transposed(lines).into_iter().enumerate() {
                    middle_rows[row * blocks + block] = line;
                }
            }
        }
    }

    /// `middle` to finished rows, each handed to `sink` as planar bytes `[3 * target width]`.
    fn row_pass(&mut self, mut sink: impl FnMut(usize, &[u8])) {
        let blocks = self.row.len() / LANES;
        for (y, (first, pairs)) in self.rows.iter().enumerate() {
            for (block, line) in self.row.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                *line = weighted_sum(&self.middle, first * blocks + block, blocks, pairs);
            }
            sink(y, &self.row[..3 * self.target_px[0] as usize]);
        }
    }
}

/// Up to sixteen rows of `row_bytes` to columns of sixteen. Rows that are not there become zero and are never read
/// again.
fn transpose_in(rows: &[u8], row_bytes: usize, strip: &mut [Line]) {
    let mut starts = [&[][..]; LANES];
    for (start, row) in starts.iter_mut().zip(rows.chunks_exact(row_bytes)) {
        *start = row;
    }
    for (block, columns) in (0..row_bytes).step_by(LANES).zip(strip.as_chunks_mut::<LANES>().0) {
        let lines: [Line; LANES] = from_fn(|i| line_at(starts[i], block));
        *columns = transposed(&lines);
    }
}

/// Sixteen bytes from `begin`, zero where the row has ended.
#[inline]
fn line_at(row: &[u8], begin: usize) -> Line {
    if let Some(line) = row.get(begin..).and_then(|rest| rest.first_chunk::<LANES>()) {
        return *line;
    }
    let mut line = [0; LANES];
    let rest = row.get(begin..).unwrap_or_default();
    line[..rest.len()].copy_from_slice(rest);
    line
}

/// Four rounds of interleaving the upper half of the lines with the lower.
#[inline]
fn transposed(lines: &[Line; LANES]) -> [Line; LANES] {
    let mut lines = lines.map(u8x16::new);
    for _ in 0..LANES.ilog2() {
        lines = from_fn(|i| {
            let (upper, lower) = (lines[i / 2], lines[i / 2 + LANES / 2]);
            if i % 2 == 0 { u8x16::unpack_low(upper, lower) } else { u8x16::unpack_high(upper, lower) }
        });
    }
    lines.map(u8x16::to_array)
}

/// Sum of `weight * line` over lines `first`, `first + step`, …, rounded to 8 bits and limited to 0..=255, as Pillow
/// does.
#[inline]
fn weighted_sum(lines: &[Line], first: usize, step: usize, pairs: &[TapPair]) -> Line {
    let mut high = [i32x4::ZERO; 4];
    let mut low = [i32x4::splat(1 << (WEIGHT_BITS - 1)); 4];
    let mut at = first;
    for pair in pairs {
        let (even, odd) = (u8x16::new(lines[at]), u8x16::new(lines[at + step]));
        let halves = [u8x16::unpack_low(even, odd), u8x16::unpack_high(even, odd)];
        let weights_high = repeated(pair.high);
        let weights_low = repeated(pair.low);
        for (i, half) in halves.into_iter().enumerate() {
            let pixels = [i16x8::from_u8x16_low(half), i16x8::from_u8x16_high(half)];
            for (j, pixels) in pixels.into_iter().enumerate() {
                high[2 * i + j] += pixels.dot(weights_high);
                low[2 * i + j] += pixels.dot(weights_low);
            }
        }
        at += 2 * step;
    }
    let whole: [i32x4; 4] = from_fn(|i| ((high[i] << LOW_BITS) + low[i]) >> WEIGHT_BITS);
    let packed = |a: i32x4, b: i32x4| {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.to_array(), b.to_array());
        i16x8::from_i32x8_saturate(i32x8::new([a0, a1, a2, a3, b0, b1, b2, b3]))
    };
    u8x16::narrow_i16x8(packed(whole[0], whole[1]), packed(whole[2], whole[3])).to_array()
}

#[inline]
fn repeated([even, odd]: [i16; 2]) -> i16x8 {
    i16x8::new([even, odd, even, odd, even, odd, even, odd])
}
