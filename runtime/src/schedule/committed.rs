//! Strategy `committed`: as `overlap`, and the actions that will run while the policy thinks are given to it as the
//! beginning of its answer, so that the new chunk continues them without a jump.
//!
//! What real-time chunking does for flow policies by inpainting, an autoregressive policy does exactly: the committed
//! actions are forced prefix tokens, and every later token is decoded with them before it.
//!
//! Step 0 of a chunk belongs to the tick when its picture was taken. So the prefix is what the running chunk does from
//! then until the answer is expected: what is over, what runs now, and what is still to come.

use super::overlap::OverlapSchedule;
use super::running::Timing;
use super::{Answered, CommittedPrefix, Due, Schedule, Steps};
use crate::clock::Moment;

/// Looks whose latency is remembered; the longest of them is expected of the next.
const LOOKS_REMEMBERED: usize = 8;

/// Infers and executes at the same time, and makes the answer begin with what is executed meanwhile.
#[derive(Debug, Clone)]
pub struct CommittedSchedule {
    overlap: OverlapSchedule,
    /// Ticks from a look to its answer, newest overwrites oldest.
    latency_ticks: [u64; LOOKS_REMEMBERED],
    looks: usize,
    latency_ticks_first: u64,
    /// Most actions that may be committed: at least one is left to decide.
    steps_max: usize,
    prefix: CommittedPrefix,
}

impl CommittedSchedule {
    pub(super) fn new(timing: Timing, steps_between_looks: u16, latency_steps_first: u16, chunk_len: u16) -> Self {
        let latency_ticks_first = timing.of_steps(latency_steps_first);
        Self {
            overlap: OverlapSchedule::new(timing, steps_between_looks),
            latency_ticks: [latency_ticks_first; LOOKS_REMEMBERED],
            looks: 0,
            latency_ticks_first,
            steps_max: usize::from(chunk_len.saturating_sub(1)),
            prefix: CommittedPrefix::default(),
        }
    }

    /// Ticks that the next look is expected to take: the longest of the last ones.
    fn expected_ticks(&self) -> u64 {
        let known = self.looks.min(LOOKS_REMEMBERED);
        self.latency_ticks[..known].iter().copied().max().unwrap_or(self.latency_ticks_first)
    }
}

impl Schedule for CommittedSchedule {
    fn next(&mut self, now: Moment) -> Due {
        self.overlap.next(now)
    }

    fn begin_look(&mut self, now: Moment, exposed: Moment) -> &CommittedPrefix {
        self.overlap.begin_look(now, exposed);
        self.prefix.clear();
        let (timing, expected_ticks) = (self.overlap.timing, self.expected_ticks());
        if let Some(running) = self.overlap.running.as_ref().filter(|running| running.begun_by(exposed))
            && let Some(first) = running.step(exposed, &timing)
        {
            let ticks = timing.ticks(exposed, now) + expected_ticks;
            let steps = usize::try_from(ticks.div_ceil(u64::from(timing.ticks_per_step))).unwrap_or(usize::MAX);
            let count = steps.min(self.steps_max).min(running.steps.len() - first);
            self.prefix.fill(running.steps.tokens(first..first + count), count);
        }
        &self.prefix
    }

    fn answer(&mut self, steps: Option<&Steps>, now: Moment) -> Answered {
        if let (Some(_), Some(begun)) = (steps, self.overlap.look_begun) {
            self.latency_ticks[self.looks % LOOKS_REMEMBERED] = self.overlap.timing.ticks(begun, now);
            self.looks += 1;
        }
        self.overlap.answer(steps, now)
    }

    /// What was measured of the policy's speed stays.
    fn reset(&mut self) {
        self.overlap.reset();
        self.prefix.clear();
    }
}
