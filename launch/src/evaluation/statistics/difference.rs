//! The interval of the difference of two success rates: paired by episode, unpaired, and of two suites.
//!
//! Square-and-add: the distance from each rate to the end of its own Wilson interval is what one would call its error on that side; errors
//! add as squares, less what pairing takes off. Sources: R. G. Newcombe, "Interval estimation for the difference between independent
//! proportions: comparison of eleven methods", Statistics in Medicine 17 (1998) 873-890, method 10; and "Improved confidence intervals for
//! the difference between binomial proportions based on paired data", the same volume, 2635-2650, method 10.
//!
//! Differences are second minus first.

use super::{Confidence, Counts, Interval, PairedCounts, Rate};
use serde::Serialize;

/// A difference and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Second minus first.
    pub difference: f64,
    /// Of that.
    pub interval: Interval,
}

fn square_and_add(a: Rate, b: Rate, correlation: f64) -> Difference {
    let added = |x: f64, y: f64| (x * x - 2.0 * correlation * x * y + y * y).max(0.0).sqrt();
    let difference = b.rate - a.rate;
    let below = added(b.rate - b.interval[0], a.interval[1] - a.rate);
    let above = added(b.interval[1] - b.rate, a.rate - a.interval[0]);
    Difference { difference, interval: [(difference - below).max(-1.0), (difference + above).min(1.0)] }
}

/// Of different episodes. `None` where one of them has none.
pub fn unpaired(a: Counts, b: Counts, confidence: Confidence) -> Option<Difference> {
    Some(square_and_add(Rate::of_task(a, confidence)?, Rate::of_task(b, confidence)?, 0.0))
}

/// Of the same episodes. `None` without pairs.
pub fn paired(pairs: PairedCounts, confidence: Confidence) -> Option<Difference> {
    let rate = |counts| Rate::of_task(counts, confidence);
    Some(square_and_add(rate(pairs.a())?, rate(pairs.b())?, correlation(&[pairs])))
}

/// Of the means of two suites on the same episodes, each task with the same weight. `None` where a task has no pairs.
///
/// The same square-and-add over the suites' intervals ([`Rate::of_suite`]), with the correlation of the means. One task is [`paired`].
pub fn suites(tasks: &[PairedCounts], confidence: Confidence) -> Option<Difference> {
    let rate = |of: fn(PairedCounts) -> Counts| Rate::of_suite(tasks.iter().copied().map(of), confidence);
    Some(square_and_add(rate(PairedCounts::a)?, rate(PairedCounts::b)?, correlation(tasks)))
}

/// Of the two means, with the continuity correction that makes this method 10: what would be positive is taken by half an episode less.
fn correlation(tasks: &[PairedCounts]) -> f64 {
    let (mut covariance, mut of_a, mut of_b, mut weights, mut pairs_all) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for task in tasks {
        let pairs = task.pairs() as f64;
        let [both, only_a, only_b, neither] = [task.both, task.only_a, task.only_b, task.neither].map(|n| n as f64);
        covariance += (both * neither - only_a * only_b) / pairs.powi(3);
        of_a += (both + only_a) * (only_b + neither) / pairs.powi(3);
        of_b += (both + only_b) * (only_a + neither) / pairs.powi(3);
        weights += 1.0 / pairs;
        pairs_all += pairs;
    }
    if of_a == 0.0 || of_b == 0.0 {
        return 0.0;
    }
    let corrected = if covariance > 0.0 { (covariance - weights / (2.0 * pairs_all)).max(0.0) } else { covariance };
    corrected / (of_a * of_b).sqrt()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all_tables(pairs: u64) -> impl Iterator<Item = PairedCounts> {
        (0..=pairs).flat_map(move |both| {
            (0..=pairs - both).flat_map(move |only_a| {
                (0..=pairs - both - only_a).map(move |only_b| PairedCounts {
                    both,
                    only_a,
                    only_b,
                    neither: pairs - both - only_a - only_b,
                })
            })
        })
    }

    #[test]
    fn every_small_table_has_an_interval_that_holds_the_difference_and_mirrors() {
        for pairs in (1..=14).flat_map(all_tables) {
            let Difference { difference, interval: [low, high] } = paired(pairs, Confidence::P95).unwrap();
            assert!(-1.0 <= low && low <= difference && difference <= high && high <= 1.0, "{pairs:?}");
            assert!(low < high, "{pairs:?}: nobody is that sure");
            let swapped = PairedCounts { only_a: pairs.only_b, only_b: pairs.only_a, ..pairs };
            let mirrored = paired(swapped, Confidence::P95).unwrap().interval;
            assert!((low + mirrored[1]).abs() < 1e-14 && (high + mirrored[0]).abs() < 1e-14, "{pairs:?}");
        }
    }

    /// D. G. Altman et al., "Statistics with Confidence" (2000), table 6.2: 14, 5, 0, 22.
    #[test]
    fn pairing_takes_off_what_the_episodes_have_in_common() {
        let pairs = PairedCounts { both: 14, only_a: 5, only_b: 0, neither: 22 };
        let width = |found: Option<Difference>| found.map(|found| found.interval[1] - found.interval[0]).unwrap();
        assert!(width(paired(pairs, Confidence::P95)) < 0.8 * width(unpaired(pairs.a(), pairs.b(), Confidence::P95)));
    }

    #[test]
    fn a_suite_of_one_task_is_that_task() {
        for pairs in all_tables(9) {
            let (one, suite) = (paired(pairs, Confidence::P95).unwrap(), suites(&[pairs], Confidence::P95).unwrap());
            for (one, suite) in one.interval.iter().zip(suite.interval) {
                assert!((one - suite).abs() < 1e-12, "{pairs:?}: {one} and {suite}");
            }
        }
    }

    #[test]
    fn without_pairs_there_is_no_difference() {
        assert_eq!(paired(PairedCounts::default(), Confidence::P95), None);
        assert_eq!(suites(&[], Confidence::P95), None);
        assert_eq!(unpaired(Counts::default(), Counts::new(1, 2).unwrap(), Confidence::P95), None);
    }
}
