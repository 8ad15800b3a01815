//! Depth at the model's sub-cells: one number per sample point, straight from the native resolution.
//!
//! From: a depth image `[height, width]`, metres, of the same view as the picture (any resolution). To:
//! [`super::ego3d`], `[rows, cols]` metres, `rows = patch_rows * samples_per_patch_side`. Source: SpatialVLA takes the
//! mean of its estimator's depth over each sub-cell (`interpolate(mode="area")`), which is the dense kind here,
//! rounding included. A sensor has holes, so its kind is a weighted mean over the valid pixels only, with exact weights
//! where a cell border runs through a pixel.

use super::fill::fill_from_nearest;
use crate::camera::{DepthImage, DepthKind, SIDE_PX_MAX};

/// Largest number of sub-cells: far above any model, low enough that a typing error in a bundle cannot take the memory.
pub const CELLS_MAX: u32 = 1 << 16;

/// Where the depth of one observation came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepthOrigin {
    /// With the frame, from a sensor.
    Sensor,
    /// With the frame, from somebody's estimator.
    Dense,
    /// From the picture, by the policy's own estimator.
    Estimated,
}

impl DepthOrigin {
    /// The name in output and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sensor => "sensor",
            Self::Dense => "dense",
            Self::Estimated => "estimated",
        }
    }
}

/// How good the depth of one observation was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DepthReport {
    /// Where it came from.
    pub origin: DepthOrigin,
    /// Sub-cells in all.
    pub cells: u32,
    /// Sub-cells without one valid pixel.
    pub cells_empty: u32,
    /// Sub-cells whose depth is not their own but that of their nearest neighbour with a valid pixel.
    pub cells_filled: u32,
    /// Distance of the farthest such neighbour, in sub-cells; 0 when none was filled.
    pub fill_distance_cells_max: f32,
    /// Share of the native image that was invalid, 0..1.
    pub invalid_share: f32,
}

/// Why there is no depth to work with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DepthError {
    /// Zero or absurd number of cells.
    #[error(
        "depth in {rows}x{cols} sub-cells: both must be at least 1 and their product at most \
         {cells_max}; check `[ego3d]` in the bundle"
    )]
    BadCells {
        /// As found.
        rows: u32,
        /// As found.
        cols: u32,
        /// Limit.
        cells_max: u32,
    },
    /// Limits that exclude everything, or are not numbers.
    #[error(
        "valid depth from {found_m:?} m: expected finite limits with 0 <= nearest < farthest; check the depth range of the camera"
    )]
    BadRange {
        /// Nearest, farthest.
        found_m: [f32; 2],
    },
    /// Not a share below 1.
    #[error(
        "share of empty sub-cells allowed is {found}, expected 0 <= share < 1; 0 refuses every frame with an empty sub-cell"
    )]
    BadShare {
        /// As found.
        found: f32,
    },
    /// Too many holes.
    #[error("{cells_empty} of {cells} depth sub-cells have no valid pixel (share {}, allowed {share_max}; valid is \
             {range_m:?} m): hold, and check the camera's view, its depth range and its exposure", *cells_empty as f32 / *cells as f32)]
    TooManyEmpty {
        /// Sub-cells without one valid pixel.
        cells_empty: u32,
        /// Sub-cells in all.
        cells: u32,
        /// Limit.
        share_max: f32,
        /// Nearest, farthest.
        range_m: [f32; 2],
    },
    /// A map of another size than it says.
    #[error(
        "a depth map of {width_px} px width has {found} values, expected whole rows; the bundle is damaged: run `egogrid check` on it"
    )]
    WrongLength {
        /// Stated.
        width_px: u32,
        /// Values there.
        found: usize,
    },
    /// An estimator gave something that is not a depth.
    #[error(
        "the mean of a dense depth map over sub-cell ({row}, {col}) is {found_m}, expected a finite number; a map \
             with holes is of kind `sensor`, otherwise the estimator is damaged: run `egogrid check` on the bundle"
    )]
    NotFinite {
        /// Row of the sub-cell.
        row: u32,
        /// Column of the sub-cell.
        col: u32,
        /// As found.
        found_m: f32,
    },
}

/// What becomes of sub-cells without one valid pixel. There is no default: a made-up depth moves the arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmptyCells {
    share_max: f32,
    fill: EmptyFill,
}

/// Where the depth of an empty sub-cell comes from. Every use is counted in [`DepthReport::cells_filled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyFill {
    /// The nearest sub-cell (distance between centres, in cells) with a valid pixel; among equals the first in
    /// row-major order.
    NearestValid,
}

impl EmptyCells {
    /// Up to `share_max` of the sub-cells may be empty and are filled with `fill`; one more and the frame is refused.
    ///
    /// # Errors
    /// Not `0 <= share_max < 1`.
    pub fn new(share_max: f32, fill: EmptyFill) -> Result<Self, DepthError> {
        if !(0.0..1.0).contains(&share_max) {
            return Err(DepthError::BadShare { found: share_max });
        }
        Ok(Self { share_max, fill })
    }

