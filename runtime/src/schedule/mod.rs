//! Which action runs in this tick, and when to look again. One file per strategy.
//!
//! From: chunks, as [`Steps`]. To: [`crate::safety::Gate::tick`]. Time is an argument; nothing in here allocates after
//! it was made, so that all four methods may be called in the control tick.

mod chunk;
mod committed;
mod config;
mod ensemble;
mod overlap;
mod prefix;
mod running;
mod steps;
mod sync;

pub use chunk::ChunkSchedule;
pub use committed::CommittedSchedule;
pub use config::{Planner, ScheduleConfig, ScheduleError, StrategyConfig};
pub use ensemble::{ENSEMBLE_MAX, EnsembleSchedule, EnsembleWeights};
pub use overlap::OverlapSchedule;
pub use prefix::CommittedPrefix;
pub use steps::{STEPS_MAX, Steps, TOKENS_PER_STEP_MAX, Token};
pub use sync::SyncSchedule;

use crate::clock::Moment;
use crate::safety::Asked;
use prefix::NOTHING_COMMITTED;

/// What a tick is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Due {
    /// For the gate.
    pub asked: Asked,
    /// The next look is due, before the next tick. Asked again at every tick until it begins.
    pub look: bool,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It is executed from now on.
    Taken,
    /// All of its actions belonged to earlier ticks; the one before goes on.
    Late,
    /// There was none.
    Failed,
}

/// A strategy. The caller owns time and threads; a look may take any number of ticks, and only one is under way.
pub trait Schedule: Send {
    /// The tick at `now`.
    fn next(&mut self, now: Moment) -> Due;
    /// A look begins, at a picture that was exposed then. What the answer must begin with; empty for most strategies.
    /// Exactly one [`Self::answer`] follows.
    fn begin_look(&mut self, now: Moment, exposed: Moment) -> &CommittedPrefix;
    /// The look is over; `None` if the policy has no chunk.
    fn answer(&mut self, steps: Option<&Steps>, now: Moment) -> Answered;
    /// A new episode.
    fn reset(&mut self);
}
