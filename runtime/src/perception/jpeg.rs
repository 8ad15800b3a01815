//! What a picture looks like after TensorFlow has written it as a JPEG file and read it again, bit for bit. Entropy
//! coding loses nothing, so there is none.
//!
//! From: `[height, width, 3]` u8. To: the same. Source: the official evaluation scripts of OpenVLA call
//! `tf.io.encode_jpeg` (quality 95, chroma at half size) and `decode_image`: libjpeg's colours and means of 2×2, the
//! blocks of [`super::jpeg_blocks`], and smooth upsampling. `runtime/tests/perception_evaluation.rs` compares with
//! pictures that TensorFlow made.

use super::jpeg_blocks::{SIDE, Steps};
use super::resize::{ResizeError, check_lengths, check_sides};

/// Fraction bits of colour conversion.
const COLOUR_BITS: i32 = 16;
const HALF: i32 = 1 << (COLOUR_BITS - 1);
/// Below this many chroma columns the decoder repeats samples instead of smoothing them.
const SMOOTHED_COLUMNS_MIN: usize = 3;

/// Buffers for one size of picture. Made once, then no frame allocates.
#[derive(Debug, Clone)]
pub struct JpegRoundTrip {
    width: usize,
    height: usize,
    luma: Plane,
    /// Blue and red differences at half size.
    chroma: [Plane; 2],
    /// Two rows of each difference at full size, columns repeated to whole blocks: `[row, column]`.
    pair: [Vec<u8>; 2],
    /// One row of each difference, three quarters of the nearer chroma row and one of the further, times four.
    tall: [Vec<i32>; 2],
}

/// One plane of samples, padded to whole blocks.
#[derive(Debug, Clone)]
struct Plane {
    width: usize,
    height: usize,
    stride: usize,
    samples: Vec<u8>,
    steps: Steps,
}

impl JpegRoundTrip {
    /// For pictures of `source_px` (width, height).
    ///
    /// # Errors
    /// A side of zero or above [`crate::camera::SIDE_PX_MAX`].
    pub fn new(source_px: [u32; 2]) -> Result<Self, ResizeError> {
        check_sides(source_px, source_px)?;
        let [width, height] = source_px.map(|side| side as usize);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let chroma = Plane::new(half_width, half_height, Steps::chroma());
        let (pair, tall) = (vec![0; 2 * 2 * chroma.stride], vec![0; half_width]);
        Ok(Self {
            width,
            height,
            luma: Plane::new(width, height, Steps::luma()),
            chroma: [chroma.clone(), chroma],
            pair: [pair.clone(), pair],
            tall: [tall.clone(), tall],
        })
    }

    /// `[width, height]` of the pictures that this plan takes.
    pub fn source_px(&self) -> [u32; 2] {
        [self.width as u32, self.height as u32]
    }

    /// Writes what comes back into `target`; both are `[height, width, 3]`.
    ///
    /// # Errors
    /// A buffer of another length.
    pub fn run(&mut self, source: &[u8], target: &mut [u8]) -> Result<(), ResizeError> {
        check_lengths(self.source_px(), self.source_px(), source.len(), target.len())?;
        self.split(source);
        self.luma.code();
        self.chroma.iter_mut().for_each(Plane::code);
        self.join(target);
        Ok(())
    }

