//! What one 8×8 block looks like after it was written to a JPEG file and read again.
//!
//! From: samples `[row][column]` u8. To: the same, in place; [`super::jpeg`] cuts planes into blocks. Source: libjpeg's
//! accurate forward transform (Loeffler, Ligtenberg, Moschytz; 13 fraction bits) and its fast inverse one (Arai, Agui,
//! Nakajima; 8 fraction bits, products cut off), which TensorFlow decodes with, as its vector code computes them: the
//! inverse in 16 bits that wrap around. Hard checkerboards do overflow there, and come out as they do in TensorFlow.
//!
//! How: both passes transform down the rows, eight columns at once; the block is transposed in between.

use std::array::from_fn;
use wide::{f32x8, i16x8, i32x8};

/// Side of a block.
pub(super) const SIDE: usize = 8;
/// Eight rows of eight samples.
pub(super) type Block = [[u8; SIDE]; SIDE];

/// Centre of the sample range; what is transformed lies around 0.
const CENTER: u8 = 128;
/// Of quality 95: 200 - 2 * 95.
const QUALITY_SCALE: i32 = 10;
/// Fraction bits of the forward transform's factors, and those that its first pass adds.
const FORWARD_BITS: i32 = 13;
const EXTRA_BITS: i32 = 2;
/// Fraction bits of a block in front of the inverse transform's last rounding.
const INVERSE_BITS: i32 = 5;

const LUMA: [[i32; SIDE]; SIDE] = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
];
const CHROMA: [[i32; SIDE]; SIDE] = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    [99; SIDE],
    [99; SIDE],
    [99; SIDE],
    [99; SIDE],
];
/// Factors that the fast transform leaves out, one per frequency.
const FAST_SCALE: [f64; SIDE] =
    [1.0, 1.387_039_845, 1.306_562_965, 1.175_875_602, 1.0, 0.785_694_958, 0.541_196_100, 0.275_899_379];

/// The steps of one kind of plane, as both transforms need them.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    /// Of coefficients that are eight times too large.
    divisors: [i32x8; SIDE],
    /// From quantized coefficients to what the fast transform takes.
    multipliers: [i16x8; SIDE],
}

impl Steps {
    pub(super) fn luma() -> Self {
        Self::new(&LUMA)
    }

    pub(super) fn chroma() -> Self {
        Self::new(&CHROMA)
    }

    fn new(table: &[[i32; SIDE]; SIDE]) -> Self {
        let step = |row: usize, column: usize| ((table[row][column] * QUALITY_SCALE + 50) / 100).clamp(1, 255);
        let multiplier = |row: usize, column: usize| {
            let scale = (FAST_SCALE[row] * FAST_SCALE[column] * f64::from(1 << 14)).round() as i32;
            ((step(row, column) * scale + (1 << 11)) >> 12) as i16
        };
        Self {
            divisors: from_fn(|row| i32x8::new(from_fn(|column| 8 * step(row, column)))),
            multipliers: from_fn(|row| i16x8::new(from_fn(|column| multiplier(row, column)))),
        }
    }

    /// There and back.
    pub(super) fn code(&self, block: &mut Block) {
        let rows = block.map(|row| i32x8::new(row.map(|sample| i32::from(sample) - i32::from(CENTER))));
        let by_rows = forward(transposed(rows), true);
        let coefficients = forward(transposed(by_rows), false);
        let scaled = from_fn(|row| {
            let quantized = rounded_quotient(coefficients[row], self.divisors[row]);
            i16x8::from_i32x8_truncate(quantized) * self.multipliers[row]
        });
        let by_columns = inverse(scaled);
        let samples = transposed_16(inverse(transposed_16(by_columns)));
        for (row, samples) in block.iter_mut().zip(samples) {
            let around_zero = (samples >> INVERSE_BITS).max(i16x8::splat(-128)).min(i16x8::splat(127));
            *row = around_zero.to_array().map(|sample| (sample + i16::from(CENTER)) as u8);
        }
    }
}

/// Ties away from zero. The quotient of two whole numbers below 2^16 is far enough from the next one that its float32
/// has the same whole part.
#[inline]
fn rounded_quotient(value: i32x8, divisor: i32x8) -> i32x8 {
    let magnitude = f32x8::from_i32x8(value.abs() + (divisor >> 1)) / f32x8::from_i32x8(divisor);
    let (whole, sign) = (magnitude.fast_trunc_int(), value >> 31);
    (whole ^ sign) - sign
}

fn transposed(rows: [i32x8; SIDE]) -> [i32x8; SIDE] {
    let rows = rows.map(i32x8::to_array);
    from_fn(|row| i32x8::new(from_fn(|column| rows[column][row])))
}

fn transposed_16(rows: [i16x8; SIDE]) -> [i16x8; SIDE] {
    let rows = rows.map(i16x8::to_array);
    from_fn(|row| i16x8::new(from_fn(|column| rows[column][row])))
}

