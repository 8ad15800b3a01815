//! `grid.json` and the token table to one [`ActionTokenizer`], in which they are known to belong together.

use super::error::BundleError;
use super::manifest::Manifest;
use super::{GRID_FILE, json_error};
use egogrid_action_grids::fit::Grids;
use egogrid_action_grids::{ActionGrid, ActionTokenizer, BinEdges, CellDecode, TokenTable};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GridFile {
    translation: TranslationAxes,
    rotation: RotationAxes,
    cell_points: Option<CellPoints>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TranslationAxes {
    theta_rad: Vec<f64>,
    phi_rad: Vec<f64>,
    r: Vec<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RotationAxes {
    roll: Vec<f64>,
    pitch: Vec<f64>,
    yaw: Vec<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellPoints {
    translation: Option<Vec<[f64; 3]>>,
    rotation: Option<Vec<[f64; 3]>>,
}

pub(super) fn parse(bytes: &[u8], manifest: &Manifest) -> Result<ActionTokenizer, BundleError> {
    let (Grids { translation, rotation }, points) = grids(bytes)?;
    let tokens = &manifest.spatialvla()?.tokens;
    let cells = [tokens.translation_cells, tokens.rotation_cells, tokens.gripper_cells];
    let table = TokenTable::contiguous(tokens.action_begin_id, cells, manifest.prompt.eos_id)?;
    let tokenizer = ActionTokenizer::new(translation, rotation, table)?;
    let Some(points) = points else { return Ok(tokenizer) };
    let decode = |points: Option<Vec<[f64; 3]>>| points.map_or(CellDecode::Midpoint, CellDecode::Points);
    Ok(tokenizer.with_cell_decode(decode(points.translation), decode(points.rotation))?)
}

/// The grids alone, of whatever shape.
pub(super) fn shapes(bytes: &[u8]) -> Result<Grids, BundleError> {
    grids(bytes).map(|(grids, _)| grids)
}

fn grids(bytes: &[u8]) -> Result<(Grids, Option<CellPoints>), BundleError> {
    let file: GridFile = serde_json::from_slice(bytes).map_err(|error| json_error(GRID_FILE, &error))?;
    let TranslationAxes { theta_rad, phi_rad, r } = file.translation;
    let RotationAxes { roll, pitch, yaw } = file.rotation;
    let translation = grid("translation", [("theta_rad", theta_rad), ("phi_rad", phi_rad), ("r", r)])?;
    let rotation = grid("rotation", [("roll", roll), ("pitch", pitch), ("yaw", yaw)])?;
    Ok((Grids { translation, rotation }, file.cell_points))
}

fn grid(grid: &'static str, axes: [(&'static str, Vec<f64>); 3]) -> Result<ActionGrid, BundleError> {
    let [first, middle, last] = axes;
    let edges = |(axis, edges): (&'static str, Vec<f64>)| {
        BinEdges::new(edges).map_err(|source| BundleError::Edges { axis, source })
    };
    ActionGrid::new([edges(first)?, edges(middle)?, edges(last)?]).map_err(|source| BundleError::Grid { grid, source })
}