    /// Colours to luma and halved differences.
    fn split(&mut self, source: &[u8]) {
        let row_bytes = 3 * self.width;
        for (two, rows) in source.chunks(2 * row_bytes).enumerate() {
            let full = 2 * self.chroma[0].stride;
            for (index, row) in rows.chunks_exact(row_bytes).enumerate() {
                let luma = &mut self.luma.samples[(2 * two + index) * self.luma.stride..][..self.luma.stride];
                let [blue, red] = self.pair.each_mut().map(|pair| &mut pair[index * full..][..full]);
                let differences = blue.iter_mut().zip(red.iter_mut());
                for ((pixel, luma), (blue, red)) in row.as_chunks().0.iter().zip(luma.iter_mut()).zip(differences) {
                    [*luma, *blue, *red] = to_ycc(*pixel);
                }
                for line in [luma, blue, red] {
                    let last = line[self.width - 1];
                    line[self.width..].fill(last);
                }
            }
            for (plane, pair) in self.chroma.iter_mut().zip(&self.pair) {
                let (upper, lower) = pair.split_at(full);
                // An odd picture's last row stands for both.
                let lower = if rows.len() == row_bytes { upper } else { lower };
                let halved = &mut plane.samples[two * plane.stride..][..plane.stride];
                for (column, (half, (a, b))) in
                    halved.iter_mut().zip(upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0)).enumerate()
                {
                    let sum: u32 = a.iter().chain(b).map(|sample| u32::from(*sample)).sum();
                    // Ties are rounded down in even columns and up in odd ones.
                    *half = ((sum + 1 + column as u32 % 2) >> 2) as u8;
                }
            }
        }
    }

    /// Luma and differences to colours.
    fn join(&mut self, target: &mut [u8]) {
        let smooth = self.chroma[0].width >= SMOOTHED_COLUMNS_MIN;
        for (y, row) in target.chunks_exact_mut(3 * self.width).enumerate() {
            let (near, odd) = (y / 2, y % 2);
            for (plane, tall) in self.chroma.iter().zip(&mut self.tall) {
                let last = plane.height - 1;
                let far = if odd == 0 { near.saturating_sub(1) } else { (near + 1).min(last) };
                let [near, far] = [near, far].map(|row| &plane.samples[row * plane.stride..][..plane.width]);
                for ((tall, near), far) in tall.iter_mut().zip(near).zip(far) {
                    *tall = if smooth { 3 * i32::from(*near) + i32::from(*far) } else { i32::from(*near) };
                }
            }
            let luma = &self.luma.samples[y * self.luma.stride..][..self.width];
            let [blue, red] = &self.tall;
            for (x, (pixel, luma)) in row.as_chunks_mut().0.iter_mut().zip(luma).enumerate() {
                let at = |tall: &[i32]| if smooth { smoothed(tall, x) } else { tall[x / 2] };
                *pixel = to_rgb(i32::from(*luma), at(blue), at(red));
            }
        }
    }
}

/// Column `x` of a row that is twice as wide: three quarters of the nearer column and one of the further.
#[inline]
fn smoothed(tall: &[i32], x: usize) -> i32 {
    let near = x / 2;
    let (far, rounding) =
        if x.is_multiple_of(2) { (near.saturating_sub(1), 8) } else { ((near + 1).min(tall.len() - 1), 7) };
    (3 * tall[near] + tall[far] + rounding) >> 4
}

impl Plane {
    fn new(width: usize, height: usize, steps: Steps) -> Self {
        let stride = width.next_multiple_of(SIDE);
        Self { width, height, stride, samples: vec![0; stride * height.next_multiple_of(SIDE)], steps }
    }

    /// Every block there and back. Columns that fill up the last blocks are there; rows repeat the last one.
    fn code(&mut self) {
        let (rows, padding) = self.samples.split_at_mut(self.stride * self.height);
        let last = &rows[self.stride * (self.height - 1)..];
        padding.chunks_exact_mut(self.stride).for_each(|row| row.copy_from_slice(last));
        for band in self.samples.chunks_exact_mut(SIDE * self.stride) {
            for left in (0..self.stride).step_by(SIDE) {
                let mut block = [[0; SIDE]; SIDE];
                for (line, row) in block.iter_mut().zip(band.chunks_exact(self.stride)) {
                    line.copy_from_slice(&row[left..][..SIDE]);
                }
                self.steps.code(&mut block);
                for (line, row) in block.iter().zip(band.chunks_exact_mut(self.stride)) {
                    row[left..][..SIDE].copy_from_slice(line);
                }
            }
        }
    }
}

const fn fixed(factor: f64) -> i32 {
    (factor * (1 << COLOUR_BITS) as f64 + 0.5) as i32
}

/// Luma, blue and red difference.
#[inline]
fn to_ycc(rgb: [u8; 3]) -> [u8; 3] {
    const OFFSET: i32 = (128 << COLOUR_BITS) + HALF - 1;
    let [r, g, b] = rgb.map(i32::from);
    let luma = const { fixed(0.29900) } * r + const { fixed(0.58700) } * g + const { fixed(0.11400) } * b + HALF;
    let blue = HALF * b - const { fixed(0.168_735_89) } * r - const { fixed(0.331_264_11) } * g + OFFSET;
    let red = HALF * r - const { fixed(0.418_687_59) } * g - const { fixed(0.081_312_41) } * b + OFFSET;
    [luma, blue, red].map(|value| (value >> COLOUR_BITS) as u8)
}

#[inline]
fn to_rgb(luma: i32, blue: i32, red: i32) -> [u8; 3] {
    let (blue, red) = (blue - 128, red - 128);
    let r = luma + ((const { fixed(1.40200) } * red + HALF) >> COLOUR_BITS);
    let g = luma + ((HALF - const { fixed(0.34414) } * blue - const { fixed(0.71414) } * red) >> COLOUR_BITS);
    let b = luma + ((const { fixed(1.77200) } * blue + HALF) >> COLOUR_BITS);
    [r, g, b].map(|value| value.clamp(0, 255) as u8)
}
