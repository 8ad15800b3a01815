//! `[schedule]` of a deployment: what it says, and the checked strategy that the loop trusts.

use super::ensemble::{ENSEMBLE_MAX, EnsembleWeights};
use super::running::Timing;
use super::{
    ChunkSchedule, CommittedSchedule, EnsembleSchedule, OverlapSchedule, STEPS_MAX, Schedule, Steps, SyncSchedule,
};
use crate::clock::{ControlRate, Moment};
use crate::policy::{ActionChunk, PolicyError, PolicySpec};
use serde::Deserialize;

/// What the file says. Unknown keys are errors, so a typo cannot become a default.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Rate of the policy's actions; absent = what the bundle says it was trained with.
    pub step_hz: Option<f64>,
    /// How looks and actions go together.
    pub strategy: StrategyConfig,
}

/// `strategy = { kind = "…", … }`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum StrategyConfig {
    /// One action per look.
    Sync,
    /// The first n actions of a chunk, then the next look.
    Chunk {
        /// n; absent = what the bundle recommends.
        steps_executed: Option<u16>,
    },
    /// A look at every step, and the weighted mean of the last chunks.
    Ensemble {
        /// Chunks of which the mean is taken.
        chunks: u16,
        /// How they are weighted.
        weights: EnsembleWeights,
    },
    /// Look while executing.
    Overlap {
        /// Fewest steps from one look to the next.
        steps_between_looks: u16,
    },
    /// The same, and the answer continues what is executed meanwhile.
    Committed {
        /// Fewest steps from one look to the next.
        steps_between_looks: u16,
        /// Steps that the first look is expected to take; later ones as long as the longest of the last eight.
        latency_steps_first: u16,
    },
}

/// A schedule that does not fit the policy, the loop, or itself.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// A number of steps that a chunk does not have.
    #[error("schedule.strategy.{name} is {asked}, and the policy's chunks have {chunk_len} actions; use {min}..={max}")]
    Steps {
        /// Key in the file.
        name: &'static str,
        /// As written.
        asked: u16,
        /// Of the policy.
        chunk_len: u16,
        /// Fewest.
        min: u16,
        /// Most.
        max: u16,
    },
    /// An ensemble of too many.
    #[error("schedule.strategy.chunks is {asked}; use 1..={ENSEMBLE_MAX}")]
    Chunks {
        /// As written.
        asked: u16,
    },
    /// A weight that is no number.
    #[error("schedule.strategy.weights: {name} is {value}; it must be finite and at most {max} in size")]
    Weight {
        /// Key in the file.
        name: &'static str,
        /// As written.
        value: f64,
        /// Allowed.
        max: f64,
    },
    /// Nobody knows how long an action lasts.
    #[error("the bundle does not say at which rate its actions run; set schedule.step_hz (Bridge: 5, Fractal: 3)")]
    StepRateUnknown,
    /// An action that does not fill whole ticks.
    #[error(
        "actions at {step_hz} Hz do not fill whole ticks at {control_hz} Hz; make control_hz a multiple of it, up to {STEP_TICKS_MAX} times"
    )]
    StepRate {
        /// Of the policy.
        step_hz: f64,
        /// Of the loop.
        control_hz: f64,
    },
    /// Longer chunks than the loop has room for.
    #[error("the policy's chunks have {chunk_len} actions; at most {STEPS_MAX} are supported")]
    ChunkLen {
        /// Of the policy.
        chunk_len: u16,
    },
    /// A policy that cannot be told how its answer begins.
    #[error("policy {policy} cannot continue from given tokens; use strategy overlap")]
    CannotCommit {
        /// Its id.
        policy: String,
    },
}

/// Most ticks of one action.
const STEP_TICKS_MAX: u16 = 500;
/// Largest exponent of a weight: nothing overflows.
const WEIGHT_MAX: f64 = 40.0;

