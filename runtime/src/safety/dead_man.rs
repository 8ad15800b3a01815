//! Rule: an operator is there, and a sign of them is at most `dead_man_ms_max` old; otherwise the stop is latched.
//!
//! Before the first sign the gate only holds. After a latched stop the operator must be there again before anybody can
//! re-arm: letting go and gripping again is not enough to set a robot in motion.

use crate::clock::Moment;
use std::time::Duration;

/// What is known about the operator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operator {
    /// This robot needs none.
    NotNeeded,
    /// Never seen.
    NotYet,
    /// There.
    Present,
    /// Gone, or too long without a sign.
    Gone,
}

/// The last sign of the operator.
#[derive(Debug, Clone)]
pub(super) struct DeadMan {
    age_max: Option<Duration>,
    last: Option<(bool, Moment)>,
}

impl DeadMan {
    pub(super) fn new(age_max: Option<Duration>) -> Self {
        Self { age_max, last: None }
    }

    /// A sign: whether the operator holds the switch, seen at that moment.
    pub(super) fn sign(&mut self, present: bool, seen: Moment) {
        self.last = Some((present, seen));
    }

    /// What that means at `now`. A sign from the future is none.
    pub(super) fn check(&self, now: Moment) -> Operator {
        let Some(age_max) = self.age_max else { return Operator::NotNeeded };
        match self.last {
            None => Operator::NotYet,
            Some((true, seen)) if now.since(seen).is_some_and(|age| age <= age_max) => Operator::Present,
            Some(_) => Operator::Gone,
        }
    }
}
