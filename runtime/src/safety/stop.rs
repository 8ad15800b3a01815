//! Rule: a stop stays until somebody re-arms it. The first reason is kept.

use super::reason::StopReason;

/// Latched or not.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop {
    latched: Option<StopReason>,
}

/// Why the gate was not re-armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RearmRefused {
    /// The robot needs an operator, and there is none.
    #[error("no operator holds the dead-man switch; hold it, then re-arm")]
    NoOperator,
}

impl Stop {
    pub(super) fn latch(&mut self, reason: StopReason) {
        self.latched.get_or_insert(reason);
    }

    pub(super) fn release(&mut self) {
        self.latched = None;
    }

    pub(super) fn latched(&self) -> Option<StopReason> {
        self.latched
    }
}
