//! `--strategy` and `--latency-ms` to a schedule in lockstep.

use crate::cli::{DemoArgs, Strategy};
use crate::exit::{CommandError, CommandResult};
use egogrid_runtime::clock::ControlRate;
use egogrid_runtime::policy::PolicySpec;
use egogrid_runtime::schedule::{EnsembleWeights, Planner, ScheduleConfig, StrategyConfig};

/// Those of SimplerEnv's wrapper for SpatialVLA.
const ENSEMBLE_CHUNKS: u16 = 4;
const ENSEMBLE_TEMPERATURE: f64 = -0.8;

/// Whole ticks, rounded up: a look that takes any part of a tick is not there at its beginning.
pub(super) fn latency_ticks(args: &DemoArgs, rate: ControlRate) -> u32 {
    (args.latency_ms * 1e-3 * rate.hz() - 1e-9).ceil().max(0.0) as u32
}

/// The schedule. A bundle that does not know its rate has one action per step of the simulator.
pub(super) fn planner(args: &DemoArgs, spec: &PolicySpec, rate: ControlRate) -> CommandResult<Planner> {
    let steps_between_looks = args.steps_executed.unwrap_or(1);
    let strategy = match args.strategy {
        Strategy::Sync => StrategyConfig::Sync,
        Strategy::Chunk => StrategyConfig::Chunk { steps_executed: args.steps_executed },
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
