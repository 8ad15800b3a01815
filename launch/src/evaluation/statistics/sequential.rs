//! Stopping as soon as the answer is clear, without looking too often.
//!
//! A test that is made for a fixed number of episodes and looked at after each of them errs far more often than it says. These may be looked
//! at after every episode: a mixture of likelihood ratios is a martingale under the hypothesis, and by Ville's inequality it exceeds
//! 1 / error *at any time* with at most that probability. Sources: J. Ville, "Étude critique de la notion de collectif" (1939); H. Robbins,
//! "Statistical methods related to the law of the iterated logarithm", Ann. Math. Stat. 41 (1970); the uniform mixture for proportions:
//! D. A. Darling, H. Robbins, PNAS 58 (1967).
//!
//! A suite may be judged with [`against_bar`] too, if it is looked at after whole rounds only (one episode of each task): for tasks with
//! different rates and that mean, the product of the episodes' ratios has an expectation of at most 1 (its factors' mean is 1, and a product is
//! at most the power of its mean).

use super::counts::share;
use super::{Counts, Interval, StatisticsError};
use serde::Serialize;

/// What is known so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Not clear yet: go on.
    Open,
    /// The rate is above the bar; of two policies, the second is better.
    Above,
    /// The rate is below the bar; of two policies, the first is better.
    Below,
}

/// How often it may be wrong, over all looks together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ErrorRate(f64);

impl ErrorRate {
    /// Between 0 and 1.
    pub fn new(error: f64) -> Result<Self, StatisticsError> {
        share("the error rate", error).map(Self)
    }
}

/// ln of the mixture's likelihood over that of `rate`; infinite where `rate` cannot have given these counts.
fn ln_evidence(counts: Counts, rate: f64) -> f64 {
    let (s, f) = (counts.successes() as f64, (counts.episodes() - counts.successes()) as f64);
    let mixture = libm::lgamma(s + 1.0) + libm::lgamma(f + 1.0) - libm::lgamma(s + f + 2.0);
    let power = |count: f64, share_ln: f64| if count > 0.0 { count * share_ln } else { 0.0 };
    mixture - power(s, rate.ln()) - power(f, (-rate).ln_1p())
}

/// One policy against a bar. May be asked after every episode; of a suite, after every whole round.
pub fn against_bar(counts: Counts, bar: f64, error: ErrorRate) -> Result<Verdict, StatisticsError> {
    let bar = share("the bar", bar)?;
    let Some(rate) = counts.rate().filter(|_| ln_evidence(counts, bar) >= -error.0.ln()) else {
        return Ok(Verdict::Open);
    };
    Ok(if rate > bar { Verdict::Above } else { Verdict::Below })
}

/// Two policies on the same episodes, by their discordant pairs. May be asked after every pair.
pub fn paired(only_a: u64, only_b: u64, error: ErrorRate) -> Result<Verdict, StatisticsError> {
    against_bar(Counts::new(only_b, only_a.saturating_add(only_b))?, 0.5, error)
}

/// All rates that the counts have not ruled out at any time: the interval to report after stopping. Wider than Wilson's.
pub fn interval(counts: Counts, error: ErrorRate) -> Option<Interval> {
    let rate = counts.rate()?;
    let ruled_out = |p: f64| ln_evidence(counts, p) >= -error.0.ln();
    // From an end that is ruled out to the rate, which never is.
    let edge = |mut out: f64, mut within: f64| {
        for _ in 0..200 {
            let middle = f64::midpoint(out, within);
            if middle == out || middle == within {
                break;
            }
            if ruled_out(middle) { out = middle } else { within = middle }
        }
        within
    };
    let low = if counts.successes() == 0 { 0.0 } else { edge(0.0, rate) };
    let high = if counts.successes() == counts.episodes() { 1.0 } else { edge(1.0, rate) };
    Some([low, high])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error() -> ErrorRate {
        ErrorRate::new(0.05).unwrap()
    }

    fn counts(successes: u64, episodes: u64) -> Counts {
        Counts::new(successes, episodes).unwrap()
    }

    #[test]
    fn the_interval_holds_the_rate_and_a_bar_outside_of_it_is_decided() {
        for episodes in 1..=80 {
            for successes in 0..=episodes {
                let counts = counts(successes, episodes);
                let [low, high] = interval(counts, error()).unwrap();
                let rate = counts.rate().unwrap();
                assert!(0.0 <= low && low <= rate && rate <= high && high <= 1.0 && low < high);
                for bar in [0.01, 0.3, 0.5, 0.75, 0.99] {
                    let expected = if bar < low {
                        Verdict::Above
                    } else if bar > high {
                        Verdict::Below
                    } else {
                        Verdict::Open
                    };
                    assert_eq!(against_bar(counts, bar, error()).unwrap(), expected, "{successes}/{episodes} at {bar}");
                }
            }
        }
    }

    #[test]
    fn what_is_clear_ends_early_and_what_is_not_goes_on() {
        assert_eq!(paired(0, 0, error()), Ok(Verdict::Open));
        assert_eq!(paired(0, 7, error()), Ok(Verdict::Open));
        assert_eq!(paired(0, 8, error()), Ok(Verdict::Above));
        assert_eq!(paired(8, 0, error()), Ok(Verdict::Below));
        assert_eq!(paired(500, 510, error()), Ok(Verdict::Open));
        assert_eq!(against_bar(Counts::default(), 0.5, error()), Ok(Verdict::Open));
        assert!(against_bar(counts(1, 2), 1.0, error()).is_err() && ErrorRate::new(0.0).is_err());
    }
}
