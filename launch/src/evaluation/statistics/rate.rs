//! A success rate with its own interval: of one task, or the mean of a suite.

use super::{Confidence, Counts, Interval, suite, wilson};
use serde::Serialize;

/// A rate or a mean of rates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Between 0 and 1.
    pub rate: f64,
    /// Of that.
    pub interval: Interval,
}

impl Rate {
    /// Of one task, Wilson. `None` without episodes.
    pub fn of_task(counts: Counts, confidence: Confidence) -> Option<Self> {
        Some(Self { rate: counts.rate()?, interval: wilson::interval(counts, confidence)? })
    }

    /// Of a suite, [`suite::mean`]. `None` without tasks, or where one has no episodes.
    pub fn of_suite(tasks: impl Iterator<Item = Counts>, confidence: Confidence) -> Option<Self> {
        let mean = suite::mean(&tasks.collect::<Vec<_>>(), confidence)?;
        Some(Self { rate: mean.mean, interval: mean.interval })
    }
}
