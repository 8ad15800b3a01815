//! How a lockstep run plans: of the command line, and of a recording that is replayed.

use crate::cli::{DemoArgs, Strategy};
use crate::exit::{CommandError, CommandResult};
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::policy::PolicySpec;
use egogrid_runtime::schedule::{EnsembleWeights, Planner, ScheduleConfig, StrategyConfig};
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

/// Whole ticks, rounded up: a look that takes any part of a tick is not there at its beginning.
pub(crate) fn latency_ticks(plan: &LockstepPlan, rate: ControlRate) -> u32 {
    (plan.latency_ms * 1e-3 * rate.hz() - 1e-9).ceil().max(0.0) as u32
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
