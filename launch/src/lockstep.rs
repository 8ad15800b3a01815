//! How a lockstep run plans and goes on: of the command line, of an evaluation, and of a recording that is replayed.

use crate::cli::{DemoArgs, Strategy};
use crate::exit::{CommandError, CommandResult};
use crate::view::Outcome;
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::endpoint::EndpointError;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::PolicySpec;
use egogrid_runtime::schedule::{EnsembleWeights, Planner, ScheduleConfig, StrategyConfig};
use egogrid_runtime::tick::{LockstepLoop, LoopObserver};
use egogrid_sim_bridge::endpoint::SimClient;
use serde::{Deserialize, Serialize};

/// Those of SimplerEnv's wrapper for SpatialVLA.
const ENSEMBLE_CHUNKS: u16 = 4;
const ENSEMBLE_TEMPERATURE: f64 = -0.8;

/// What a run was asked for; a recording holds it as TOML.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LockstepPlan {
    strategy: Strategy,
    /// Absent: what the bundle recommends.
    steps_executed: Option<u16>,
    latency_ms: f64,
}

impl From<&DemoArgs> for LockstepPlan {
    fn from(args: &DemoArgs) -> Self {
        Self { strategy: args.strategy, steps_executed: args.steps_executed, latency_ms: args.latency_ms }
    }
}

impl LockstepPlan {
    /// In a world that waits.
    pub(crate) fn new(strategy: Strategy, steps_executed: Option<u16>) -> Self {
        Self { strategy, steps_executed, latency_ms: 0.0 }
    }
}

/// Whole ticks, rounded up: a look that takes any part of a tick is not there at its beginning.
pub(crate) fn latency_ticks(plan: &LockstepPlan, rate: ControlRate) -> u32 {
    ticks_of(plan.latency_ms, rate)
}

/// As [`latency_ticks`].
pub(crate) fn ticks_of(latency_ms: f64, rate: ControlRate) -> u32 {
    (latency_ms * 1e-3 * rate.hz() - 1e-9).ceil().max(0.0) as u32
}

/// The schedule. A bundle that does not know its rate has one action per step of the simulator.
pub(crate) fn planner(plan: &LockstepPlan, spec: &PolicySpec, rate: ControlRate) -> CommandResult<Planner> {
    let steps_between_looks = plan.steps_executed.unwrap_or(1);
    let strategy = match plan.strategy {
        Strategy::Sync => StrategyConfig::Sync,
        Strategy::Chunk => StrategyConfig::Chunk { steps_executed: plan.steps_executed },
        Strategy::Ensemble => {
            let weights = EnsembleWeights::Exponential { temperature: ENSEMBLE_TEMPERATURE };
            StrategyConfig::Ensemble { chunks: ENSEMBLE_CHUNKS, weights }
        }
        Strategy::Overlap => StrategyConfig::Overlap { steps_between_looks },
        Strategy::Committed => StrategyConfig::Committed { steps_between_looks, latency_steps_first: 0 },
    };
    let step_hz = if spec.control_hz.is_some() { None } else { Some(rate.hz()) };
    ScheduleConfig { step_hz, strategy }.checked(spec, rate).map_err(CommandError::usage)
}

/// How an episode ends that the world did not go on with. What the robot cannot execute is the policy's doing; everything else says nothing about it.
pub(crate) fn outcome_of(error: &EndpointError) -> Outcome {
    match error {
        EndpointError::OutOfRange { .. } => Outcome::SafetyStop { reason: error.to_string() },
        _ => Outcome::Harness { reason: error.to_string() },
    }
}

/// How far an episode has come, whatever ends it.
#[derive(Debug, Default)]
pub(crate) struct EpisodeProgress {
    /// Executed.
    pub(crate) steps: u32,
    /// Asked of the policy.
    pub(crate) looks: u32,
    /// The newest observation.
    pub(crate) last: Option<Observation>,
}

/// Looks from `first` on, until success, the last step, a latched stop, or `goes_on` says no, which is a failure. `before_look` may change
/// the loop: how long its next look takes.
///
/// # Errors
/// The world's. What was done until then is in `progress`.
pub(crate) fn run_episode(
    control: &mut LockstepLoop<'_, SimClient>,
    first: Observation,
    steps_max: u32,
    progress: &mut EpisodeProgress,
    observer: &mut dyn LoopObserver,
    goes_on: &dyn Fn() -> bool,
    before_look: &mut dyn FnMut(&mut LockstepLoop<'_, SimClient>),
) -> Result<Outcome, EndpointError> {
    control.reset();
    let mut observation = first;
    let mut outcome = Outcome::Failure;
    while progress.steps < steps_max && goes_on() {
        before_look(control);
        observation = control.look(&observation, observer)?;
        progress.looks += 1;
        let Some(step) = control.world.last_step() else { break };
        progress.steps = step.steps_total;
        if step.success {
            outcome = Outcome::Success;
            break;
        }
        if let Some(reason) = control.gate.stopped() {
            outcome = Outcome::SafetyStop { reason: reason.to_string() };
            break;
        }
    }
    progress.last = Some(observation);
    Ok(outcome)
}
