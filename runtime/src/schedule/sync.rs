//! Strategy `sync`: look, execute one action, look again. What OpenVLA does; a chunk's further actions are not used.

use super::chunk::ChunkSchedule;
use super::running::Timing;
use super::{Answered, CommittedPrefix, Due, Schedule, Steps};
use crate::clock::Moment;

/// One action per look.
#[derive(Debug, Clone)]
pub struct SyncSchedule(ChunkSchedule);

impl SyncSchedule {
    pub(super) fn new(timing: Timing) -> Self {
        Self(ChunkSchedule::new(timing, 1))
    }
}

impl Schedule for SyncSchedule {
    fn next(&mut self, now: Moment) -> Due {
        self.0.next(now)
    }

    fn begin_look(&mut self, now: Moment, exposed: Moment) -> &CommittedPrefix {
        self.0.begin_look(now, exposed)
    }

    fn answer(&mut self, steps: Option<&Steps>, now: Moment) -> Answered {
        self.0.answer(steps, now)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}
