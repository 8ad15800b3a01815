//! TensorFlow's antialiased lanczos3, bit for bit, rounded to u8 as the official evaluation scripts do.
//!
//! From: a picture `[height, width, 3]` u8. To: `[height, width, 3]` u8 of the model's size. Source:
//! `tf.image.resize(lanczos3, antialias=True)`, that is `ScaleAndTranslate`: float32 throughout, rows first, one
//! weighted row added after the other, no rounding in between; then `tf.round`, limit, cast.
//! `runtime/tests/perception_evaluation.rs` compares with what TensorFlow made.

use super::resize::{ResizeError, check_lengths, check_sides};

const RADIUS_PX: f32 = 3.0;

/// One pair of sizes: weights and buffers. Made once, then no frame allocates.
#[derive(Debug, Clone)]
pub struct LanczosPlan {
    source_px: [u32; 2],
    target_px: [u32; 2],
    rows: Vec<Span>,
    columns: Vec<Span>,
    /// After the row pass: `[target height, source width, 3]`.
    tall: Vec<f32>,
    /// Not rounded: `[target height, target width, 3]`.
    values: Vec<f32>,
}

/// The source pixels of one target pixel: `first`, `first + 1`, …
#[derive(Debug, Clone, PartialEq)]
struct Span {
    first: usize,
    weights: Vec<f32>,
}

impl LanczosPlan {
    /// For pictures of `source_px` to `target_px` (width, height), in either direction.
    ///
    /// # Errors
    /// A side of zero or above [`crate::camera::SIDE_PX_MAX`].
    pub fn new(source_px: [u32; 2], target_px: [u32; 2]) -> Result<Self, ResizeError> {
        check_sides(source_px, target_px)?;
        let ([source_width, _], [width, height]) = (source_px, target_px);
        Ok(Self {
            source_px,
            target_px,
            rows: spans(source_px[1], height),
            columns: spans(source_width, width),
            tall: vec![0.0; 3 * height as usize * source_width as usize],
            values: vec![0.0; 3 * height as usize * width as usize],
        })
    }

    /// `[width, height]` of the pictures that this plan takes.
    pub fn source_px(&self) -> [u32; 2] {
        self.source_px
    }

    /// Resizes into `target`, `[height, width, 3]`.
    ///
    /// # Errors
    /// A picture or a buffer of another length than the plan's.
    pub fn resize(&mut self, source: &[u8], target: &mut [u8]) -> Result<(), ResizeError> {
        for (value, byte) in self.resize_unrounded(source, target.len())?.iter().zip(target) {
            *byte = value.round_ties_even().clamp(0.0, 255.0) as u8;
        }
        Ok(())
    }

    /// The same before rounding and limiting, `[height, width, 3]`; for comparisons.
    ///
    /// # Errors
    /// A picture of another length than the plan's.
    pub fn values(&mut self, source: &[u8]) -> Result<&[f32], ResizeError> {
        self.resize_unrounded(source, self.values.len())
    }

    fn resize_unrounded(&mut self, source: &[u8], target_len: usize) -> Result<&[f32], ResizeError> {
        check_lengths(self.source_px, self.target_px, source.len(), target_len)?;
        let row_len = 3 * self.source_px[0] as usize;
        for (span, row) in self.rows.iter().zip(self.tall.chunks_exact_mut(row_len)) {
            row.fill(0.0);
            let source_rows = source[span.first * row_len..].chunks_exact(row_len);
            for (weight, source_row) in span.weights.iter().zip(source_rows) {
                for (sum, &byte) in row.iter_mut().zip(source_row) {
                    *sum += weight * f32::from(byte);
                }
            }
        }
        let wide = self.values.chunks_exact_mut(3 * self.target_px[0] as usize);
        for (tall, values) in self.tall.chunks_exact(row_len).zip(wide) {
            for (span, pixel) in self.columns.iter().zip(values.as_chunks_mut::<3>().0) {
                *pixel = [0.0; 3];
                for (weight, source) in span.weights.iter().zip(&tall.as_chunks::<3>().0[span.first..]) {
                    for (sum, value) in pixel.iter_mut().zip(source) {
                        *sum += weight * value;
                    }
                }
            }
        }
        Ok(&self.values)
    }
}

