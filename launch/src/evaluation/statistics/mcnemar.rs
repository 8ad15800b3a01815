//! Whether two policies differ on the same episodes.
//!
//! Only the discordant pairs say anything. If the policies were the same, which of the two succeeded would be a fair coin in each pair, task
//! by task, so that pairs of several tasks may be counted together. Source: Q. McNemar, "Note on the sampling error of the difference
//! between correlated proportions or percentages", Psychometrika 12 (1947); exact and mid-p: M. W. Fagerland, S. Lydersen, P. Laake, BMC
//! Medical Research Methodology 13:91 (2013).

use super::PairedCounts;
use super::binomial::{fair_lower_tail, fair_probability};

/// Exact, two-sided: never rejects more often than it says. 1 without discordant pairs.
pub fn exact(pairs: PairedCounts) -> f64 {
    let fewer = pairs.only_a.min(pairs.only_b);
    (2.0 * fair_lower_tail(fewer, pairs.discordant())).min(1.0)
}

/// The same with half of what was observed: closer to what it says, but may exceed it by a little.
pub fn mid_p(pairs: PairedCounts) -> f64 {
    let fewer = pairs.only_a.min(pairs.only_b);
    if pairs.only_a == pairs.only_b {
        return 1.0;
    }
    2.0 * fair_lower_tail(fewer, pairs.discordant()) - fair_probability(fewer, pairs.discordant())
}

/// The smallest p that so many discordant pairs can give.
pub fn smallest(discordant: u64) -> f64 {
    exact(PairedCounts { only_a: discordant, ..PairedCounts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(only_a: u64, only_b: u64) -> PairedCounts {
        PairedCounts { both: 3, only_a, only_b, neither: 2 }
    }

    #[test]
    fn p_is_symmetric_and_falls_with_imbalance() {
        for discordant in 1..=40_u64 {
            let mut last = 2.0;
            for only_a in discordant.div_ceil(2)..=discordant {
                let p = exact(pairs(only_a, discordant - only_a));
                assert_eq!(p, exact(pairs(discordant - only_a, only_a)));
                assert!(0.0 < p && p <= 1.0 && p < last, "{only_a} of {discordant}: {p} after {last}");
                let mid = mid_p(pairs(only_a, discordant - only_a));
                assert!(mid <= p && mid > 0.0, "{only_a} of {discordant}");
                last = p;
            }
        }
    }

    #[test]
    fn without_discordant_pairs_nothing_is_said() {
        assert_eq!((exact(pairs(0, 0)), mid_p(pairs(0, 0))), (1.0, 1.0));
    }

    #[test]
    fn six_pairs_are_the_fewest_that_can_show_anything() {
        assert!(smallest(5) > 0.05 && smallest(6) < 0.05);
        assert!((smallest(6) - 2.0 / 64.0).abs() < 1e-15);
    }
}
