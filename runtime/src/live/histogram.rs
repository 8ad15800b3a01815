//! How long something took, counted in buckets of an eighth of an octave: quantiles without memory, in a tick.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const STEPS_LOG2: u32 = 3;
/// The last bucket begins above an hour.
const BUCKETS: usize = 42 << STEPS_LOG2;

/// Counts durations. A quantile is at most an eighth too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; BUCKETS],
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], count: 0, sum_ns: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// One more.
    pub fn add(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = &mut self.counts[bucket(ns)];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// How many there were in each octave, with the longest that belongs to it: 7 ns, 15 ns, 31 ns, … up to an hour. What
    /// took longer than that is in none of them.
    pub fn octaves(&self) -> impl Iterator<Item = (Duration, u64)> {
        let (finite, _) = self.counts.split_at(BUCKETS - (1 << STEPS_LOG2)); // the last octave has no end
        finite.chunks(1 << STEPS_LOG2).enumerate().map(|(octave, counts)| {
            let longest = Duration::from_nanos(upper_ns(((octave + 1) << STEPS_LOG2) - 1));
            (longest, counts.iter().map(|count| u64::from(*count)).sum())
        })
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// What this share (0..1) of them did not exceed; `None` before the first.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Some(Duration::from_nanos(upper_ns(index).min(self.max_ns)));
            }
        }
        None
    }
}

/// Exact below 8 ns; from there on the leading bit and the three after it.
fn bucket(ns: u64) -> usize {
    let octave = ns.max(1).ilog2();
    if octave < STEPS_LOG2 {
        return ns as usize;
    }
    let step = (ns >> (octave - STEPS_LOG2)) as usize & ((1 << STEPS_LOG2) - 1);
    ((((octave - STEPS_LOG2 + 1) as usize) << STEPS_LOG2) + step).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper_ns(bucket: usize) -> u64 {
    let (octave, step) = (bucket >> STEPS_LOG2, (bucket & ((1 << STEPS_LOG2) - 1)) as u64);
    match octave {
        0 => step,
        octave => (((1 << STEPS_LOG2) + step + 1) << (octave - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_quantile_is_never_too_small_and_at_most_an_eighth_too_large() {
        for ns in (0..200).chain([999, 1_000, 12_345, 1_000_000, 987_654_321, 3_600_000_000_000]) {
            let mut histogram = Histogram::default();
            histogram.add(Duration::from_nanos(ns));
            histogram.add(Duration::from_secs(7200));
            let found = histogram.quantile(0.5).unwrap().as_nanos() as u64;
            assert!(found >= ns && found <= ns + ns / 8, "{ns}: {found}");
        }
    }

    #[test]
    fn quantiles_count_from_the_smallest() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=100).for_each(|us| histogram.add(Duration::from_micros(us)));
        let us = |share| histogram.quantile(share).unwrap().as_micros();
        assert!((50..=57).contains(&us(0.5)) && (99..=100).contains(&us(0.99)), "{} {}", us(0.5), us(0.99));
        assert_eq!((histogram.count(), histogram.max()), (100, Duration::from_micros(100)));
    }

    #[test]
    fn octaves_end_where_buckets_do_and_hold_everything_up_to_an_hour() {
        let mut histogram = Histogram::default();
        let times = [0, 7, 8, 15, 16, 1023, 1024, 1_000_000, 7_200_000_000_000];
        times.iter().for_each(|ns| histogram.add(Duration::from_nanos(*ns)));
        let (mut last, mut seen) = (Duration::ZERO, 0);
        for (longest, count) in histogram.octaves() {
            assert!(longest > last && (longest.as_nanos() + 1).is_power_of_two(), "{longest:?}");
            (last, seen) = (longest, seen + count);
            let expected = times.iter().filter(|ns| u128::from(**ns) <= longest.as_nanos()).count();
            assert_eq!(seen, expected as u64, "{longest:?}");
        }
        assert!(last > Duration::from_secs(3600), "{last:?}");
        assert_eq!(histogram.sum(), Duration::from_nanos(times.iter().sum()));
    }
}
