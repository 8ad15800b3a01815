//! A chunk on the clock: which of its actions belongs to the tick at `now`.
//!
//! A chunk is tied to a tick when it arrives, and counts ticks from there. So a tick that comes a little early or late
//! neither repeats nor skips an action, and one that was missed is skipped.

use super::Answered;
use super::steps::Steps;
use crate::clock::Moment;
use crate::safety::{Asked, Origin};
use std::time::Duration;

/// How long a tick is, and how many ticks an action of the policy lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) tick: Duration,
    pub(super) ticks_per_step: u16,
}

impl Timing {
    /// Ticks from `from` to `to`, to the nearest; 0 if `to` is earlier.
    pub(super) fn ticks(&self, from: Moment, to: Moment) -> u64 {
        let tick_ns = self.tick.as_nanos().max(1);
        let passed_ns = to.since(from).unwrap_or_default().as_nanos();
        u64::try_from((passed_ns + tick_ns / 2) / tick_ns).unwrap_or(u64::MAX)
    }

    /// Ticks of so many actions.
    pub(super) fn of_steps(&self, steps: u16) -> u64 {
        u64::from(steps) * u64::from(self.ticks_per_step)
    }

    /// The action that the tick `ticks` after the first belongs to.
    fn step(&self, ticks: u64) -> usize {
        usize::try_from(ticks / u64::from(self.ticks_per_step.max(1))).unwrap_or(usize::MAX)
    }

    fn later(&self, ticks: u64) -> Duration {
        self.tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
    }
}

/// A chunk that is being executed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) steps: Steps,
    /// The tick of its first action.
    begun: Moment,
}

impl Running {
    /// Its first action belongs to the tick at `now`.
    pub(super) fn from_now(steps: &Steps, now: Moment) -> Self {
        Self { steps: *steps, begun: now }
    }

    /// An answer of a look that ran meanwhile: its first action belonged to the tick when its picture was taken, and what has
    /// passed since is skipped.
    ///
    /// # Errors
    /// No chunk, or one whose actions all belonged to earlier ticks.
    pub(super) fn from_exposure(steps: Option<&Steps>, now: Moment, timing: &Timing) -> Result<Self, Answered> {
        let steps = *steps.ok_or(Answered::Failed)?;
        let passed = timing.ticks(steps.exposed, now);
        let running = Self { steps, begun: now.minus(timing.later(passed)) };
        if running.step(now, timing).is_some() { Ok(running) } else { Err(Answered::Late) }
    }

    /// Ticks since its first action.
    pub(super) fn ticks(&self, now: Moment, timing: &Timing) -> u64 {
        timing.ticks(self.begun, now)
    }

    /// The action of the tick at `now`; `None` when the chunk is used up.
    pub(super) fn step(&self, now: Moment, timing: &Timing) -> Option<usize> {
        Some(timing.step(self.ticks(now, timing))).filter(|step| *step < self.steps.len())
    }

    /// The same before it began: 0.
    pub(super) fn begun_by(&self, then: Moment) -> bool {
        then >= self.begun
    }

    /// What is asked of the gate at `now`.
    pub(super) fn asked(&self, now: Moment, timing: &Timing) -> Option<Asked> {
        let step = self.step(now, timing)?;
        let origin = self.origin(step, now, timing);
        Some(Asked::Step(*self.steps.action(step)?, origin))
    }

    pub(super) fn origin(&self, step: usize, now: Moment, timing: &Timing) -> Origin {
        Origin {
            sequence: self.steps.sequence,
            index: step as u16,
            exposed: self.steps.exposed,
            expires: now.plus(timing.tick),
            confidence: self.steps.confidence(step),
        }
    }
}