    /// Every frame with an empty sub-cell is refused.
    pub fn refused() -> Self {
        Self { share_max: 0.0, fill: EmptyFill::NearestValid }
    }
}

/// Which pixels of a sensor count, and what becomes of sub-cells where none does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SensorRules {
    range_m: [f32; 2],
    empty: EmptyCells,
}

impl SensorRules {
    /// A pixel counts when it is finite, above 0 and within `range_m` (nearest, farthest, both included).
    ///
    /// # Errors
    /// Limits that are not finite with `0 <= nearest < farthest`.
    pub fn new(range_m: [f32; 2], empty: EmptyCells) -> Result<Self, DepthError> {
        let [nearest, farthest] = range_m;
        if !(0.0 <= nearest && nearest < farthest && farthest.is_finite()) {
            // written so that NaN fails
            return Err(DepthError::BadRange { found_m: range_m });
        }
        Ok(Self { range_m, empty })
    }

    /// Smallest and largest depth that counts: zero itself never does.
    fn limits_m(&self) -> [f32; 2] {
        let smallest = f32::from_bits(1);
        [self.range_m[0].max(smallest), self.range_m[1]]
    }
}

/// Depth of one frame at the sub-cells, `[rows, cols]` metres, rows top first. Every value is finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubCellDepth<'a> {
    /// Sub-cells from top to bottom.
    pub rows: u32,
    /// Sub-cells from left to right.
    pub cols: u32,
    /// `[rows, cols]`, metres along the optical axis.
    pub depth_m: &'a [f32],
}

/// Averages depth images into sub-cells. Made once; allocates only when the camera changes its width.
#[derive(Debug, Clone)]
pub struct DepthCells {
    rows: u32,
    cols: u32,
    rules: SensorRules,
    depth_m: Vec<f32>,
    valid: Vec<bool>,
    /// Per native column of the current row of cells: sum of weight * depth, and of weight.
    column_sums: Vec<f64>,
    column_weights: Vec<f32>,
}

impl DepthCells {
    /// For `rows` by `cols` sub-cells; `rules` apply to depth of kind [`DepthKind::Sensor`].
    ///
    /// # Errors
    /// No sub-cells, or more than [`CELLS_MAX`].
    pub fn new(rows: u32, cols: u32, rules: SensorRules) -> Result<Self, DepthError> {
        let cells = rows.checked_mul(cols).filter(|cells| (1..=CELLS_MAX).contains(cells));
        let Some(cells) = cells.map(|cells| cells as usize) else {
            return Err(DepthError::BadCells { rows, cols, cells_max: CELLS_MAX });
        };
        Ok(Self {
            rows,
            cols,
            rules,
            depth_m: vec![0.0; cells],
            valid: vec![false; cells],
            column_sums: Vec::new(),
            column_weights: Vec::new(),
        })
    }

    /// Depth of every sub-cell, and how good it was.
    ///
    /// # Errors
    /// Too many sub-cells without a valid pixel (sensor), or a value that is not finite (dense).
    pub fn average(&mut self, depth: &DepthImage) -> Result<(SubCellDepth<'_>, DepthReport), DepthError> {
        let report = match depth.kind() {
            DepthKind::Dense => self.average_dense(depth.width_px() as usize, depth.data_m(), DepthOrigin::Dense)?,
            DepthKind::Sensor => self.average_sensor(depth)?,
        };
        Ok((SubCellDepth { rows: self.rows, cols: self.cols, depth_m: &self.depth_m }, report))
    }

    /// The same for what the policy's own estimator made of the picture: `[height, width]` metres, every pixel counts.
    ///
    /// # Errors
    /// No whole rows, or a value that is not finite.
    pub fn average_estimated(
        &mut self,
        width_px: u32,
        depth_m: &[f32],
    ) -> Result<(SubCellDepth<'_>, DepthReport), DepthError> {
        let width = width_px as usize;
        if depth_m.is_empty() || !depth_m.len().is_multiple_of(width.max(1)) || width == 0 {
            return Err(DepthError::WrongLength { width_px, found: depth_m.len() });
        }
        let report = self.average_dense(width, depth_m, DepthOrigin::Estimated)?;
        Ok((SubCellDepth { rows: self.rows, cols: self.cols, depth_m: &self.depth_m }, report))
    }

    /// Unweighted mean over every pixel that a cell touches, summed and divided in float32 in the order of the official
    /// code.
    fn average_dense(&mut self, width: usize, depth_m: &[f32], origin: DepthOrigin) -> Result<DepthReport, DepthError> {
        let height = depth_m.len() / width;
        let (rows, cols) = (self.rows as usize, self.cols as usize);
        for row in 0..rows {
            let (top, bottom) = (row * height / rows, ((row + 1) * height).div_ceil(rows));
            for col in 0..cols {
                let (left, right) = (col * width / cols, ((col + 1) * width).div_ceil(cols));
                let lines = depth_m[top * width..bottom * width].chunks_exact(width);
                let sum = lines.flat_map(|line| &line[left..right]).fold(0.0f32, |sum, value| sum + value);
                let mean = sum / (bottom - top) as f32 / (right - left) as f32;
                if !mean.is_finite() {
                    return Err(DepthError::NotFinite { row: row as u32, col: col as u32, found_m: mean });
                }
                self.depth_m[row * cols + col] = mean;
            }
        }
        Ok(self.report(origin, 0, 0.0, 0.0))
    }