/// Spans of `target_px` pixels over `source_px` pixels.
fn spans(source_px: u32, target_px: u32) -> Vec<Span> {
    // One over a float32 in float64, rounded once: as in C.
    let inverse = (1.0 / f64::from(target_px as f32 / source_px as f32)) as f32;
    let stretch = inverse.max(1.0);
    let last = i64::from(source_px) - 1;
    let span = |index: u32| {
        let center = (index as f32 + 0.5) * inverse;
        let first = ((center - RADIUS_PX * stretch - 0.5).ceil() as i64).clamp(0, last);
        let end = ((center + RADIUS_PX * stretch - 0.5).floor() as i64).clamp(0, last);
        let distance = |at: i64| (at as f32 + 0.5 - center).abs() * (1.0 / stretch);
        let mut weights: Vec<f32> = (first..=end).map(|at| kernel(distance(at))).collect();
        let scale = 1.0 / weights.iter().fold(0.0, |sum, weight| sum + weight);
        weights.iter_mut().for_each(|weight| *weight *= scale);
        Span { first: first as usize, weights }
    };
    (0..target_px).map(span).collect()
}

/// The kernel at distance `x` in pixels of the smaller picture, float32 from left to right.
fn kernel(x: f32) -> f32 {
    use std::f32::consts::PI;
    if x > RADIUS_PX {
        0.0
    } else if x <= 1e-3 {
        1.0
    } else {
        RADIUS_PX * sine(PI * x) * sine(PI * x / RADIUS_PX) / (PI * PI * x * x)
    }
}

/// glibc's `sinf` for 0.001 to 100: a polynomial in float64 around the nearest multiple of a quarter turn, which is not
/// always the nearest float32. A correctly rounded sine gives weights that differ in the last bit, and one resized byte
/// in some fifty thousand that differs by 1. Written out here because the platform's own function may be another.
fn sine(angle: f32) -> f32 {
    use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, FRAC_PI_4};
    const SINE: [f64; 3] = [-0.16666654943701084, 0.008332178146138854, -0.00019517298981385725];
    const COSINE: [f64; 4] =
        [-0.49999999725108224, 0.041666623324344516, -0.001388676379437604, 2.4390450703564542e-05];
    let angle = f64::from(angle);
    let quadrant = if angle < FRAC_PI_4 { 0.0 } else { (angle * FRAC_2_PI + 0.5).floor() };
    let x = angle - quadrant * FRAC_PI_2;
    let square = x * x;
    let value = if quadrant % 2.0 == 0.0 {
        x + x * square * SINE[0] + x * square * square * (SINE[1] + square * SINE[2])
    } else {
        1.0 + square * COSINE[0]
            + square * square * COSINE[1]
            + square * square * square * (COSINE[2] + square * COSINE[3])
    };
    (if quadrant % 4.0 < 2.0 { value } else { -value }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sine_is_one_to_float32_rounding() {
        for step in 1..=1_000_000u32 {
            let angle = step as f32 * 1e-5;
            let exact = f64::from(angle).sin();
            // 0.56 units of the last place, as glibc's documentation says.
            assert!(
                (f64::from(sine(angle)) - exact).abs() <= 0.56 * 2f64.powi(-23) * exact.abs() + 1e-15,
                "sin({angle})"
            );
        }
    }

    #[test]
    fn the_weights_of_every_span_sum_to_one_and_lie_inside_the_picture() {
        let sides = [1, 2, 3, 5, 7, 16, 97, 131, 224, 256, 480, 640, 1280, 4096, 8192];
        for (source, target) in sides.into_iter().flat_map(|source| sides.map(|target| (source, target))) {
            for span in spans(source, target) {
                let sum: f32 = span.weights.iter().sum();
                assert!((sum - 1.0).abs() < 1e-4, "{source} -> {target}: {sum}");
                assert!(span.first + span.weights.len() <= source as usize, "{source} -> {target}");
            }
        }
    }
}
