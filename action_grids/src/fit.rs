//! Grids from a robot's data: Gaussian, equal-mass or uniform edges.
//!
//! From: normalized actions (`[actions][7]`), or a mean and a spread per axis. To: `tokenizer`, `egogrid grid fit`.
//! Source: SpatialVLA, arXiv:2501.15830, adaptive action grids; edges checked in `tests/golden.rs`. How good a
//! fitted grid is: `quantization`.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::action::NormalizedAction;
use crate::axis::{BIN_COUNT_MAX, BinEdges, EdgesError, linspace};
use crate::gaussian;
use crate::grid::{ActionGrid, GridError};
use crate::spherical;
use crate::tokenizer::{self, ActionTokenizer, CellDecode};

/// Names of the six axes, in the order of [`AXIS_RANGES`].
pub const AXIS_NAMES: [&str; 6] = ["theta", "phi", "r", "roll", "pitch", "yaw"];

/// What each axis spans for actions in the normalized cube: radians, radians, then unitless. The radius reaches the
/// corners of the cube, √3.
pub const AXIS_RANGES: [[f64; 2]; 6] =
    [[0.0, PI], [-PI, PI], [0.0, 1.732_050_807_568_877_2], [-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]];

/// Why a grid cannot be fitted or measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// A mean or spread that is no number, or a spread of zero with no smallest spread.
    #[error(
        "the Gaussian of {axis} has mean {mu} and spread {sigma}, expected finite numbers and a positive spread; \
             raise sigma_min, or use more varied data"
    )]
    Gaussian {
        /// Which axis.
        axis: &'static str,
        /// Its mean.
        mu: f64,
        /// Its spread, after `sigma_min`.
        sigma: f64,
    },
    /// No bins, or too many.
    #[error("{axis} was asked for {bin_count} bins, expected 1 to {BIN_COUNT_MAX}; correct the grid's shape")]
    BinCount {
        /// Which axis.
        axis: &'static str,
        /// What was asked for.
        bin_count: u32,
    },
    /// See [`EdgesError`].
    #[error("edges of {axis}: {cause}")]
    Edges {
        /// Which axis.
        axis: &'static str,
        /// What is wrong with them.
        cause: EdgesError,
    },
    /// See [`GridError`].
    #[error(transparent)]
    Grid(#[from] GridError),
    /// Nothing to fit to.
    #[error("there are no actions to fit a grid to; check the data set's filter")]
    NoActions,
    /// Data in the wrong space.
    #[error(
        "action {index} has {dim} = {value}, expected -1 to 1; normalize with `NormStats::normalize_clipped` first"
    )]
    OutsideCube {
        /// Which action.
        index: usize,
        /// Which dimension.
        dim: &'static str,
        /// What was found.
        value: f64,
    },
    /// A share that is none.
    #[error("the smallest bin width is {share} of the mean width, expected 0 (as the data says) to 1 (uniform)")]
    WidthShare {
        /// What was asked for.
        share: f64,
    },
}

/// Bins per axis, slowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridShape {
    /// theta, phi, r.
    pub translation: [u32; 3],
    /// Roll, pitch, yaw.
    pub rotation: [u32; 3],
}

impl GridShape {
    /// That of the grids that `tokenizer` has: what a grid that shares its tokens has to have.
    pub fn of(tokenizer: &ActionTokenizer) -> Self {
        let (translation, rotation) = (tokenizer.translation_grid(), tokenizer.rotation_grid());
        Self { translation: translation.bin_counts(), rotation: rotation.bin_counts() }
    }

    /// Bins of the axes, in the order of [`AXIS_NAMES`].
    pub fn bin_counts(&self) -> [u32; 6] {
        let ([a, b, c], [d, e, f]) = (self.translation, self.rotation);
        [a, b, c, d, e, f]
    }
}

/// Both grids of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Grids {
    /// Axes theta, phi, r.
    pub translation: ActionGrid,
    /// Axes roll, pitch, yaw.
    pub rotation: ActionGrid,
}

impl Grids {
    /// Bins of both: what a grid that shares their tokens has to have.
    pub fn shape(&self) -> GridShape {
        GridShape { translation: self.translation.bin_counts(), rotation: self.rotation.bin_counts() }
    }
}

/// Mean and spread of the data on one axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gaussian {
    /// Mean.
    pub mu: f64,
    /// Standard deviation.
    pub sigma: f64,
}