    /// Mean over the valid pixels, weighted with the part of each pixel that lies in the cell. Weights are whole
    /// numbers (a pixel is `rows` by `cols` units), so that they add up exactly and a flat wall stays flat.
    fn average_sensor(&mut self, depth: &DepthImage) -> Result<DepthReport, DepthError> {
        let width = depth.width_px() as usize;
        self.column_sums.resize(width, 0.0);
        self.column_weights.resize(width, 0.0);
        let (mut weight_valid, mut cells_empty) = (0.0, 0);
        for row in 0..self.rows as usize {
            self.sum_rows(depth, row);
            for col in 0..self.cols as usize {
                let (sum, weight) = self.sum_columns(col);
                let cell = row * self.cols as usize + col;
                self.valid[cell] = weight > 0.0;
                cells_empty += u32::from(weight == 0.0);
                weight_valid += weight;
                self.depth_m[cell] = if weight > 0.0 { (sum / weight) as f32 } else { 0.0 };
            }
        }
        let EmptyCells { share_max, fill: EmptyFill::NearestValid } = self.rules.empty;
        let cells = self.rows * self.cols;
        if cells_empty == cells || f64::from(cells_empty) > f64::from(share_max) * f64::from(cells) {
            return Err(DepthError::TooManyEmpty { cells_empty, cells, share_max, range_m: self.rules.range_m });
        }
        let fill_distance_cells_max = fill_from_nearest(&mut self.depth_m, &self.valid, self.cols as usize);
        let weight_all = f64::from(depth.width_px()) * f64::from(depth.height_px()) * f64::from(cells);
        let invalid_share = ((weight_all - weight_valid) / weight_all) as f32;
        Ok(self.report(DepthOrigin::Sensor, cells_empty, fill_distance_cells_max, invalid_share))
    }

    /// Every native column of one row of cells: sums over the rows in it.
    fn sum_rows(&mut self, depth: &DepthImage, cell_row: usize) {
        let limits_m = self.rules.limits_m();
        self.column_sums.fill(0.0);
        self.column_weights.fill(0.0);
        let width = depth.width_px() as usize;
        for (y, weight) in overlaps(cell_row, self.rows as usize, depth.height_px() as usize) {
            let line = &depth.data_m()[y * width..][..width];
            add_row(&mut self.column_sums, &mut self.column_weights, line, weight as f32, limits_m);
        }
    }

    /// One cell of the current row of cells: sum of weight * depth, and of weight.
    fn sum_columns(&self, cell_col: usize) -> (f64, f64) {
        overlaps(cell_col, self.cols as usize, self.column_sums.len()).fold((0.0, 0.0), |(sum, total), (x, weight)| {
            let weight = weight as f64;
            (sum + weight * self.column_sums[x], total + weight * f64::from(self.column_weights[x]))
        })
    }

    fn report(
        &self,
        origin: DepthOrigin,
        cells_empty: u32,
        fill_distance_cells_max: f32,
        invalid_share: f32,
    ) -> DepthReport {
        let cells = self.rows * self.cols;
        DepthReport { origin, cells, cells_empty, cells_filled: cells_empty, fill_distance_cells_max, invalid_share }
    }
}

/// Adds one native row to the sums of its columns. Every pixel of every frame passes here: no branch, so that it
/// vectorizes. `weight` is at most [`CELLS_MAX`], exact in float32.
fn add_row(sums: &mut [f64], weights: &mut [f32], line: &[f32], weight: f32, [nearest_m, farthest_m]: [f32; 2]) {
    let weight_f64 = f64::from(weight);
    for ((sum, total), &value_m) in sums.iter_mut().zip(weights).zip(line) {
        let valid = (value_m >= nearest_m) & (value_m <= farthest_m); // NaN and infinity are neither
        *sum += f64::from(if valid { value_m } else { 0.0 }) * weight_f64;
        *total += if valid { weight } else { 0.0 };
    }
}

/// The pixels of `side_px` that cell `cell` of `cells` touches, each with its overlap in units of `1 / cells` pixels.
fn overlaps(cell: usize, cells: usize, side_px: usize) -> impl Iterator<Item = (usize, usize)> {
    debug_assert!(side_px <= SIDE_PX_MAX as usize && cell < cells);
    let (begin, end) = (cell * side_px, (cell + 1) * side_px);
    (begin / cells..end.div_ceil(cells)).map(move |at| (at, end.min((at + 1) * cells) - begin.max(at * cells)))
}
