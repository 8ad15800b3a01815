//! A bundle to a policy that may drive this robot: what is checked at the start, and again for every policy that is to
//! follow it.

use crate::assemble;
use crate::cli::Common;
use crate::deployment::Deployment;
use crate::exit::{CommandError, CommandResult};
use anyhow::anyhow;
use egogrid_policies::bundle::Bundle;
use egogrid_policies::registry::LoadOptions;
use egogrid_runtime::execution::{Environment, GraphOptions};
use egogrid_runtime::live::{Deadline, LoadedPolicy};
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_runtime::policy::PolicySpec;
use egogrid_runtime::schedule::{Planner, StrategyConfig};
use egogrid_runtime::units::ActionUnits;
use egogrid_sim_bridge::convert::PolicyLabel;
use std::sync::Arc;

/// Everything that a bundle has to fit.
pub(super) struct Loader {
    environment: Environment,
    graph: GraphOptions,
    stats_key: String,
    robot: (SensorRules, ActionUnits),
    deployment: Deployment,
}

impl Loader {
    pub(super) fn new(
        common: &Common,
        deployment: &Deployment,
        stats_key: String,
        robot: (SensorRules, ActionUnits),
    ) -> CommandResult<Self> {
        let (environment, graph) = (assemble::environment(common)?, assemble::graph_options(common)?);
        Ok(Self { environment, graph, stats_key, robot, deployment: deployment.clone() })
    }

    /// A warm policy, with a deadline of its own, and the schedule for it.
    pub(super) fn load(&self, bundle: &Bundle, number: u32) -> CommandResult<(LoadedPolicy, Planner)> {
        assemble::require_one_arm(bundle, &self.stats_key)?;
        let cancel = self.environment.cancel().map_err(CommandError::missing)?;
        let graph = GraphOptions { cancel: Some(cancel.clone()), ..self.graph.clone() };
        let options = LoadOptions { stats_key: self.stats_key.clone(), graph, preprocessing: None };
        let policy =
            assemble::policy_of_robot(&self.environment, bundle, &options, self.robot, self.deployment.sketch_stages)?;
        require_pictures(policy.spec(), &self.deployment)?;
        let checked = self.deployment.schedule.checked(policy.spec(), self.deployment.rate);
        let planner = checked.map_err(CommandError::usage)?;
        let deadline = Deadline::start(Arc::new(cancel)).map_err(CommandError::missing)?;
        Ok((LoadedPolicy { policy, deadline, number }, planner))
    }

    /// What recordings say of the policy in `bundle`.
    pub(super) fn facts(&self, bundle: &Bundle) -> PolicyFacts {
        let (bundle_sha256, stats_key) = (bundle.digest().to_owned(), self.stats_key.clone());
        let label = PolicyLabel { policy_id: bundle.id(), bundle_sha256, stats_key };
        let points_in_base = assemble::points_in_base(bundle);
        PolicyFacts { label, precision: bundle.manifest().precision.to_string(), points_in_base }
    }

    /// [`Shape::require_same`], for the schedule of the deployment.
    pub(super) fn require_same_shape(&self, first: &Shape, next: &PolicySpec, planner: &Planner) -> CommandResult {
        first.require_same(&Shape::of(next, planner), &self.deployment.schedule.strategy)
    }
}

/// Which policy, for whoever records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PolicyFacts {
    pub(super) label: PolicyLabel,
    pub(super) precision: String,
    /// Its 3D points are in the robot's base, not in the camera's axes.
    pub(super) points_in_base: bool,
}

/// What the schedule was made for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    chunk_len: u16,
    steps_executed: u16,
    ticks_per_step: u16,
}

impl Shape {
    pub(super) fn of(spec: &PolicySpec, planner: &Planner) -> Self {
        let (chunk_len, steps_executed) = (spec.chunk_len, spec.steps_executed);
        Self { chunk_len, steps_executed, ticks_per_step: planner.ticks_per_step() }
    }

    /// Whether the schedule under way is the same for a policy that follows: the control thread does not exchange it.
    fn require_same(&self, next: &Self, strategy: &StrategyConfig) -> CommandResult {
        let recommended = matches!(strategy, StrategyConfig::Chunk { steps_executed: None });
        let differs = [
            ("actions in a chunk", self.chunk_len, next.chunk_len, true),
            ("control ticks per action", self.ticks_per_step, next.ticks_per_step, true),
            ("actions executed of a chunk", self.steps_executed, next.steps_executed, recommended),
        ];
        match differs.into_iter().find(|(_, first, next, matters)| *matters && first != next) {
            None => Ok(()),
            Some((what, first, next, _)) => Err(CommandError::usage(anyhow!(
                "{next} {what}, and the schedule under way was made for {first}; restart with this bundle instead"
            ))),
        }
    }
}

/// What the policy needs of the first camera.
fn require_pictures(spec: &PolicySpec, deployment: &Deployment) -> CommandResult {
    let Some(camera) = deployment.pictures.cameras.first() else { return Ok(()) };
    let missing = |what: &str| {
        CommandError::usage(anyhow!(
            "{} needs {what}, and camera {:?} has none; set it in the deployment file",
            spec.id,
            camera.name
        ))
    };
    if spec.needs_depth && !camera.depth {
        return Err(missing("depth"));
    }
    if spec.needs_extrinsics && camera.base_from_camera.is_none() {
        return Err(missing("base_from_camera"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_policy_of_another_shape_is_refused_with_both_numbers() {
        let first = Shape { chunk_len: 4, steps_executed: 2, ticks_per_step: 5 };
        let overlap = StrategyConfig::Overlap { steps_between_looks: 1 };
        let recommended = StrategyConfig::Chunk { steps_executed: None };
        let own = StrategyConfig::Chunk { steps_executed: Some(2) };
        assert!(first.require_same(&first, &recommended).is_ok());
        let refused = |next, strategy| first.require_same(&next, strategy).unwrap_err().to_string();
        let longer = refused(Shape { chunk_len: 5, ..first }, &overlap);
        assert!(longer.contains("5 actions in a chunk") && longer.contains("for 4"), "{longer}");
        assert!(refused(Shape { ticks_per_step: 4, ..first }, &overlap).contains("4 control ticks per action"));
        // Only where the deployment leaves that number to the bundle.
        let more = Shape { steps_executed: 3, ..first };
        assert!(refused(more, &recommended).contains("3 actions executed"));
        assert!(first.require_same(&more, &own).is_ok() && first.require_same(&more, &overlap).is_ok());
    }
}