/// A checked schedule, and how chunks are made ready for it.
pub struct Planner {
    /// The strategy.
    pub schedule: Box<dyn Schedule>,
    ticks_per_step: u16,
}

impl Planner {
    /// Makes a chunk ready, on the policy's thread: this allocates, the schedule does not.
    ///
    /// # Errors
    /// As [`Steps::of`].
    pub fn ready(&self, chunk: &ActionChunk, exposed: Moment) -> Result<Steps, PolicyError> {
        Steps::of(chunk, exposed, self.ticks_per_step)
    }

    /// Ticks that one action of the policy lasts.
    pub fn ticks_per_step(&self) -> u16 {
        self.ticks_per_step
    }
}

impl ScheduleConfig {
    /// The schedule for this policy in this loop.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn checked(&self, spec: &PolicySpec, rate: ControlRate) -> Result<Planner, ScheduleError> {
        let chunk_len = spec.chunk_len;
        if usize::from(chunk_len) > STEPS_MAX {
            return Err(ScheduleError::ChunkLen { chunk_len });
        }
        let ticks_per_step = self.ticks_per_step(spec, rate)?;
        let timing = Timing { tick: rate.tick(), ticks_per_step };
        let steps = |name, asked, min, max| {
            if (min..=max).contains(&asked) {
                return Ok(asked);
            }
            Err(ScheduleError::Steps { name, asked, chunk_len, min, max })
        };
        let between = |asked| steps("steps_between_looks", asked, 1, chunk_len);
        let schedule: Box<dyn Schedule> = match &self.strategy {
            StrategyConfig::Sync => Box::new(SyncSchedule::new(timing)),
            StrategyConfig::Chunk { steps_executed } => {
                let asked = steps_executed.unwrap_or(spec.steps_executed);
                Box::new(ChunkSchedule::new(timing, steps("steps_executed", asked, 1, chunk_len)?))
            }
            StrategyConfig::Ensemble { chunks, weights } => {
                if !(1..=ENSEMBLE_MAX).contains(&usize::from(*chunks)) {
                    return Err(ScheduleError::Chunks { asked: *chunks });
                }
                Box::new(EnsembleSchedule::new(timing, *chunks, checked(*weights)?))
            }
            StrategyConfig::Overlap { steps_between_looks } => {
                Box::new(OverlapSchedule::new(timing, between(*steps_between_looks)?))
            }
            StrategyConfig::Committed { steps_between_looks, latency_steps_first } => {
                if !spec.commits {
                    return Err(ScheduleError::CannotCommit { policy: spec.id.clone() });
                }
                let first = steps("latency_steps_first", *latency_steps_first, 0, chunk_len.saturating_sub(1))?;
                Box::new(CommittedSchedule::new(timing, between(*steps_between_looks)?, first, chunk_len))
            }
        };
        Ok(Planner { schedule, ticks_per_step })
    }

    fn ticks_per_step(&self, spec: &PolicySpec, rate: ControlRate) -> Result<u16, ScheduleError> {
        let step_hz = self.step_hz.or(spec.control_hz.map(f64::from)).ok_or(ScheduleError::StepRateUnknown)?;
        let ticks = rate.hz() / step_hz;
        let whole = ticks.round();
        if !((ticks - whole).abs() < 1e-6 && (1.0..=f64::from(STEP_TICKS_MAX)).contains(&whole)) {
            return Err(ScheduleError::StepRate { step_hz, control_hz: rate.hz() });
        }
        Ok(whole as u16)
    }
}

fn checked(weights: EnsembleWeights) -> Result<EnsembleWeights, ScheduleError> {
    let (name, value, max) = match weights {
        EnsembleWeights::Exponential { temperature } => ("temperature", temperature, WEIGHT_MAX / ENSEMBLE_MAX as f64),
        EnsembleWeights::Adaptive { alpha } => ("alpha", alpha, WEIGHT_MAX),
    };
    if value.abs() <= max { Ok(weights) } else { Err(ScheduleError::Weight { name, value, max }) }
}