/// Mean and spread on every axis; reads the official `gs_*.json`, whose x, y, z nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the axes, see AXIS_NAMES
pub struct ActionGaussians {
    pub theta: Gaussian,
    pub phi: Gaussian,
    pub r: Gaussian,
    pub roll: Gaussian,
    pub pitch: Gaussian,
    pub yaw: Gaussian,
}

impl ActionGaussians {
    /// In the order of [`AXIS_NAMES`].
    pub fn axes(&self) -> [Gaussian; 6] {
        [self.theta, self.phi, self.r, self.roll, self.pitch, self.yaw]
    }
}

/// Bins of equal width.
pub fn uniform(shape: &GridShape) -> Result<Grids, FitError> {
    build(shape, |axis, bin_count| {
        let [low, high] = AXIS_RANGES[axis];
        Ok(linspace(low, high, bin_count))
    })
}

/// Bins of equal mass under each axis's Gaussian, cut off at the ends of the axis. `sigma_min` widens narrow ones
/// (0.5 in the released pre-training), so that values outside the data keep some resolution.
pub fn from_gaussians(gaussians: &ActionGaussians, sigma_min: f64, shape: &GridShape) -> Result<Grids, FitError> {
    let gaussians = gaussians.axes();
    build(shape, |axis, bin_count| {
        let Gaussian { mu, sigma } = gaussians[axis];
        let widened = Gaussian { mu, sigma: sigma.max(sigma_min) };
        if !(widened.sigma > 0.0 && widened.sigma.is_finite() && mu.is_finite() && sigma.is_finite()) {
            return Err(FitError::Gaussian { axis: AXIS_NAMES[axis], mu, sigma: widened.sigma });
        }
        Ok(equal_mass_edges(widened, AXIS_RANGES[axis], bin_count))
    })
}

fn equal_mass_edges(Gaussian { mu, sigma }: Gaussian, [low, high]: [f64; 2], bin_count: u32) -> Vec<f64> {
    let masses = linspace(gaussian::cdf((low - mu) / sigma), gaussian::cdf((high - mu) / sigma), bin_count);
    let mut before = low;
    let edge = |mass| {
        // A mass of 0 or 1 is minus or plus infinity, which the limits turn into the ends of the axis. In the far
        // tail neighbours differ by rounding only; `before` keeps them in order.
        let edge: f64 = gaussian::quantile(mass) * sigma + mu;
        before = edge.clamp(low, high).max(before);
        before
    };
    masses.into_iter().map(edge).collect()
}

/// Mean and standard deviation (of the whole population) on each axis, of actions inside the cube.
pub fn gaussians_of(actions: &[NormalizedAction]) -> Result<ActionGaussians, FitError> {
    let columns = axis_columns(actions)?;
    let count = actions.len() as f64;
    let gaussian = |column: &Vec<f64>| {
        let mu = column.iter().sum::<f64>() / count;
        let variance = column.iter().map(|value| (value - mu).powi(2)).sum::<f64>() / count;
        Gaussian { mu, sigma: variance.sqrt() }
    };
    let [theta, phi, r, roll, pitch, yaw] = columns.each_ref().map(gaussian);
    Ok(ActionGaussians { theta, phi, r, roll, pitch, yaw })
}

/// Bins that hold equally many of `actions` on each axis: no shape is assumed. Where data repeats a value (a
/// standstill, a limit), quantiles coincide; `width_share_min` of the mean bin width is then kept for each bin.
/// 0 allows empty bins, 1 is the uniform grid.
pub fn from_quantiles(
    actions: &[NormalizedAction],
    width_share_min: f64,
    shape: &GridShape,
) -> Result<Grids, FitError> {
    if !(0.0..=1.0).contains(&width_share_min) {
        return Err(FitError::WidthShare { share: width_share_min });
    }
    let mut columns = axis_columns(actions)?;
    columns.iter_mut().for_each(|column| column.sort_by(f64::total_cmp));
    build(shape, |axis, bin_count| {
        let [low, high] = AXIS_RANGES[axis];
        let width_min = width_share_min * (high - low) / f64::from(bin_count);
        let shares = linspace(0.0, 1.0, bin_count).into_iter();
        let mut edges: Vec<f64> = shares.map(|share| sorted_quantile(&columns[axis], share)).collect();
        let last = edges.len() - 1;
        (edges[0], edges[last]) = (low, high);
        for index in 1..last {
            edges[index] = edges[index].max(edges[index - 1] + width_min).min(high);
        }
        for index in (1..last).rev() {
            edges[index] = edges[index].min(edges[index + 1] - width_min).max(low);
        }
        Ok(edges)
    })
}

