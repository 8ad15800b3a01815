//! What a grid costs: how far decoding lands from the action that was encoded.
//!
//! From: a tokenizer and normalized actions (`[actions][7]`). To: `egogrid grid show` and whoever compares grids.
//! Units: normalized; multiply by `0.5 * (q99 - q01)` for metres and radians.

use crate::action::{ACTION_DIMS, NormalizedAction};
use crate::fit::{FitError, check_actions};
use crate::token_table::TokenKind;
use crate::tokenizer::{ActionTokenizer, DecodeError, EncodeError};

/// Mean, quantiles and largest of absolute errors.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct ErrorSummary {
    /// Mean of the absolute error.
    pub mean: f64,
    /// Half of the errors are at most this.
    pub p50: f64,
    /// 99 % of the errors are at most this.
    pub p99: f64,
    /// Largest absolute error.
    pub max: f64,
}

impl ErrorSummary {
    /// Of at least one error; sorts them.
    fn of(errors: &mut [f64]) -> Self {
        let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        errors.sort_unstable_by(f64::total_cmp);
        // The smallest value that this share does not exceed.
        let quantile = |share: f64| errors.get(((share * errors.len() as f64).ceil() as usize).saturating_sub(1));
        let at = |share: f64| quantile(share).copied().unwrap_or_default();
        Self { mean, p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

/// Quantization error of one grid over one data set, in normalized units.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct QuantizationReport {
    /// Actions measured.
    pub action_count: usize,
    /// Per dimension, `[7]`: x, y, z, roll, pitch, yaw, gripper.
    pub dims: [ErrorSummary; ACTION_DIMS],
    /// Euclidean distance of the translation.
    pub translation_distance: ErrorSummary,
    /// Translation cells that the data uses, out of those that exist.
    pub translation_cells: CellUse,
    /// Rotation cells that the data uses, out of those that exist.
    pub rotation_cells: CellUse,
}

/// How much of a grid a data set uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CellUse {
    /// Cells with at least one action.
    pub used: u32,
    /// Cells in the grid.
    pub total: u32,
    /// Actions in the fullest cell.
    pub largest: u32,
}

/// Why a grid could not be measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantizationError {
    /// No data, or data that is not normalized.
    #[error(transparent)]
    Data(#[from] FitError),
    /// See [`EncodeError`].
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// See [`DecodeError`].
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Encodes and decodes every action, and counts. Actions have to be inside the cube, as for a fit.
pub fn quantization(
    tokenizer: &ActionTokenizer,
    actions: &[NormalizedAction],
) -> Result<QuantizationReport, QuantizationError> {
    check_actions(actions)?;
    let mut dims: [Vec<f64>; ACTION_DIMS] = std::array::from_fn(|_| Vec::with_capacity(actions.len()));
    let mut distance = Vec::with_capacity(actions.len());
    let mut seen = [TokenKind::Translation, TokenKind::Rotation]
        .map(|kind| (tokenizer.table().ids(kind).start, vec![0_u32; tokenizer.table().cell_count(kind) as usize]));
    for action in actions {
        let tokens = tokenizer.encode(action)?;
        let decoded = tokenizer.decode(&tokens)?;
        let errors: [f64; ACTION_DIMS] =
            std::array::from_fn(|dim| (action.values()[dim] - decoded.values()[dim]).abs());
        dims.iter_mut().zip(errors).for_each(|(dim, error)| dim.push(error));
        distance.push(errors[..3].iter().map(|error| error * error).sum::<f64>().sqrt());
        seen.iter_mut().zip(tokens).for_each(|((begin, cells), token)| cells[(token - *begin) as usize] += 1);
    }
    let [translation_cells, rotation_cells] = seen.map(|(_, cells)| CellUse {
        used: cells.iter().filter(|&&actions| actions > 0).count() as u32,
        total: cells.len() as u32,
        largest: cells.iter().copied().max().unwrap_or_default(),
    });
    Ok(QuantizationReport {
        action_count: actions.len(),
        dims: dims.each_mut().map(|errors| ErrorSummary::of(errors)),
        translation_distance: ErrorSummary::of(&mut distance),
        translation_cells,
        rotation_cells,
    })
}
