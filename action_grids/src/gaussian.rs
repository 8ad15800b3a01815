//! The normal distribution and its inverse, float64.
//!
//! From and to: `fit`. Accuracy: a few units in the last place of the true value, both tails included. Fitted edges
//! have to be within 1e-12 of those that the official code gets from scipy's `ndtr` and `ndtri`; that is measured
//! in `tests/golden.rs`.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// Probability of a standard normal value below `x`. NaN gives NaN.
pub fn cdf(x: f64) -> f64 {
    let scaled = x * FRAC_1_SQRT_2;
    if scaled.abs() < FRAC_1_SQRT_2 {
        return 0.5 + 0.5 * libm::erf(scaled);
    }
    // Both tails from the small side: the rounding of `1 - tail` is then the same for everybody who does so.
    let tail = 0.5 * libm::erfc(scaled.abs());
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// The `x` with `cdf(x) == p`: minus infinity for 0, infinity for 1, NaN outside `[0, 1]`.
pub fn quantile(p: f64) -> f64 {
    match p {
        _ if !(0.0..=1.0).contains(&p) => f64::NAN,
        0.0 => f64::NEG_INFINITY,
        1.0 => f64::INFINITY,
        _ if p <= 0.5 => lower_quantile(p),
        _ => -lower_quantile(1.0 - p),
    }
}

/// For `0 < p <= 0.5`: a rational start (error below 5e-4), then Halley's method, which triples the digits each time.
fn lower_quantile(p: f64) -> f64 {
    const STEPS_MAX: usize = 4;
    let mut x = -upper_tail_start(p);
    for _ in 0..STEPS_MAX {
        let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
        let newton = (0.5 * libm::erfc(-x * FRAC_1_SQRT_2) - p) / density;
        let step = newton / (1.0 + 0.5 * x * newton);
        if !step.is_finite() || step == 0.0 {
            break;
        }
        x -= step;
    }
    x
}

/// Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.23.
fn upper_tail_start(p: f64) -> f64 {
    let t = (-2.0 * p.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

#[cfg(test)]
mod tests {
    use super::{cdf, quantile};

    #[test]
    fn quantile_inverts_cdf_in_the_lower_tail_and_the_middle() {
        for step in -3_500..=0 {
            let x = f64::from(step) / 100.0;
            let back = quantile(cdf(x));
            assert!((back - x).abs() <= 4e-15 * x.abs().max(1.0), "{x} came back as {back}");
        }
    }

    #[test]
    fn known_values_hold_to_the_last_digits() {
        // Values of scipy 1.14.1: ndtr and ndtri.
        for (x, p) in [
            (-37.0, 5.725_571_222_523_927e-300),
            (-5.0, 2.866_515_718_791_933e-7),
            (-1.0, 0.158_655_253_931_457_07),
            (0.25, 0.598_706_325_682_923_7),
            (3.0, 0.998_650_101_968_369_9),
        ] {
            // A unit in the last place of x is x * x of them in p.
            assert!((cdf(x) / p - 1.0).abs() < 1e-14 + 1e-16 * x * x, "cdf({x}) = {}", cdf(x));
        }
        for (p, x) in [
            (1e-300, -37.047_096_299_361_2),
            (1e-20, -9.262_340_089_798_409),
            (0.1, -1.281_551_565_544_600_4),
            (0.4, -0.253_347_103_135_799_7),
            (0.999_999_9, 5.199_337_582_290_661),
        ] {
            assert!((quantile(p) - x).abs() < 2e-14 * x.abs().max(1.0), "quantile({p}) = {}", quantile(p));
        }
    }

    #[test]
    fn the_ends_are_infinite_and_the_rest_is_not_a_number() {
        assert_eq!([quantile(0.0), quantile(1.0)], [f64::NEG_INFINITY, f64::INFINITY]);
        assert_eq!([cdf(f64::NEG_INFINITY), cdf(f64::INFINITY)], [0.0, 1.0]);
        assert!(quantile(5e-324).is_finite() && quantile(1.0 - f64::EPSILON / 2.0).is_finite());
        assert!(
            [quantile(-1e-300), quantile(1.0 + 1e-15), quantile(f64::NAN), cdf(f64::NAN)].iter().all(|x| x.is_nan())
        );
    }
}
