//! What people and the system want of the control thread: flags that are set at any time and read once per tick.

use crate::clock::Moment;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Shared by everybody. Requests are counted, not stored: the tick sees that one more has come.
#[derive(Debug, Default)]
pub struct Signs {
    /// Nanoseconds of the last sign, shifted by one; lowest bit: held. 0 = never seen.
    operator: AtomicU64,
    stops: AtomicU32,
    rearms: AtomicU32,
    episodes: AtomicU32,
    instructions: AtomicU32,
    ending: AtomicBool,
}

/// How many requests of each kind there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) stops: u32,
    pub(super) rearms: u32,
    pub(super) episodes: u32,
    pub(super) instructions: u32,
}

impl Signs {
    /// A sign of the operator: whether the dead-man switch is held, and when that was seen.
    pub fn operator(&self, held: bool, seen: Moment) {
        self.operator.store((seen.ns() << 1) | u64::from(held), Ordering::Release);
    }

    /// Latches the stop at the next tick.
    pub fn stop(&self) {
        self.stops.fetch_add(1, Ordering::Release);
    }

    /// Releases it, if an operator is there where one is needed.
    pub fn rearm(&self) {
        self.rearms.fetch_add(1, Ordering::Release);
    }

    /// A new episode: whatever is planned belongs to the old one.
    pub fn begin_episode(&self) {
        self.episodes.fetch_add(1, Ordering::Release);
    }

    /// Another instruction: what is planned for the old one is not executed any more. Call it once no picture with the old
    /// one can be looked at any more ([`super::Assembler::instruct`]).
    pub fn instructed(&self) {
        self.instructions.fetch_add(1, Ordering::Release);
    }

    /// The process is to end: come to rest, then end.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether it is to end.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// The last sign of the operator: whether the switch was held, and when that was seen.
    pub fn last_operator(&self) -> Option<(bool, Moment)> {
        match self.operator.load(Ordering::Acquire) {
            0 => None,
            sign => Some((sign & 1 == 1, Moment::from_ns(sign >> 1))),
        }
    }

    pub(super) fn requests(&self) -> Requests {
        Requests {
            stops: self.stops.load(Ordering::Acquire),
            rearms: self.rearms.load(Ordering::Acquire),
            episodes: self.episodes.load(Ordering::Acquire),
            instructions: self.instructions.load(Ordering::Acquire),
        }
    }
}
