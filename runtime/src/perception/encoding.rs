//! Frequency encoding: each coordinate to itself, its sines and its cosines at doubling frequencies.
//!
//! From: [`super::ego3d`], normalized coordinates (no unit). To: the `freq_encoding` input, number-major, per coordinate
//! `[n, sin(2^0 n) … sin(2^(k-1) n), cos(2^0 n) … cos(2^(k-1) n)]`. Source: SpatialVLA's Ego3D position encoding (no
//! factor pi).
//!
//! How: one sine and cosine per coordinate in float64, then angle doubling. Each doubling loses about one bit of 53, so
//! that [`FREQUENCIES_MAX`] of them are still exact to float32.

use super::arithmetic::Arithmetic;
use std::array::from_fn;
use wide::f64x4;

/// Most frequencies of one encoding.
pub const FREQUENCIES_MAX: u32 = 16;
const LANES: usize = 4;

/// Values per coordinate.
pub(super) fn encoded_len(frequencies: usize) -> usize {
    1 + 2 * frequencies
}

/// Encodes `coordinates` into `target`, which is [`encoded_len`] times as long.
pub(super) fn encode(coordinates: &[f32], frequencies: usize, arithmetic: Arithmetic, target: &mut [f32]) {
    let step = encoded_len(frequencies);
    for (group, slots) in coordinates.chunks(LANES).zip(target.chunks_mut(LANES * step)) {
        let n: [f32; LANES] = from_fn(|i| arithmetic.round(group.get(i).copied().unwrap_or(0.0)));
        let (mut sin, mut cos) = f64x4::new(n.map(f64::from)).sin_cos();
        for (slot, n) in slots.chunks_exact_mut(step).zip(n) {
            slot[0] = n;
        }
        for k in 0..frequencies {
            let (sines, cosines) = (sin.to_array(), cos.to_array());
            for (i, slot) in slots.chunks_exact_mut(step).enumerate() {
                slot[1 + k] = arithmetic.round(sines[i] as f32);
                slot[1 + frequencies + k] = arithmetic.round(cosines[i] as f32);
            }
            let twice = sin + sin;
            (sin, cos) = (twice * cos, 1.0 - twice * sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frequency_is_within_half_a_float32_step_of_the_library_sine() {
        for frequencies in [1, 8, FREQUENCIES_MAX as usize] {
            let coordinates: Vec<f32> =
                (-3000..=3000).map(|i| i as f32 * 0.00731 * if i % 7 == 0 { 4000.0 } else { 1.0 }).collect();
            let mut encoded = vec![f32::NAN; coordinates.len() * encoded_len(frequencies)];
            encode(&coordinates, frequencies, Arithmetic::F32, &mut encoded);
            for (n, slot) in coordinates.iter().zip(encoded.chunks_exact(encoded_len(frequencies))) {
                assert_eq!(slot[0], *n);
                for k in 0..frequencies {
                    let angle = f64::from(*n) * f64::from(1u32 << k);
                    let (sin, cos) = (f64::from(slot[1 + k]), f64::from(slot[1 + frequencies + k]));
                    let worst = (sin - angle.sin()).abs().max((cos - angle.cos()).abs());
                    assert!(worst <= 3.1e-8, "n = {n}, frequency 2^{k}: off by {worst}");
                }
            }
        }
    }

    #[test]
    fn bfloat16_emulation_rounds_the_angle_first_and_the_sine_last() {
        let mut encoded = [0.0; 3];
        encode(&[1.003], 1, Arithmetic::Bf16Emulation, &mut encoded);
        assert_eq!(encoded, [1.0, 0.839_843_75, 0.539_062_5]); // sin 1, cos 1
    }
}
