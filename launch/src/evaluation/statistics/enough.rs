//! Whether there are enough episodes for what one would like to say, with the rule and its numbers.

use super::{Confidence, Counts, PairedCounts, mcnemar, wilson};
use serde::Serialize;
use std::fmt;

/// A task's rate is called known when its interval is no wider: ± 10 points.
pub const TASK_WIDTH_MAX: f64 = 0.2;
/// A suite's mean: ± 5 points.
pub const SUITE_WIDTH_MAX: f64 = 0.1;
/// Above this share of harness failures, those that are left may be the easier episodes.
pub const HARNESS_SHARE_MAX: f64 = 0.05;

/// What the reader should know before believing a figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Warning {
    /// No episode that counts.
    NoEpisodes {
        /// Of them nothing is known.
        harness_failures: u64,
    },
    /// The interval is too wide for the rate to be quoted.
    TooWide {
        /// Of the interval.
        width: f64,
        /// Allowed.
        width_max: f64,
        /// Had.
        episodes: u64,
        /// At this rate that many make it narrow enough.
        episodes_needed: u64,
    },
    /// Many episodes are missing.
    HarnessFailures {
        /// Missing.
        harness_failures: u64,
        /// Of all that were tried.
        tried: u64,
        /// Allowed.
        share_max: f64,
    },
    /// Whatever came out, the test could not have told the policies apart.
    TooFewDiscordant {
        /// Had.
        discordant: u64,
        /// The smallest p that they can give.
        smallest_p: f64,
        /// Needed at least.
        discordant_needed: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEpisodes { harness_failures } => {
                write!(f, "no episode counts ({harness_failures} harness failures): nothing is known")
            }
            Self::TooWide { width, width_max, episodes, episodes_needed } => write!(
                f,
                "{episodes} episodes leave an interval of {:.0} points; for at most {:.0} points plan about {episodes_needed} episodes",
                width * 100.0,
                width_max * 100.0
            ),
            Self::HarnessFailures { harness_failures, tried, share_max } => write!(
                f,
                "{harness_failures} of {tried} episodes are harness failures, more than {:.0} %: the others may be the easier ones",
                share_max * 100.0
            ),
            Self::TooFewDiscordant { discordant, smallest_p, discordant_needed } => write!(
                f,
                "{} the smallest p that they could give is {smallest_p:.2}; at least {discordant_needed} have to differ",
                match discordant {
                    0 => "no pair differs:".to_owned(),
                    1 => "one pair differs:".to_owned(),
                    more => format!("only {more} pairs differ:"),
                }
            ),
        }
    }
}

/// Of one task.
pub fn task(counts: Counts, harness_failures: u64, confidence: Confidence) -> Vec<Warning> {
    let Some(rate) = counts.rate() else { return vec![Warning::NoEpisodes { harness_failures }] };
    let mut warnings = Vec::new();
    let [low, high] = wilson::of_rate(rate, counts.episodes() as f64, confidence.z());
    if high - low > TASK_WIDTH_MAX {
        warnings.push(Warning::TooWide {
            width: high - low,
            width_max: TASK_WIDTH_MAX,
            episodes: counts.episodes(),
            episodes_needed: wilson::episodes_for_width(rate, TASK_WIDTH_MAX, confidence),
        });
    }
    let tried = counts.episodes() + harness_failures;
    if harness_failures as f64 > HARNESS_SHARE_MAX * tried as f64 {
        warnings.push(Warning::HarnessFailures { harness_failures, tried, share_max: HARNESS_SHARE_MAX });
    }
    warnings
}

/// Of a suite: `episodes` in all, `effective` as many in its interval.
pub fn suite(found: &super::suite::SuiteMean, episodes: u64, confidence: Confidence) -> Option<Warning> {
    let width = found.interval[1] - found.interval[0];
    let needed = wilson::episodes_for_width(found.mean, SUITE_WIDTH_MAX, confidence) as f64;
    (width > SUITE_WIDTH_MAX).then(|| Warning::TooWide {
        width,
        width_max: SUITE_WIDTH_MAX,
        episodes,
        episodes_needed: (needed * episodes as f64 / found.effective_episodes).ceil() as u64,
    })
}

/// Of a paired comparison.
pub fn pairs(pairs: PairedCounts, confidence: Confidence) -> Option<Warning> {
    let error = 1.0 - confidence.get();
    let smallest_p = mcnemar::smallest(pairs.discordant());
    let discordant_needed = (1..=64).find(|discordant| mcnemar::smallest(*discordant) <= error).unwrap_or(64);
    (smallest_p > error).then_some(Warning::TooFewDiscordant {
        discordant: pairs.discordant(),
        smallest_p,
        discordant_needed,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counts(successes: u64, episodes: u64) -> Counts {
        Counts::new(successes, episodes).unwrap()
    }

    #[test]
    fn ten_rollouts_are_warned_of_and_enough_are_not() {
        let warned = task(counts(7, 10), 0, Confidence::P95);
        let [Warning::TooWide { episodes_needed, .. }] = warned.as_slice() else { unreachable!("{warned:?}") };
        let enough = counts((0.7 * *episodes_needed as f64).round() as u64, *episodes_needed);
        assert_eq!(task(enough, 0, Confidence::P95), []);
        assert!(warned[0].to_string().contains("plan about"), "{}", warned[0]);
    }

    #[test]
    fn what_the_harness_lost_is_told() {
        assert_eq!(task(Counts::default(), 3, Confidence::P95), [Warning::NoEpisodes { harness_failures: 3 }]);
        let lost = Warning::HarnessFailures { harness_failures: 20, tried: 220, share_max: HARNESS_SHARE_MAX };
        assert_eq!(task(counts(199, 200), 20, Confidence::P95), [lost]);
        assert_eq!(task(counts(199, 200), 10, Confidence::P95), []);
    }

    #[test]
    fn five_discordant_pairs_are_too_few_and_six_are_not() {
        let of = |only_b| pairs(PairedCounts { both: 100, only_b, ..PairedCounts::default() }, Confidence::P95);
        let Some(Warning::TooFewDiscordant { discordant: 5, discordant_needed: 6, .. }) = of(5) else {
            unreachable!("{:?}", of(5))
        };
        assert_eq!(of(6), None);
    }

    #[test]
    fn a_wide_suite_says_how_many_episodes_narrow_it() {
        let found = super::super::suite::mean(&[counts(5, 10), counts(8, 10)], Confidence::P95).unwrap();
        let Some(Warning::TooWide { episodes: 20, episodes_needed, .. }) = suite(&found, 20, Confidence::P95) else {
            unreachable!("{found:?}")
        };
        assert!((200..400).contains(&episodes_needed), "{episodes_needed}");
    }
}
