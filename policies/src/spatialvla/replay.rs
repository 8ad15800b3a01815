//! One golden case after the other through the policy, every stage compared as it comes.

use super::SpatialVla;
use crate::bundle::{Bundle, GoldenCase};
use crate::check::{CheckError, CheckReport};
use crate::compare::compare_case;
use crate::failure::observed;
use crate::registry::{self, LoadError, LoadOptions};
use egogrid_runtime::execution::{Environment, GraphOptions};
use egogrid_runtime::perception::depth::{EmptyCells, SensorRules};
use egogrid_runtime::stage::Stage;

/// Replays all cases of `bundle`.
pub(crate) fn replay(
    environment: &Environment,
    bundle: &Bundle,
    graph: &GraphOptions,
) -> Result<CheckReport, CheckError> {
    let (cases, mut report) = (bundle.golden()?, CheckReport::of(bundle.manifest(), graph.flavour()));
    over_cases(environment, bundle, graph, &cases, |policy, case| {
        compare_case(case, &mut report, |watch| policy.infer_watched(&case.observation, watch))
    })?;
    Ok(report)
}

/// Loads the policy of `bundle` once and hands it each of `cases`, with that case's statistics and depth rules.
pub(crate) fn over_cases(
    environment: &Environment,
    bundle: &Bundle,
    graph: &GraphOptions,
    cases: &[GoldenCase],
    mut run: impl FnMut(&mut SpatialVla, &GoldenCase) -> Result<(), CheckError>,
) -> Result<(), CheckError> {
    let Some(first) = cases.first() else { return Ok(()) };
    let options = LoadOptions { stats_key: first.stats_key.clone(), graph: graph.clone(), preprocessing: None };
    let mut policy =
        SpatialVla::load(environment, bundle, &options, registry::whole_depth().map_err(LoadError::from)?)?;
    for case in cases {
        policy.use_statistics(bundle, &case.stats_key).map_err(LoadError::from)?;
        if let Some(depth_max_m) = case.depth_max_m {
            let rules = SensorRules::new([0.0, depth_max_m], EmptyCells::refused()).map_err(observed(Stage::Depth));
            let rules = rules.and_then(|rules| policy.inputs.set_rules(rules));
            rules.map_err(|source| CheckError::Policy { case: case.name.clone(), source })?;
        }
        run(&mut policy, case)?;
    }
    Ok(())
}
