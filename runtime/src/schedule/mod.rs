//! Which action of which chunk runs in this tick. One file per strategy.

mod chunk;

pub use chunk::ChunkSchedule;

use crate::policy::PolicySpec;
use serde::Deserialize;

/// What the file says. Unknown keys are errors, so a typo cannot become a default.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Actions of a chunk that are executed before the next look; absent = what the bundle recommends.
    pub steps_executed: Option<u16>,
}

/// A schedule that does not fit the policy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// More steps than a chunk has, or none.
    #[error(
        "schedule.steps_executed is {asked}, and the policy's chunks have {chunk_len} actions; use 1..={chunk_len}"
    )]
    StepsExecuted {
        /// As written.
        asked: u16,
        /// Of the policy.
        chunk_len: u16,
    },
}

impl ScheduleConfig {
    /// The schedule for this policy.
    ///
    /// # Errors
    /// [`ScheduleError::StepsExecuted`].
    pub fn checked(&self, spec: &PolicySpec) -> Result<ChunkSchedule, ScheduleError> {
        let asked = self.steps_executed.unwrap_or(spec.steps_executed);
        if !(1..=spec.chunk_len).contains(&asked) {
            return Err(ScheduleError::StepsExecuted { asked, chunk_len: spec.chunk_len });
        }
        Ok(ChunkSchedule::new(asked))
    }
}