/// One pass of the accurate transform, down the rows. The first keeps two more fraction bits, the second removes them;
/// both together leave eight times the coefficient.
fn forward(x: [i32x8; SIDE], first: bool) -> [i32x8; SIDE] {
    let fixed = |factor: f64| i32x8::splat((factor * f64::from(1 << FORWARD_BITS)).round() as i32);
    let shift = if first { FORWARD_BITS - EXTRA_BITS } else { FORWARD_BITS + EXTRA_BITS };
    let scaled = |value: i32x8| (value + i32x8::splat(1 << (shift - 1))) >> shift;
    let plain = |value: i32x8| {
        if first { value << EXTRA_BITS } else { (value + i32x8::splat(1 << (EXTRA_BITS - 1))) >> EXTRA_BITS }
    };
    let sum: [i32x8; 4] = from_fn(|i| x[i] + x[7 - i]);
    let difference: [i32x8; 4] = from_fn(|i| x[i] - x[7 - i]);
    let (even, odd) = ([sum[0] + sum[3], sum[1] + sum[2]], [sum[0] - sum[3], sum[1] - sum[2]]);
    let z1 = (odd[0] + odd[1]) * fixed(0.541_196_100);
    let [t7, t6, t5, t4] = difference;
    let z5 = (t4 + t6 + t5 + t7) * fixed(1.175_875_602);
    let (z3, z4) = (z5 - (t4 + t6) * fixed(1.961_570_560), z5 - (t5 + t7) * fixed(0.390_180_644));
    let (z47, z56) = ((t4 + t7) * fixed(0.899_976_223), (t5 + t6) * fixed(2.562_915_447));
    [
        plain(even[0] + even[1]),
        scaled(t7 * fixed(1.501_321_110) - z47 + z4),
        scaled(z1 + odd[0] * fixed(0.765_366_865)),
        scaled(t6 * fixed(3.072_711_026) - z56 + z3),
        plain(even[0] - even[1]),
        scaled(t5 * fixed(2.053_119_869) - z56 + z4),
        scaled(z1 - odd[1] * fixed(1.847_759_065)),
        scaled(t4 * fixed(0.298_631_336) - z47 + z3),
    ]
}

/// One pass of the fast transform, down the rows, in 16 bits that wrap around.
fn inverse(x: [i16x8; SIDE]) -> [i16x8; SIDE] {
    // Products of 16 bits whose upper half is kept: both factors are scaled up together by 2^8.
    let upper = |value: i16x8, factor: i16| value.mul_keep_high(i16x8::splat(factor << 6));
    let times = |value: i16x8, factor: i16| upper(value << 2, factor);
    let (sum_04, difference_04) = (x[0] + x[4], x[0] - x[4]);
    let sum_26 = x[2] + x[6];
    let turned = times(x[2] - x[6], 362) - sum_26;
    let even = [sum_04 + sum_26, difference_04 + turned, difference_04 - turned, sum_04 - sum_26];

    let (z13, z10, z11, z12) = (x[5] + x[3], x[5] - x[3], x[1] + x[7], x[1] - x[7]);
    let z5 = upper((z10 << 2) + (z12 << 2), 473);
    let t7 = z11 + z13;
    let t6 = times(z10, -413) - z10 + z5 - t7;
    let t5 = times(z11 - z13, 362) - t6;
    let t4 = times(z12, 277) - z5 + t5;
    [even[0] + t7, even[1] + t6, even[2] + t5, even[3] - t4, even[3] + t4, even[2] - t5, even[1] - t6, even[0] - t7]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_one_colour_stays_as_it_is() {
        for steps in [Steps::luma(), Steps::chroma()] {
            for colour in 0..=255 {
                let mut block = [[colour; SIDE]; SIDE];
                steps.code(&mut block);
                // A step of 2 in the mean of 64 samples is a quarter of a grey level.
                assert!(block.iter().flatten().all(|sample| sample.abs_diff(colour) <= 1), "{colour}: {block:?}");
            }
        }
    }

    #[test]
    fn steps_are_those_of_quality_95() {
        let steps = |steps: Steps, row: usize| steps.divisors[row].to_array().map(|divisor| divisor / 8);
        assert_eq!((steps(Steps::luma(), 0), steps(Steps::luma(), 7)[7]), ([2, 1, 1, 2, 2, 4, 5, 6], 10));
        assert_eq!((steps(Steps::chroma(), 0), steps(Steps::chroma(), 7)[7]), ([2, 2, 2, 5, 10, 10, 10, 10], 10));
    }

    /// All values that eight times a coefficient can have, and all steps that quality 95 has.
    #[test]
    fn quotients_are_rounded_with_ties_away_from_zero() {
        for divisor in (8..=2040).step_by(8) {
            for value in -16384..=16384i32 {
                let expected = value.signum() * ((value.abs() + divisor / 2) / divisor);
                let found = rounded_quotient(i32x8::splat(value), i32x8::splat(divisor)).to_array()[0];
                assert_eq!(found, expected, "{value} / {divisor}");
            }
        }
    }
}
