//! Quantiles of the standard normal distribution, to the last few bits.

use egogrid_action_grids::gaussian;

/// The z above which `tail` of the distribution lies; `tail` in `(0, 1)`.
pub(super) fn upper_quantile(tail: f64) -> f64 {
    -gaussian::quantile(tail) // by symmetry, and from the small side
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
