//! Which source pixels make up one target pixel in OpenCV's INTER_AREA, and with which weights.
//!
//! From: one side of source and target, in pixels. To: [`super::resize_area`]. Source: OpenCV 4 `cv::resize` for 8-bit
//! pictures; the order of every operation and its precision (float64 positions, float32 or 11-bit weights) are part of
//! the result.

/// Fractional bits of the weights that OpenCV uses when it enlarges.
pub(super) const LINEAR_BITS: u32 = 11;
/// An overlap below this share of a pixel is left out.
const OVERLAP_PX_MIN: f64 = 1e-3;

/// Source pixels per target pixel, from the same division and reciprocal as OpenCV, so that it rounds alike.
pub(super) fn scale(source_px: u32, target_px: u32) -> f64 {
    1.0 / inverse_scale(source_px, target_px)
}

fn inverse_scale(source_px: u32, target_px: u32) -> f64 {
    f64::from(target_px) / f64::from(source_px)
}

/// `scale` as a whole number, if it is one.
pub(super) fn whole(scale: f64) -> Option<usize> {
    let rounded = scale.round_ties_even();
    ((scale - rounded).abs() < f64::EPSILON).then_some(rounded as usize)
}

/// One source pixel and its share of one target pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    pub(super) source: usize,
    pub(super) target: usize,
    pub(super) weight: f32,
}

/// Shares in ascending order when shrinking by `scale >= 1`.
pub(super) fn shares(source_px: u32, target_px: u32, scale: f64) -> Vec<Share> {
    let mut shares = Vec::new();
    let last = f64::from(source_px) - 1.0;
    for target in 0..target_px as usize {
        let begin = target as f64 * scale;
        let end = begin + scale;
        let cell_px = scale.min(f64::from(source_px) - begin);
        let whole_end = end.floor().min(last);
        let whole_begin = begin.ceil().min(whole_end);
        let mut push =
            |source: f64, weight: f64| shares.push(Share { source: source as usize, target, weight: weight as f32 });
        if whole_begin - begin > OVERLAP_PX_MIN {
            push(whole_begin - 1.0, (whole_begin - begin) / cell_px);
        }
        for source in whole_begin as usize..whole_end as usize {
            push(source as f64, 1.0 / cell_px);
        }
        if end - whole_end > OVERLAP_PX_MIN {
            push(whole_end, (end - whole_end).min(1.0).min(cell_px) / cell_px);
        }
    }
    shares
}

/// Two source pixels and their 11-bit weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Blend {
    pub(super) sources: [usize; 2],
    pub(super) weights: [i32; 2],
}

/// Which border rule OpenCV applies: it treats the two axes differently, which only shows in the weights at the far
/// end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Border {
    /// Columns: from the last pixel on, all weight is on it.
    LastTakesAll,
    /// Rows: weights stay, the row that is missing is the last one again.
    Repeat,
}

/// Blends when at least one axis is enlarged: bilinear, with weights taken from the areas.
pub(super) fn blends(source_px: u32, target_px: u32, border: Border) -> Vec<Blend> {
    let scale = scale(source_px, target_px);
    let inverse = inverse_scale(source_px, target_px);
    let last = source_px as usize - 1;
    let one = f32::from(1u16 << LINEAR_BITS);
    let blend = |target: u32| {
        let first = (f64::from(target) * scale).floor() as usize;
        let raw = ((f64::from(target) + 1.0) - (first as f64 + 1.0) * inverse) as f32;
        let mut second = if raw <= 0.0 { 0.0 } else { raw - raw.floor() };
        if border == Border::LastTakesAll && first >= last {
            second = 0.0;
        }
        let weights = [1.0 - second, second].map(|weight| (weight * one).round_ties_even() as i32);
        Blend { sources: [first.min(last), (first + 1).min(last)], weights }
    };
    (0..target_px).map(blend).collect()
}
