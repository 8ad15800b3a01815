//! One golden case after the other through the policy, every stage compared as it comes.

use super::{SpatialVla, StageOutput, Watch, observed};
use crate::bundle::{Bundle, BundleError, GoldenCase};
use crate::check::{CheckError, CheckReport, ids_that_differ, largest_difference};
use crate::registry::{self, LoadError, LoadOptions};
use egogrid_runtime::execution::{Environment, GraphOptions};
use egogrid_runtime::perception::depth::{EmptyCells, SensorRules};
use egogrid_runtime::policy::PolicyError;
use egogrid_runtime::stage::Stage;

/// Replays all cases of `bundle`.
pub(crate) fn replay(
    environment: &Environment,
    bundle: &Bundle,
    graph: &GraphOptions,
) -> Result<CheckReport, CheckError> {
    let cases = bundle.golden()?;
    let Some(first) = cases.first() else { return Ok(CheckReport::default()) };
    let options = LoadOptions { stats_key: first.stats_key.clone(), graph: *graph };
    let mut policy =
        SpatialVla::load(environment, bundle, &options, registry::whole_depth().map_err(LoadError::from)?)?;
    let mut report = CheckReport::default();
    for case in &cases {
        policy.use_statistics(bundle, &case.stats_key).map_err(LoadError::from)?;
        let failed = |source| CheckError::Policy { case: case.name.clone(), source };
        if let Some(depth_max_m) = case.depth_max_m {
            let rules = SensorRules::new([0.0, depth_max_m], EmptyCells::refused()).map_err(observed(Stage::Depth));
            rules.and_then(|rules| policy.inputs.set_rules(rules)).map_err(failed)?;
        }
        let mut compared = Ok(());
        let mut see = |output: StageOutput<'_>| {
            if compared.is_ok() {
                compared = compare(case, output, &mut report);
            }
        };
        let outcome = policy.infer_watched(&case.observation, Watch::with(&mut see));
        compared?;
        match outcome {
            // What was generated up to there has been compared; a reference that ended there too is in agreement.
            Ok(_) | Err(PolicyError::EarlyEnd { .. } | PolicyError::WrongKind { .. }) => {}
            Err(source) => return Err(failed(source)),
        }
    }
    Ok(report)
}

fn compare(case: &GoldenCase, output: StageOutput<'_>, report: &mut CheckReport) -> Result<(), BundleError> {
    let stage = output.name();
    let difference = match output {
        StageOutput::TextIds(ids) => ids_that_differ(ids, case.i64(&stage)?),
        StageOutput::TokenIds(ids) => {
            let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            ids_that_differ(&ids, case.i64(&stage)?)
        }
        StageOutput::Normalized(actions) => {
            f64_difference(case, &stage, actions.iter().flat_map(|action| *action.values()))?
        }
        StageOutput::Actions(actions) => {
            f64_difference(case, &stage, actions.iter().flat_map(|action| action.values()))?
        }
        StageOutput::PixelValues(values)
        | StageOutput::PatchDepth(values)
        | StageOutput::PointsXyz(values)
        | StageOutput::FreqEncoding(values)
        | StageOutput::Vision(_, values)
        | StageOutput::StepLogits(_, values) => {
            let expected = case.f32(&stage)?;
            same_count(case, &stage, values.len(), expected.len())?;
            largest_difference(
                values.iter().zip(expected).map(|(found, expected)| (f64::from(*found), f64::from(*expected))),
            )
        }
    };
    report.push(&case.name, stage, difference);
    Ok(())
}

fn f64_difference(case: &GoldenCase, stage: &str, found: impl Iterator<Item = f64>) -> Result<f64, BundleError> {
    let (found, expected) = (found.collect::<Vec<_>>(), case.f64(stage)?);
    same_count(case, stage, found.len(), expected.len())?;
    Ok(largest_difference(found.into_iter().zip(expected.iter().copied())))
}

fn same_count(case: &GoldenCase, stage: &str, policy: usize, golden: usize) -> Result<(), BundleError> {
    if policy == golden {
        return Ok(());
    }
    let (tensor, found, expected) =
        (format!("{}.{stage}", case.name), format!("{golden} numbers"), format!("{policy}"));
    Err(BundleError::Golden { tensor, found, expected })
}
