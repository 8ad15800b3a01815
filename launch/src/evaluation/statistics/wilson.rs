//! The interval of one success rate.

use super::{Confidence, Counts, Interval};

/// Wilson's score interval; `None` without episodes.
///
/// Holds the truth about as often as it says from a handful of episodes on, at 0 % and 100 % too, where rate ± z standard errors says
/// nothing. Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
pub fn interval(counts: Counts, confidence: Confidence) -> Option<Interval> {
    Some(of_rate(counts.rate()?, counts.episodes() as f64, confidence.z()))
}

/// The same of plain counts at 95 %; `None` for counts that cannot be.
pub fn wilson_95(successes: u32, trials: u32) -> Option<Interval> {
    let counts = Counts::new(u64::from(successes), u64::from(trials)).ok()?;
    interval(counts, Confidence::P95)
}

/// The same for a rate and any positive number of episodes, also an effective one.
pub(super) fn of_rate(rate: f64, episodes: f64, z: f64) -> Interval {
    let center = rate + z * z / (2.0 * episodes);
    let half = z * (rate * (1.0 - rate) / episodes + z * z / (4.0 * episodes * episodes)).sqrt();
    let scale = 1.0 + z * z / episodes;
    // At the two ends both terms are the same number; what is left is rounding.
    let low = if rate <= 0.0 { 0.0 } else { ((center - half) / scale).clamp(0.0, rate) };
    let high = if rate >= 1.0 { 1.0 } else { ((center + half) / scale).clamp(rate, 1.0) };
    [low, high]
}

/// Episodes after which the interval at this rate is no wider than `width`.
pub fn episodes_for_width(rate: f64, width: f64, confidence: Confidence) -> u64 {
    let z = confidence.z();
    let wide = |episodes: u64| {
        let [low, high] = of_rate(rate, episodes as f64, z);
        high - low > width
    };
    let mut high = 1_u64;
    while wide(high) && high < super::counts::COUNT_MAX {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if wide(middle) { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(successes: u64, episodes: u64) -> Interval {
        interval(Counts::new(successes, episodes).unwrap(), Confidence::P95).unwrap()
    }

    #[test]
    fn the_interval_holds_the_rate_is_symmetric_and_grows_with_the_successes() {
        for episodes in 1..=60 {
            let mut last = [-1.0, -1.0];
            for successes in 0..=episodes {
                let [low, high] = at(successes, episodes);
                let rate = successes as f64 / episodes as f64;
                assert!(0.0 <= low && low <= rate && rate <= high && high <= 1.0, "{successes}/{episodes}");
                assert!(low > last[0] && high > last[1], "{successes}/{episodes} is not above the one before");
                last = [low, high];
                let [mirrored_high, mirrored_low] = at(episodes - successes, episodes).map(|end| 1.0 - end);
                assert!((low - mirrored_low).abs() < 1e-14 && (high - mirrored_high).abs() < 1e-14);
            }
        }
        assert_eq!(interval(Counts::default(), Confidence::P95), None);
        assert_eq!((wilson_95(0, 0), wilson_95(2, 1), wilson_95(7, 10)), (None, None, Some(at(7, 10))));
    }

    #[test]
    fn more_confidence_and_fewer_episodes_make_it_wider() {
        let width = |successes, episodes, confidence| {
            let counts = Counts::new(successes, episodes).unwrap();
            let [low, high] = interval(counts, Confidence::new(confidence).unwrap()).unwrap();
            high - low
        };
        for (successes, episodes) in [(0, 10), (5, 10), (9, 10), (10, 10)] {
            assert!(width(successes, episodes, 0.99) > width(successes, episodes, 0.95));
            assert!(width(successes, episodes, 0.95) > width(successes * 2, episodes * 2, 0.95));
        }
    }

    #[test]
    fn episodes_for_a_width_are_the_fewest() {
        for (rate, width) in [(0.5, 0.1), (0.9, 0.1), (1.0, 0.1), (0.0, 0.01), (0.3, 0.9)] {
            let found = episodes_for_width(rate, width, Confidence::P95);
            let wide = |episodes: u64| {
                let [low, high] = of_rate(rate, episodes as f64, Confidence::P95.z());
                high - low
            };
            assert!(wide(found) <= width, "{rate} {width}: {found}");
            assert!(found == 1 || wide(found - 1) > width, "{rate} {width}: {found}");
        }
        assert_eq!(episodes_for_width(0.5, 0.1, Confidence::P95), 381);
    }
}
