//! Which source pixels make up one target pixel in Pillow's bicubic, and with which fixed-point weights.
//!
//! From: one side of source and target, in pixels. To: [`super::resize_pillow`]. Source: Pillow's 8-bit resampling
//! (`Image.resize`, `BICUBIC`): Keys' kernel with a = -0.5, stretched by the scale when shrinking (antialias), cut off
//! at the border and normalized to sum 1, then rounded to 22 fractional bits. `runtime/tests/perception_resize.rs`
//! compares pictures bit for bit.

/// Fractional bits of a weight: 32 bits less 8 for the pixel and 2 for sign and overshoot.
pub(super) const WEIGHT_BITS: u32 = 22;
/// Fractional bits of [`TapPair::low`]; what is above them is [`TapPair::high`].
pub(super) const LOW_BITS: u32 = 12;
/// Half-width of the kernel in pixels of the smaller picture.
const SUPPORT_PX: f64 = 2.0;

/// Weights of two neighbouring source pixels, each split as `high * 2^12 + low`.
///
/// Both halves fit 16 bits, so that a 16-bit multiply-and-add of two taps, which every vector unit has since SSE2, is
/// exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TapPair {
    pub(super) high: [i16; 2],
    pub(super) low: [i16; 2],
}

/// The source pixels of one target pixel: `first`, `first + 1`, … two per pair.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    first: usize,
    pairs_begin: usize,
    pairs_end: usize,
}

/// One side of the picture: the window of every target pixel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AxisTaps {
    windows: Vec<Window>,
    pairs: Vec<TapPair>,
}

impl AxisTaps {
    /// Windows of `target_px` pixels over `source_px` pixels. An odd window's last pair has weight 0 on its second
    /// pixel, which may lie one past the source: callers keep one spare line there.
    pub(super) fn new(source_px: u32, target_px: u32) -> Self {
        let scale = f64::from(source_px) / f64::from(target_px);
        let stretch = scale.max(1.0);
        let mut taps = Self { windows: Vec::with_capacity(target_px as usize), pairs: Vec::new() };
        let mut weights = Vec::new();
        for target in 0..target_px {
            let center = (f64::from(target) + 0.5) * scale;
            // Truncation of a possibly negative number, then the border: exactly as in C.
            let begin = ((center - SUPPORT_PX * stretch + 0.5) as i64).max(0);
            let end = ((center + SUPPORT_PX * stretch + 0.5) as i64).min(i64::from(source_px));
            weights.clear();
            weights.extend((begin..end).map(|at| keys_kernel((at as f64 - center + 0.5) * (1.0 / stretch))));
            let sum = weights.iter().fold(0.0, |sum, weight| sum + weight);
            if sum != 0.0 {
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            let pairs_begin = taps.pairs.len();
            taps.pairs.extend(weights.chunks(2).map(|two| TapPair::new(two[0], two.get(1).copied().unwrap_or(0.0))));
            taps.windows.push(Window { first: begin as usize, pairs_begin, pairs_end: taps.pairs.len() });
        }
        taps
    }

    /// First source pixel and weights of every target pixel, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[TapPair])> {
        self.windows.iter().map(|window| (window.first, &self.pairs[window.pairs_begin..window.pairs_end]))
    }
}

impl TapPair {
    fn new(first: f64, second: f64) -> Self {
        let fixed = [first, second].map(fixed_point);
        Self {
            high: fixed.map(|weight| (weight >> LOW_BITS) as i16),
            low: fixed.map(|weight| (weight & ((1 << LOW_BITS) - 1)) as i16),
        }
    }
}

/// Round half away from zero, as Pillow does.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1u32 << WEIGHT_BITS);
    if weight < 0.0 { (scaled - 0.5) as i32 } else { (scaled + 0.5) as i32 }
}

fn keys_kernel(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 255 times the sum of absolute weights plus one half must fit 31 bits; the low halves may wrap, the whole may
    /// not.
    #[test]
    fn no_window_can_overflow_32_bits() {
        let sides = [1, 2, 3, 5, 7, 16, 97, 112, 131, 224, 256, 480, 640, 720, 1280, 4096, 8192];
        for (source, target) in sides.into_iter().flat_map(|source| sides.map(|target| (source, target))) {
            for (first, pairs) in AxisTaps::new(source, target).iter() {
                let weights = pairs
                    .iter()
                    .flat_map(|pair| [0, 1].map(|i| (i64::from(pair.high[i]) << LOW_BITS) + i64::from(pair.low[i])));
                let absolute: i64 = weights.map(i64::abs).sum();
                assert!(
                    absolute * 255 + (1 << (WEIGHT_BITS - 1)) <= i64::from(i32::MAX),
                    "{source} -> {target}: {absolute}"
                );
                assert!(
                    !pairs.is_empty() && first + 2 * pairs.len() <= source as usize + 1,
                    "{source} -> {target}: past the spare line"
                );
            }
        }
    }

    #[test]
    fn the_same_size_is_the_identity() {
        for (target, (first, pairs)) in AxisTaps::new(9, 9).iter().enumerate() {
            for (pair, tap) in pairs.iter().zip((first..).step_by(2)) {
                let expected = [0, 1].map(|i| if tap + i == target { 1024 } else { 0 });
                assert_eq!((pair.high, pair.low), (expected, [0, 0]), "pixel {target}");
            }
        }
    }
}
