//! Stage outputs against golden tensors, as they come.
//!
//! From: a family's own run of one golden case. To: the rows of a [`CheckReport`].

use crate::bundle::{BundleError, GoldenCase};
use crate::check::{CheckError, CheckReport};
use crate::greedy;
use crate::judge::{Difference, estimated_tolerance, ids_that_differ};
use crate::watch::{StageOutput, Watch};
use egogrid_runtime::policy::{ActionChunk, PolicyError};

/// Runs one case with `infer` and adds a row for each stage that it shows. After an id that is not the reference's the
/// logits are those of another sentence: they are not compared, and the row of the ids says why.
pub(crate) fn compare_case(
    case: &GoldenCase,
    report: &mut CheckReport,
    infer: impl FnOnce(Watch<'_>) -> Result<ActionChunk, PolicyError>,
) -> Result<(), CheckError> {
    let (mut compared, mut same_ids) = (Ok(()), true);
    let mut see = |output: StageOutput<'_>| {
        if compared.is_ok() {
            compared = compare(case, output, report, &mut same_ids);
        }
    };
    let outcome = infer(Watch::with(&mut see));
    compared?;
    match outcome {
        // What was generated up to there has been compared; a reference that ended there too is in agreement.
        Ok(_) | Err(PolicyError::EarlyEnd { .. } | PolicyError::WrongKind { .. }) => Ok(()),
        Err(source) => Err(CheckError::Policy { case: case.name.clone(), source }),
    }
}

/// `same_ids`: whether every id so far is the reference's.
fn compare(
    case: &GoldenCase,
    output: StageOutput<'_>,
    report: &mut CheckReport,
    same_ids: &mut bool,
) -> Result<(), BundleError> {
    let stage = output.name();
    let difference = match output {
        StageOutput::StepLogits(..) | StageOutput::Normalized(_) | StageOutput::Actions(_) if !*same_ids => {
            return Ok(());
        }
        StageOutput::TextIds(ids) => Difference::ids(ids_that_differ(ids, case.i64(&stage)?)),
        StageOutput::TokenIds(ids) => {
            let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            Difference::ids(ids_that_differ(&ids, case.i64(&stage)?))
        }
        StageOutput::Normalized(rows) => f64_difference(case, &stage, &mut rows.iter().flat_map(|row| row.values()))?,
        StageOutput::Actions(rows) => f64_difference(case, &stage, &mut rows.iter().flat_map(|row| row.values()))?,
        StageOutput::StepLogits(step, values) => {
            let chosen = greedy::choose(values).map(|choice| i64::from(choice.id));
            *same_ids = chosen.as_ref() == case.i64("token_ids")?.get(step);
            f32_difference(case, &stage, values)?
        }
        StageOutput::PixelValues(values)
        | StageOutput::Estimator(_, values)
        | StageOutput::PatchDepth(values)
        | StageOutput::PointsXyz(values)
        | StageOutput::FreqEncoding(values)
        | StageOutput::Vision(_, values) => f32_difference(case, &stage, values)?,
    };
    report.push(case, stage, difference);
    Ok(())
}

/// Where depth is estimated, single pixels may differ by anything: of those stages the usual difference counts.
fn f32_difference(case: &GoldenCase, stage: &str, found: &[f32]) -> Result<Difference, BundleError> {
    let expected = case.f32(stage)?;
    same_count(case, stage, found.len(), expected.len())?;
    let pairs = found.iter().zip(expected).map(|(found, expected)| (f64::from(*found), f64::from(*expected)));
    let few = case.estimates_depth() && estimated_tolerance(stage).is_some();
    Ok(if few { Difference::usual(pairs) } else { Difference::largest(pairs) })
}

fn f64_difference(
    case: &GoldenCase,
    stage: &str,
    found: &mut dyn Iterator<Item = &f64>,
) -> Result<Difference, BundleError> {
    let (found, expected) = (found.copied().collect::<Vec<_>>(), case.f64(stage)?);
    same_count(case, stage, found.len(), expected.len())?;
    Ok(Difference::largest(found.into_iter().zip(expected.iter().copied())))
}

fn same_count(case: &GoldenCase, stage: &str, policy: usize, golden: usize) -> Result<(), BundleError> {
    if policy == golden {
        return Ok(());
    }
    let (tensor, found, expected) =
        (format!("{}.{stage}", case.name), format!("{golden} numbers"), format!("{policy}"));
    Err(BundleError::Golden { tensor, found, expected })
}
