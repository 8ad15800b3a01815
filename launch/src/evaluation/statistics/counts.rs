//! What statistics are made of: counts that fit together, and how sure an interval is to be.

use super::normal;
use serde::Serialize;
use std::ops::AddAssign;

/// Largest count: everything below is exact as a double.
pub const COUNT_MAX: u64 = 1 << 50;

/// Numbers that no experiment gives.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    /// More successes than episodes, or too many of them.
    #[error(
        "{successes} successes of {episodes} episodes; expected at most as many successes as episodes, and at most 2^50"
    )]
    Counts {
        /// Found.
        successes: u64,
        /// Found.
        episodes: u64,
    },
    /// Pairs beyond the limit.
    #[error("more than 2^50 pairs; expected counts of episodes")]
    Pairs,
    /// A share that is none.
    #[error("{what} is {found}; expected a number between 0 and 1, both excluded")]
    Share {
        /// Which number.
        what: &'static str,
        /// Found.
        found: f64,
    },
}

/// Between 0 and 1, both excluded.
pub(super) fn share(what: &'static str, found: f64) -> Result<f64, StatisticsError> {
    if found > 0.0 && found < 1.0 { Ok(found) } else { Err(StatisticsError::Share { what, found }) }
}

/// How often an interval holds the truth, over many experiments.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Confidence(f64);

impl Confidence {
    /// 95 %.
    pub const P95: Self = Self(0.95);

    /// Between 0 and 1.
    pub fn new(confidence: f64) -> Result<Self, StatisticsError> {
        share("confidence", confidence).map(Self)
    }

    /// The share.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Standard normal quantile that leaves half of the rest on each side.
    pub(super) fn z(self) -> f64 {
        normal::upper_quantile((1.0 - self.0) / 2.0)
    }
}

/// Episodes of one policy at one task that say something about the policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    successes: u64,
    episodes: u64,
}

impl Counts {
    /// At most as many successes as episodes.
    pub fn new(successes: u64, episodes: u64) -> Result<Self, StatisticsError> {
        if successes <= episodes && episodes <= COUNT_MAX {
            Ok(Self { successes, episodes })
        } else {
            Err(StatisticsError::Counts { successes, episodes })
        }
    }

    /// Books one more episode.
    pub fn add(&mut self, success: bool) {
        self.episodes += 1;
        self.successes += u64::from(success);
    }

    /// Episodes that succeeded.
    pub fn successes(self) -> u64 {
        self.successes
    }

    /// All that count.
    pub fn episodes(self) -> u64 {
        self.episodes
    }

    /// `None` without episodes.
    pub fn rate(self) -> Option<f64> {
        (self.episodes > 0).then(|| self.successes as f64 / self.episodes as f64)
    }
}

/// The same episodes (task and seed) run by two policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PairedCounts {
    /// Both succeeded.
    pub both: u64,
    /// Only the first.
    pub only_a: u64,
    /// Only the second.
    pub only_b: u64,
    /// None of them.
    pub neither: u64,
}

impl PairedCounts {
    /// Sums stay below [`COUNT_MAX`].
    pub fn checked(self) -> Result<Self, StatisticsError> {
        let sum = [self.both, self.only_a, self.only_b, self.neither].into_iter().try_fold(0_u64, u64::checked_add);
        if sum.is_some_and(|sum| sum <= COUNT_MAX) { Ok(self) } else { Err(StatisticsError::Pairs) }
    }

    /// Books one more pair.
    pub fn add(&mut self, a: bool, b: bool) {
        let cell = match (a, b) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.only_a,
            (false, true) => &mut self.only_b,
            (false, false) => &mut self.neither,
        };
        *cell += 1;
    }

    /// All pairs.
    pub fn pairs(self) -> u64 {
        self.both + self.only_a + self.only_b + self.neither
    }

    /// Pairs that differ: all that a paired test knows of.
    pub fn discordant(self) -> u64 {
        self.only_a + self.only_b
    }

    /// The first policy alone.
    pub fn a(self) -> Counts {
        Counts { successes: self.both + self.only_a, episodes: self.pairs() }
    }

    /// The second policy alone.
    pub fn b(self) -> Counts {
        Counts { successes: self.both + self.only_b, episodes: self.pairs() }
    }

    /// Rate of the second minus rate of the first; `None` without pairs.
    pub fn difference(self) -> Option<f64> {
        (self.pairs() > 0).then(|| (self.only_b as f64 - self.only_a as f64) / self.pairs() as f64)
    }
}

impl AddAssign for PairedCounts {
    fn add_assign(&mut self, more: Self) {
        self.both += more.both;
        self.only_a += more.only_a;
        self.only_b += more.only_b;
        self.neither += more.neither;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_cannot_be_are_refused() {
        assert!(Counts::new(0, 0).is_ok() && Counts::new(3, 3).is_ok() && Counts::new(0, COUNT_MAX).is_ok());
        assert_eq!(Counts::new(4, 3), Err(StatisticsError::Counts { successes: 4, episodes: 3 }));
        assert!(Counts::new(0, COUNT_MAX + 1).is_err());
        let pairs = PairedCounts { both: u64::MAX, only_a: 1, only_b: 0, neither: 0 };
        assert_eq!(pairs.checked(), Err(StatisticsError::Pairs));
        for share in [0.0, 1.0, -0.1, 1.1, f64::NAN] {
            assert!(Confidence::new(share).is_err(), "{share}");
        }
    }

    #[test]
    fn pairs_are_two_policies() {
        let mut pairs = PairedCounts::default();
        for (a, b) in [(true, true), (true, false), (false, true), (false, true), (false, false)] {
            pairs.add(a, b);
        }
        assert_eq!(pairs, PairedCounts { both: 1, only_a: 1, only_b: 2, neither: 1 });
        assert_eq!((pairs.a(), pairs.b()), (Counts::new(2, 5).unwrap(), Counts::new(3, 5).unwrap()));
        assert_eq!((pairs.difference(), PairedCounts::default().difference()), (Some(0.2), None));
    }
}
