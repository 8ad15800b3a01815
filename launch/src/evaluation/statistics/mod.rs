//! What may be said after so many episodes: intervals, paired tests, stopping rules, and how many episodes a claim needs.
//!
//! From: counts of successes and of episodes that say something about the policy; an episode in which the harness failed is in none of
//! them. To: numbers. Pure functions, one idea per file, each with its source. Checked against scipy and statsmodels
//! (`launch/tests/fixtures/statistics`) and by simulation with fixed seeds.

mod binomial;
pub mod counts;
pub mod difference;
pub mod enough;
pub mod mcnemar;
mod normal;
pub mod power;
mod rate;
pub mod sequential;
pub mod suite;
pub mod wilson;

pub use counts::{Confidence, Counts, PairedCounts, StatisticsError};
pub use rate::Rate;
pub use wilson::wilson_95;

/// `[low, high]`.
pub type Interval = [f64; 2];

#[cfg(test)]
mod golden;
#[cfg(test)]
mod simulated;
