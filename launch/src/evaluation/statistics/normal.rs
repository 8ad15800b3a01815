//! Quantiles of the standard normal distribution, to the last few bits.

use std::f64::consts::{PI, SQRT_2};

/// The z above which `tail` of the distribution lies; `tail` in `(0, 1)`.
///
/// Newton's method on libm's `erfc`, from the tail's leading term (Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.2.12);
/// the upper tail of a normal is log-concave, so that Newton on its logarithm converges from everywhere.
pub(super) fn upper_quantile(tail: f64) -> f64 {
    if tail > 0.5 {
        return -upper_quantile(1.0 - tail);
    }
    let mut z = (-2.0 * tail.ln()).sqrt() - 0.5;
    for _ in 0..64 {
        let above = libm::erfc(z / SQRT_2) / 2.0;
        let density = (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
        let step = (above.ln() - tail.ln()) * above / density;
        z += step;
        if step.abs() <= 1e-15 * z.abs().max(1.0) {
            break;
        }
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: scipy.stats.norm.isf.
    #[test]
    fn quantiles_agree_with_scipy() {
        let expected = [
            (0.5, 0.0),
            (0.025, 1.959_963_984_540_054),
            (0.2, 0.841_621_233_572_914_3),
            (0.8, -0.841_621_233_572_914_3),
            (0.000_5, 3.290_526_731_491_894_5),
            (1e-12, 7.034_483_825_301_131),
            (0.499, 0.002_506_630_899_571_767_4),
        ];
        for (tail, z) in expected {
            let found = upper_quantile(tail);
            assert!((found - z).abs() <= 1e-12 * z.abs().max(1e-3), "{tail}: {found}, expected {z}");
        }
    }
}
