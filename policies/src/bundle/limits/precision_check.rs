//! `[precision_check]` against the precision, the files and itself: a table that contradicts itself was not measured.

use super::CHUNK_LENGTH_MAX;
use crate::bundle::error::BundleError;
use crate::bundle::golden::CASES_MAX;
use crate::bundle::manifest::{Manifest, Precision, PrecisionCheck};
use crate::bundle::{OBSERVATIONS_FILE, OBSERVATIONS_MAX};

/// Normalized actions reach from -1 to 1.
const ACTION_DIFFERENCE_MAX: f64 = 2.0;
/// Ids of one observation: three for each step of the longest chunk.
const IDS_MAX: u32 = 3 * CHUNK_LENGTH_MAX as u32;

/// fp32 has no table; every other precision has one, with a file of observations where something was measured.
pub(super) fn check(manifest: &Manifest) -> Result<(), BundleError> {
    let listed = manifest.file(OBSERVATIONS_FILE).is_some();
    let measured = match (manifest.precision, &manifest.precision_check) {
        (Precision::Fp32, None) => false,
        (Precision::Fp32, Some(_)) => {
            return Err(BundleError::field("[precision_check]", "a table of an fp32 bundle", "none"));
        }
        (precision, None) => {
            return Err(BundleError::field(
                "[precision_check]",
                "nothing",
                format!("a table, because it is {precision}"),
            ));
        }
        (_, Some(table)) => {
            check_table(table)?;
            table.observations > 0
        }
    };
    if measured == listed {
        return Ok(());
    }
    let (found, expected) = if listed { ("an entry", "none") } else { ("no entry", "one") };
    Err(BundleError::field("[[files]]", format!("{found} for {OBSERVATIONS_FILE}"), expected))
}

fn check_table(table: &PrecisionCheck) -> Result<(), BundleError> {
    let at_most = |field: &str, found: u32, max: u32| super::within(&format!("precision_check.{field}"), found, 0, max);
    at_most("observations", table.observations, OBSERVATIONS_MAX)?;
    at_most("observations_differ", table.observations_differ, table.observations)?;
    at_most("chunks_differ", table.chunks_differ, table.observations)?;
    at_most("ids", table.ids, table.observations * IDS_MAX)?;
    at_most("ids_differ", table.ids_differ, table.observations_differ * IDS_MAX)?;
    let difference = |field: &str, found: f64, max: f64| {
        // Written so that NaN fails.
        if (0.0..=max).contains(&found) {
            return Ok(());
        }
        Err(BundleError::field(format!("precision_check.{field}"), found, format!("0 to {max}")))
    };
    difference("logit_difference_max", table.logit_difference_max, f64::MAX)?;
    difference("action_difference_max", table.action_difference_max, f64::MAX)?;
    difference("action_bound", table.action_bound, ACTION_DIFFERENCE_MAX)?;
    table.stage_differences.iter().try_for_each(|found| difference("stage_differences", *found, f64::MAX))?;
    if table.stage_differences.len() > CASES_MAX || (table.observations == 0) != table.stage_differences.is_empty() {
        let found = format!("{} numbers", table.stage_differences.len());
        return Err(BundleError::field(
            "precision_check.stage_differences",
            found,
            "one for each golden case, if measured",
        ));
    }
    let within =
        table.observations > 0 && table.chunks_differ == 0 && table.action_difference_max <= table.action_bound;
    if table.within_bound == within {
        return Ok(());
    }
    Err(BundleError::field("precision_check.within_bound", table.within_bound, format!("{within}, by its own figures")))
}
