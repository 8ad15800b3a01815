//! How well grids fit data: quantization errors of a bundle's own grids, and of others of the same size, over the same actions.
//!
//! From: normalized actions. To: the table and the picture of `egogrid grid show --data`. "Uniform" is what a model without adaptive grids
//! would have: bins of equal width on the same axes; "quantile" is what the data itself would choose, with as many bins.

use crate::exit::{CommandError, CommandResult};
use egogrid_action_grids::fit::{self, GridShape, Grids};
use egogrid_action_grids::quantization::{QuantizationReport, quantization};
use egogrid_action_grids::{ActionTokenizer, NormalizedAction, RowStats, TokenTable};
use serde::Serialize;

/// The six dimensions that grids are about; the gripper has two cells in every grid.
pub(super) const GRID_DIMS: usize = 6;

/// One way to cut the space.
#[derive(Debug, Serialize)]
pub(super) struct Cut {
    pub(super) name: &'static str,
    pub(super) error: QuantizationReport,
}

/// Errors of every cut.
#[derive(Debug, Serialize)]
pub(super) struct Quality {
    pub(super) actions: usize,
    /// The bundle's own first.
    pub(super) cuts: Vec<Cut>,
    /// Metres or radians of one normalized unit, by dimension; `None` where it is constant.
    pub(super) per_normalized: Option<[Option<f64>; GRID_DIMS]>,
}

/// A tokenizer that only counts: its ids do not matter.
pub(super) fn tokenizer_of(grids: &Grids) -> CommandResult<ActionTokenizer> {
    let counts = [grids.translation.cell_count(), grids.rotation.cell_count(), 2];
    // Any table of the right size will do, with the end token past the blocks.
    let table = TokenTable::contiguous(0, counts, counts.iter().sum()).map_err(CommandError::usage)?;
    ActionTokenizer::new(grids.translation.clone(), grids.rotation.clone(), table).map_err(CommandError::usage)
}

/// `own` against grids of the same size over `actions`.
///
/// # Errors
/// Actions that a grid cannot hold.
pub(super) fn quality(
    own: &ActionTokenizer,
    actions: &[NormalizedAction],
    stats: Option<&RowStats>,
) -> CommandResult<Quality> {
    let shape = GridShape::of(own);
    let mut cuts = vec![Cut { name: "this bundle", error: quantization(own, actions).map_err(CommandError::usage)? }];
    let uniform = fit::uniform(&shape).map_err(CommandError::usage)?;
    // Data in which a dimension never moves has no quantiles to cut at; then there is nothing to compare with.
    let others = [("uniform", Some(uniform)), ("quantile", fit::from_quantiles(actions, 0.0, &shape).ok())];
    for (name, grids) in others {
        if let Some(grids) = grids {
            let error = quantization(&tokenizer_of(&grids)?, actions).map_err(CommandError::usage)?;
            cuts.push(Cut { name, error });
        }
    }
    let per_normalized = stats.map(|stats| {
        std::array::from_fn(|dim| stats.normalized_per_unit(dim).filter(|scale| *scale > 0.0).map(|scale| 1.0 / scale))
    });
    Ok(Quality { actions: actions.len(), cuts, per_normalized })
}

impl Quality {
    /// A row for each dimension and cut.
    pub(super) fn print(&self) {
        let names = egogrid_action_grids::action::DIM_NAMES;
        println!("\n{} actions; absolute error of encoding and decoding, normalized", self.actions);
        println!("{:<8} {:<12} {:>10} {:>10} {:>10} {:>10}  in units", "axis", "grid", "mean", "p50", "p99", "max");
        for (dim, name) in names.iter().enumerate().take(GRID_DIMS) {
            for cut in &self.cuts {
                let error = &cut.error.dims[dim];
                let unit = if dim < 3 { "mm" } else { "mrad" };
                let physical = self.per_normalized.as_ref().and_then(|scale| scale[dim]);
                let physical = physical.map_or(String::new(), |scale| {
                    format!("mean {:.3} {unit}, p99 {:.3}", 1e3 * scale * error.mean, 1e3 * scale * error.p99)
                });
                println!(
                    "{name:<8} {:<12} {:>10.5} {:>10.5} {:>10.5} {:>10.5}  {physical}",
                    cut.name, error.mean, error.p50, error.p99, error.max
                );
            }
        }
        println!();
        for cut in &self.cuts {
            let (distance, cells) = (&cut.error.translation_distance, cut.error.translation_cells);
            println!(
                "{:<12} translation as a whole: mean {:.5}, p99 {:.5}; {} of {} cells used, the fullest holds {:.1} % of the data",
                cut.name,
                distance.mean,
                distance.p99,
                cells.used,
                cells.total,
                100.0 * f64::from(cells.largest) / self.actions as f64
            );
        }
    }
}
