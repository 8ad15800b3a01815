//! How many more episodes it takes to separate two policies.
//!
//! An answer for the difference that was seen so far, which is itself uncertain: a plan, not a promise.

use super::counts::share;
use super::{Confidence, Counts, PairedCounts, StatisticsError, counts::COUNT_MAX, normal};
use serde::Serialize;

/// What the test is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Plan {
    confidence: f64,
    power: f64,
}

impl Plan {
    /// 95 % confidence, and found in 8 of 10 such experiments.
    pub const USUAL: Self = Self { confidence: 0.95, power: 0.8 };

    /// `power`: how often a difference of that size is to be found.
    pub fn new(confidence: Confidence, power: f64) -> Result<Self, StatisticsError> {
        Ok(Self { confidence: confidence.get(), power: share("the power", power)? })
    }

    /// How often the difference is to be found.
    pub fn power(self) -> f64 {
        self.power
    }

    fn quantiles(self) -> [f64; 2] {
        [(1.0 - self.confidence) / 2.0, 1.0 - self.power].map(normal::upper_quantile)
    }
}

fn whole(episodes: f64) -> Option<u64> {
    (episodes <= COUNT_MAX as f64).then_some(episodes.ceil() as u64)
}

/// Pairs in all that the exact McNemar test needs at the discordance seen. `None` where no difference was seen.
///
/// Source: J. E. Connett, J. A. Smith, R. B. McHugh, "Sample size and power for pair-matched case-control studies", Statistics in Medicine 6
/// (1987); and one pair for each discordant one of the difference, because the exact test is stricter than the normal approximation.
pub fn pairs_needed(pairs: PairedCounts, plan: Plan) -> Option<u64> {
    let difference = pairs.difference().filter(|difference| *difference != 0.0)?.abs();
    let discordance = pairs.discordant() as f64 / pairs.pairs() as f64;
    let [z_error, z_power] = plan.quantiles();
    let spread = z_error * discordance.sqrt() + z_power * (discordance - difference * difference).max(0.0).sqrt();
    whole((spread / difference).powi(2) + 1.0 / difference)
}

/// Episodes of each of two unpaired runs. `None` where no difference was seen.
///
/// Source: J. L. Fleiss, B. Levin, M. C. Paik, "Statistical Methods for Rates and Proportions" (2003), chapter 4, without continuity correction;
/// statsmodels' `samplesize_proportions_2indep_onetail` is the same.
pub fn episodes_needed(a: Counts, b: Counts, plan: Plan) -> Option<u64> {
    let (a, b) = (a.rate()?, b.rate()?);
    let middle = f64::midpoint(a, b);
    let [z_error, z_power] = plan.quantiles();
    let spread = z_error * (2.0 * middle * (1.0 - middle)).sqrt() + z_power * (a * (1.0 - a) + b * (1.0 - b)).sqrt();
    (a != b).then(|| (spread / (a - b)).powi(2)).and_then(whole)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pairs(both: u64, only_a: u64, only_b: u64, neither: u64) -> PairedCounts {
        PairedCounts { both, only_a, only_b, neither }
    }

    #[test]
    fn a_smaller_difference_needs_more_pairs_and_none_needs_no_answer() {
        let needed = |only_a, only_b| pairs_needed(pairs(50, only_a, only_b, 50 - only_a - only_b), Plan::USUAL);
        assert_eq!(needed(7, 7), None);
        assert_eq!(pairs_needed(PairedCounts::default(), Plan::USUAL), None);
        let (large, small, smaller) = (needed(2, 20).unwrap(), needed(8, 14).unwrap(), needed(10, 12).unwrap());
        assert!(large < small && small < smaller, "{large} {small} {smaller}");
        assert_eq!(needed(8, 14), needed(14, 8));
    }

    #[test]
    fn pairing_needs_fewer_episodes_where_the_policies_agree() {
        let alike = pairs(80, 0, 8, 12);
        let paired = pairs_needed(alike, Plan::USUAL).unwrap();
        let unpaired = episodes_needed(alike.a(), alike.b(), Plan::USUAL).unwrap();
        assert!(paired * 2 < unpaired, "{paired} and {unpaired}");
        assert_eq!(episodes_needed(alike.a(), alike.a(), Plan::USUAL), None);
    }

    #[test]
    fn more_power_costs_more() {
        let [usual, sure] = [0.8, 0.95].map(|power| Plan::new(Confidence::P95, power).unwrap());
        assert_eq!(usual, Plan::USUAL);
        let seen = pairs(50, 10, 20, 20);
        assert!(pairs_needed(seen, sure) > pairs_needed(seen, usual));
        assert!(Plan::new(Confidence::P95, 1.0).is_err());
    }
}
