//! Strategy `overlap`: look while the last chunk is still being executed. Actions whose time has passed when a chunk
//! arrives are skipped, by the time that has really passed since its picture was taken.
//!
//! A look that fails, or is late, changes nothing: the chunk is executed to its end, and then the gate holds.

use super::running::{Running, Timing};
use super::{Answered, CommittedPrefix, Due, NOTHING_COMMITTED, Schedule, Steps};
use crate::clock::Moment;
use crate::safety::Asked;

/// Infers and executes at the same time.
#[derive(Debug, Clone)]
pub struct OverlapSchedule {
    pub(super) timing: Timing,
    steps_between_looks: u16,
    pub(super) running: Option<Running>,
    pub(super) look_begun: Option<Moment>,
    looking: bool,
}

impl OverlapSchedule {
    pub(super) fn new(timing: Timing, steps_between_looks: u16) -> Self {
        Self { timing, steps_between_looks, running: None, look_begun: None, looking: false }
    }
}

impl Schedule for OverlapSchedule {
    fn next(&mut self, now: Moment) -> Due {
        let asked = self.running.as_ref().and_then(|running| running.asked(now, &self.timing));
        let wait = self.timing.of_steps(self.steps_between_looks);
        let in_time = self.look_begun.is_none_or(|begun| self.timing.ticks(begun, now) + 1 >= wait);
        Due { asked: asked.unwrap_or(Asked::Nothing), look: !self.looking && (in_time || asked.is_none()) }
    }

    fn begin_look(&mut self, now: Moment, _exposed: Moment) -> &CommittedPrefix {
        (self.look_begun, self.looking) = (Some(now), true);
        &NOTHING_COMMITTED
    }

    fn answer(&mut self, steps: Option<&Steps>, now: Moment) -> Answered {
        self.looking = false;
        match Running::from_exposure(steps, now, &self.timing) {
            Ok(arrived) => {
                self.running = Some(arrived);
                Answered::Taken
            }
            Err(answered) => answered,
        }
    }

    fn reset(&mut self) {
        (self.running, self.look_begun, self.looking) = (None, None, false);
    }
}
