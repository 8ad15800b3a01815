//! One episode: reset, look until success or the last step, and what came of it.

use super::summary::Summary;
use super::watch::{EpisodeStart, Watch, Watched};
use super::{Pipeline, SIM_WAIT_MAX};
use crate::lockstep::{self, EpisodeProgress};
use crate::view::Outcome;
use egogrid_runtime::clock::Moment;
use egogrid_runtime::endpoint::EndpointError;
use egogrid_runtime::tick::LockstepLoop;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};

/// An episode's outcome and its length.
#[derive(Debug, Clone, Serialize)]
pub(super) struct EpisodeResult {
    pub(super) outcome: Outcome,
    pub(super) steps: u32,
    pub(super) looks: u32,
}

/// Which episode.
pub(super) struct Episode<'a> {
    pub(super) task: &'a str,
    pub(super) seed: u32,
    pub(super) steps_max: u32,
    pub(super) index: u32,
}

impl Episode<'_> {
    /// Runs it. The world is new, so the operator's permission to move is given here, once per episode.
    pub(super) fn run(
        &self,
        pipeline: &mut Pipeline,
        watch: &mut Watch,
        summary: &mut Summary,
        interrupted: &AtomicBool,
    ) -> EpisodeResult {
        let rearmed = pipeline.gate.rearm(Moment::START);
        let mut progress = EpisodeProgress::default();
        let ran = match rearmed {
            Ok(()) => self.steps(pipeline, watch, summary, interrupted, &mut progress),
            Err(refused) => Ok(Outcome::SafetyStop { reason: refused.to_string() }),
        };
        let outcome = ran.unwrap_or_else(|error| lockstep::outcome_of(&error));
        let result = EpisodeResult { outcome, steps: progress.steps, looks: progress.looks };
        watch.episode_ended(&result, progress.last.as_ref());
        result
    }

    fn steps(
        &self,
        pipeline: &mut Pipeline,
        watch: &mut Watch,
        summary: &mut Summary,
        interrupted: &AtomicBool,
        progress: &mut EpisodeProgress,
    ) -> Result<Outcome, EndpointError> {
        let first = pipeline.sim.reset(self.task, self.seed, SIM_WAIT_MAX)?;
        tracing::info!(task = self.task, seed = self.seed, "episode begins");
        watch.episode_started(&EpisodeStart {
            task: self.task,
            instruction: &first.observation.instruction,
            seed: self.seed,
            index: self.index,
        });
        let mut control = LockstepLoop {
            policy: pipeline.policy.as_mut(),
            world: &mut pipeline.sim,
            planner: &mut pipeline.planner,
            gate: &mut pipeline.gate,
            wait_max: SIM_WAIT_MAX,
            now: Moment::START,
            latency_ticks: pipeline.latency_ticks,
        };
        let goes_on = || !interrupted.load(Ordering::Relaxed);
        let mut observer = Watched { watch, summary };
        let first = first.observation;
        lockstep::run_episode(&mut control, first, self.steps_max, progress, &mut observer, &goes_on, &mut |_| {})
    }
}
