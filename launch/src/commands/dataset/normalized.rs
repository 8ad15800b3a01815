//! A dataset's actions as rows for `egogrid grid fit`, `[n, 7]`, normalized by quantiles that the user names.

use super::show::{all_numbers, sorted_column};
use super::{open, refused};
use crate::assemble;
use crate::exit::{CommandError, CommandResult};
use anyhow::{Context, anyhow};
use egogrid_action_grids::{ACTION_DIMS, Action, NormStats, NormalizedAction};
use egogrid_sim_bridge::dataset::quantile;
use std::path::{Path, PathBuf};

/// Whose 1 % and 99 % quantiles become -1 and +1. There is no default: another scale is another grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Normalization {
    /// Of the dataset itself, over all its rows; the gripper stays as it is.
    Dataset,
    /// Of a bundle.
    Bundle { bundle: PathBuf, stats: Option<String> },
}

/// The actions of `feature`, limited to `[-1, 1]` as training targets are, and by what they were normalized.
///
/// # Errors
/// A dataset that cannot be read, or whose actions are not seven numbers with a gripper of 0 to 1.
pub(crate) fn normalized_actions(
    dir: &Path,
    feature: &str,
    normalization: &Normalization,
) -> CommandResult<(Vec<NormalizedAction>, NormStats)> {
    let dataset = open(dir)?;
    dataset.info().feature(dataset.root(), feature).map_err(refused)?;
    let (dims, values) = all_numbers(&dataset, feature)?;
    if dims != ACTION_DIMS || values.is_empty() {
        return Err(CommandError::usage(anyhow!(
            "{}: feature {feature:?} has {} rows of {dims} numbers; grids are fitted to {ACTION_DIMS}: x, y, z, roll, \
             pitch, yaw, gripper (another feature: --action)",
            dir.display(),
            values.len() / dims.max(1),
        )));
    }
    let stats = match normalization {
        Normalization::Dataset => quantiles_of(&values)?,
        Normalization::Bundle { bundle, stats } => {
            let bundle = assemble::bundle(bundle)?;
            let key = assemble::stats_key(&bundle, stats.as_deref())?;
            let stats = bundle.statistics().get(&key).map_err(CommandError::usage)?;
            stats.one_arm().map_err(CommandError::usage)?
        }
    };
    let row = |(row, values): (usize, &[f64; ACTION_DIMS])| {
        let action = Action::try_from(*values)?;
        stats.normalize_clipped(&action).with_context(|| format!("row {row}"))
    };
    let rows = values.as_chunks::<ACTION_DIMS>().0.iter().enumerate();
    let actions = rows.map(|(index, values)| {
        row((index, values))
            .with_context(|| format!("{}: feature {feature:?}, row {index}", dir.display()))
            .map_err(CommandError::usage)
    });
    Ok((actions.collect::<CommandResult<_>>()?, stats))
}

/// Exact ones: those in `meta/stats.json` are means over episodes.
fn quantiles_of(values: &[f64]) -> CommandResult<NormStats> {
    let columns: Vec<Vec<f64>> = (0..ACTION_DIMS).map(|dim| sorted_column(values, ACTION_DIMS, dim)).collect();
    let at = |share| std::array::from_fn(|dim: usize| quantile(&columns[dim], share).unwrap_or(f64::NAN));
    let mask = std::array::from_fn(|dim| dim + 1 < ACTION_DIMS);
    NormStats::new(at(0.01), at(0.99), mask).map_err(CommandError::usage)
}
