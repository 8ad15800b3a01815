//! One golden case after the other through the policy, every stage compared as it comes.

use super::OpenVla;
use crate::bundle::Bundle;
use crate::check::{CheckError, CheckReport};
use crate::compare::compare_case;
use crate::registry::{LoadError, LoadOptions};
use egogrid_runtime::execution::{Environment, GraphOptions};

/// Replays all cases of `bundle`.
pub(crate) fn replay(
    environment: &Environment,
    bundle: &Bundle,
    graph: &GraphOptions,
) -> Result<CheckReport, CheckError> {
    let (cases, mut report) = (bundle.golden()?, CheckReport::of(bundle.manifest(), graph.flavour()));
    let Some(first) = cases.first() else { return Ok(report) };
    let options = LoadOptions { stats_key: first.stats_key.clone(), graph: graph.clone(), preprocessing: None };
    let mut policy = OpenVla::load(environment, bundle, &options)?;
    for case in &cases {
        policy.use_statistics(bundle, &case.stats_key).map_err(LoadError::from)?;
        compare_case(case, &mut report, |watch| policy.infer_watched(&case.observation, watch))?;
    }
    Ok(report)
}
