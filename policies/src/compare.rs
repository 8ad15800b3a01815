//! Stage outputs against golden tensors, as they come.
//!
//! From: a family's own run of one golden case. To: the rows of a [`CheckReport`].

use crate::bundle::{BundleError, GoldenCase};
use crate::check::{
    CheckError, CheckReport, estimated_tolerance, ids_that_differ, largest_difference, usual_difference,
};
use crate::watch::{StageOutput, Watch};
use egogrid_runtime::policy::{ActionChunk, PolicyError};

/// Runs one case with `infer` and adds a row for each stage that it shows.
pub(crate) fn compare_case(
    case: &GoldenCase,
    report: &mut CheckReport,
    infer: impl FnOnce(Watch<'_>) -> Result<ActionChunk, PolicyError>,
) -> Result<(), CheckError> {
    let mut compared = Ok(());
    let mut see = |output: StageOutput<'_>| {
        if compared.is_ok() {
            compared = compare(case, output, report);
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

fn compare(case: &GoldenCase, output: StageOutput<'_>, report: &mut CheckReport) -> Result<(), BundleError> {
    let stage = output.name();
    let difference = match output {
        StageOutput::TextIds(ids) => ids_that_differ(ids, case.i64(&stage)?),
        StageOutput::TokenIds(ids) => {
            let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            ids_that_differ(&ids, case.i64(&stage)?)
        }
        StageOutput::Normalized(rows) => f64_difference(case, &stage, &mut rows.iter().flat_map(|row| row.values()))?,
        StageOutput::Actions(rows) => f64_difference(case, &stage, &mut rows.iter().flat_map(|row| row.values()))?,
        StageOutput::PixelValues(values)
        | StageOutput::Estimator(_, values)
        | StageOutput::PatchDepth(values)
        | StageOutput::PointsXyz(values)
        | StageOutput::FreqEncoding(values)
        | StageOutput::Vision(_, values)
        | StageOutput::StepLogits(_, values) => {
            let expected = case.f32(&stage)?;
            same_count(case, &stage, values.len(), expected.len())?;
            let pairs = values.iter().zip(expected).map(|(found, expected)| (f64::from(*found), f64::from(*expected)));
            if let Some(tolerance) = case.estimates_depth().then(|| estimated_tolerance(&stage)).flatten() {
                report.push_within(&case.name, stage, usual_difference(pairs), tolerance);
                return Ok(());
            }
            largest_difference(pairs)
        }
    };
    report.push(&case.name, stage, difference);
    Ok(())
}

fn f64_difference(case: &GoldenCase, stage: &str, found: &mut dyn Iterator<Item = &f64>) -> Result<f64, BundleError> {
    let (found, expected) = (found.copied().collect::<Vec<_>>(), case.f64(stage)?);
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