/// Quantile with linear interpolation; `sorted` is not empty.
fn sorted_quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

/// The mean of the data in each cell, as decode points for translation and rotation. Cells without data keep their
/// midpoint. The mean has the smallest squared error that a cell can decode to.
pub fn cell_points(grids: &Grids, actions: &[NormalizedAction]) -> Result<[CellDecode; 2], FitError> {
    check_actions(actions)?;
    let (translation, rotation) = (&grids.translation, &grids.rotation);
    let mut translation_means = CellMeans::new(translation.cell_count());
    let mut rotation_means = CellMeans::new(rotation.cell_count());
    for action in actions {
        let xyz = action.translation();
        translation_means.add(translation.locate(spherical::from_cartesian(xyz))?, xyz);
        rotation_means.add(rotation.locate(action.rotation())?, action.rotation());
    }
    Ok([
        CellDecode::Points(translation_means.or_else(|cell| tokenizer::translation_midpoint(translation, cell))?),
        CellDecode::Points(rotation_means.or_else(|cell| rotation.center(cell))?),
    ])
}

/// Sum and count per cell.
struct CellMeans {
    cells: Vec<([f64; 3], f64)>,
}

impl CellMeans {
    fn new(cell_count: u32) -> Self {
        Self { cells: vec![([0.0; 3], 0.0); cell_count as usize] }
    }

    fn add(&mut self, cell: u32, point: [f64; 3]) {
        let (sum, count) = &mut self.cells[cell as usize];
        sum.iter_mut().zip(point).for_each(|(sum, value)| *sum += value);
        *count += 1.0;
    }

    fn or_else(self, empty: impl Fn(u32) -> Result<[f64; 3], GridError>) -> Result<Vec<[f64; 3]>, GridError> {
        let mean = |(cell, (sum, count)): (usize, ([f64; 3], f64))| {
            if count > 0.0 { Ok(sum.map(|value| value / count)) } else { empty(cell as u32) }
        };
        self.cells.into_iter().enumerate().map(mean).collect()
    }
}

/// Six axes from `edges_of(axis, bin_count)`.
fn build(
    shape: &GridShape,
    mut edges_of: impl FnMut(usize, u32) -> Result<Vec<f64>, FitError>,
) -> Result<Grids, FitError> {
    let bin_counts = shape.bin_counts();
    let mut axis = |axis: usize| {
        let (name, bin_count) = (AXIS_NAMES[axis], bin_counts[axis]);
        if bin_count == 0 || bin_count as usize > BIN_COUNT_MAX {
            return Err(FitError::BinCount { axis: name, bin_count });
        }
        BinEdges::new(edges_of(axis, bin_count)?).map_err(|cause| FitError::Edges { axis: name, cause })
    };
    let translation = ActionGrid::new([axis(0)?, axis(1)?, axis(2)?])?;
    let rotation = ActionGrid::new([axis(3)?, axis(4)?, axis(5)?])?;
    Ok(Grids { translation, rotation })
}

/// Refuses an empty data set and one that is not normalized.
pub(crate) fn check_actions(actions: &[NormalizedAction]) -> Result<(), FitError> {
    if actions.is_empty() {
        return Err(FitError::NoActions);
    }
    let outside = actions.iter().enumerate().find_map(|(index, action)| Some((index, action.outside_cube()?)));
    match outside {
        Some((index, (dim, value))) => Err(FitError::OutsideCube { index, dim, value }),
        None => Ok(()),
    }
}

/// The data on each axis, `[6][actions]`.
fn axis_columns(actions: &[NormalizedAction]) -> Result<[Vec<f64>; 6], FitError> {
    check_actions(actions)?;
    let mut columns = [const { Vec::new() }; 6];
    for action in actions {
        let point = spherical::from_cartesian(action.translation()).into_iter().chain(action.rotation());
        columns.iter_mut().zip(point).for_each(|(column, value)| column.push(value));
    }
    Ok(columns)
}
