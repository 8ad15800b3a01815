//! Strategy `chunk`: the first n actions of a chunk, then the next look. While it looks, nothing is planned and the gate
//! holds.

use super::running::{Running, Timing};
use super::{Answered, CommittedPrefix, Due, NOTHING_COMMITTED, Schedule, Steps};
use crate::clock::Moment;
use crate::safety::Asked;

/// Executes a fixed number of actions of each chunk.
#[derive(Debug, Clone)]
pub struct ChunkSchedule {
    timing: Timing,
    steps_executed: u16,
    running: Option<Running>,
    looking: bool,
}

impl ChunkSchedule {
    pub(super) fn new(timing: Timing, steps_executed: u16) -> Self {
        Self { timing, steps_executed, running: None, looking: false }
    }
}

impl Schedule for ChunkSchedule {
    fn next(&mut self, now: Moment) -> Due {
        let ticks = self.timing.of_steps(self.steps_executed);
        let running = self.running.as_ref().filter(|running| running.ticks(now, &self.timing) < ticks);
        let asked = running.and_then(|running| running.asked(now, &self.timing));
        let is_last = running.is_none_or(|running| running.ticks(now, &self.timing) + 1 >= ticks);
        Due { asked: asked.unwrap_or(Asked::Nothing), look: is_last && !self.looking }
    }

    fn begin_look(&mut self, _now: Moment, _exposed: Moment) -> &CommittedPrefix {
        self.looking = true;
        &NOTHING_COMMITTED
    }

    fn answer(&mut self, steps: Option<&Steps>, now: Moment) -> Answered {
        self.looking = false;
        self.running = steps.map(|steps| Running::from_now(steps, now));
        if self.running.is_some() { Answered::Taken } else { Answered::Failed }
    }

    fn reset(&mut self) {
        (self.running, self.looking) = (None, false);
    }
}
