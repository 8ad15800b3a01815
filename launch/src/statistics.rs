//! Figures for people: quantiles of times. Those of success rates are `evaluation::statistics`.

pub use crate::evaluation::statistics::wilson_95;
use egogrid_runtime::live::Histogram;
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

    /// Of counted times, in milliseconds; up to an eighth too large, see [`Histogram`]. `None` before the first.
    pub fn of_ms(times: &Histogram) -> Option<Self> {
        let ms = |share| quantile_ms(times, share);
        let n = usize::try_from(times.count()).unwrap_or(usize::MAX);
        Some(Self { n, p50: ms(0.5)?, p90: ms(0.9)?, p99: ms(0.99)?, max: times.max().as_secs_f64() * 1e3 })
    }
}

/// [`Quantiles`] of times that there are enough of to ask for one in a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TailQuantiles {
    /// The others.
    #[serde(flatten)]
    pub quantiles: Quantiles,
    /// 99.9 %.
    pub p999: f64,
}

impl TailQuantiles {
    /// As [`Quantiles::of_ms`].
    pub fn of_ms(times: &Histogram) -> Option<Self> {
        Some(Self { quantiles: Quantiles::of_ms(times)?, p999: quantile_ms(times, 0.999)? })
    }
}

/// What this share of the times did not exceed, in milliseconds.
pub fn quantile_ms(times: &Histogram, share: f64) -> Option<f64> {
    times.quantile(share).map(|time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_values() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let quantiles = Quantiles::of(&values).unwrap();
        assert_eq!((quantiles.p50, quantiles.p90, quantiles.p99, quantiles.max), (50.0, 90.0, 99.0, 100.0));
        assert_eq!(Quantiles::of(&[]), None);
    }

    #[test]
    fn quantiles_of_counted_times_are_at_most_an_eighth_too_large() {
        let mut times = Histogram::default();
        assert_eq!(TailQuantiles::of_ms(&times), None);
        (1..=1000).for_each(|us| times.add(std::time::Duration::from_micros(us)));
        let found = TailQuantiles::of_ms(&times).unwrap();
        let figures = found.quantiles;
        for (found, exact) in [(figures.p50, 0.5), (figures.p90, 0.9), (figures.p99, 0.99), (found.p999, 0.999)] {
            assert!((exact..=exact * 1.125).contains(&found), "{exact}: {found}");
        }
        assert_eq!((figures.n, figures.max), (1000, 1.0));
    }
}
