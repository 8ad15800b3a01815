//! Figures for people: quantiles of times, intervals of success rates.

use serde::Serialize;

/// Quantiles of a sample, in the sample's unit. `n` says how much they are worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Values in the sample.
    pub n: usize,
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Quantiles {
    /// Nearest-rank quantiles: each is a value that was measured. `None` for an empty sample.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let rank = |share: f64| sorted[((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last)];
        Some(Self { n: sorted.len(), p50: rank(0.5), p90: rank(0.9), p99: rank(0.99), max: sorted[last] })
    }
}

/// Wilson score interval of a success rate at 95 %, `[low, high]`. `None` without trials.
///
/// Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
pub fn wilson_95(successes: u32, trials: u32) -> Option<[f64; 2]> {
    const Z: f64 = 1.959_963_984_540_054; // the normal quantile of 0.975
    if trials == 0 || successes > trials {
        return None;
    }
    let n = f64::from(trials);
    let rate = f64::from(successes) / n;
    let center = rate + Z * Z / (2.0 * n);
    let half = Z * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some([((center - half) / scale).max(0.0), ((center + half) / scale).min(1.0)])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Expected values: scipy.stats.binomtest(k, n).proportion_ci(0.95, "wilson").
    #[test]
    fn wilson_agrees_with_scipy() {
        let expected = [
            (47, 50, 0.837_829_083_111_618_2, 0.979_385_029_651_026),
            (0, 10, 0.0, 0.277_532_799_862_889_26),
            (10, 10, 0.722_467_200_137_110_9, 1.0),
            (233, 250, 0.893_810_747_814_296_3, 0.957_114_081_421_639_7),
        ];
        for (successes, trials, low, high) in expected {
            let [l, h] = wilson_95(successes, trials).unwrap();
            assert!((l - low).abs() < 1e-12 && (h - high).abs() < 1e-12, "{successes}/{trials}: [{l}, {h}]");
        }
        assert_eq!(wilson_95(0, 0), None);
    }

    #[test]
    fn quantiles_are_measured_values() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let quantiles = Quantiles::of(&values).unwrap();
        assert_eq!((quantiles.p50, quantiles.p90, quantiles.p99, quantiles.max), (50.0, 90.0, 99.0, 100.0));
        assert_eq!(Quantiles::of(&[]), None);
    }
}
