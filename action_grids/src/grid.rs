//! Three axes over a part of a normalized action: point to cell, cell to point, on the grid's own axes.
//!
//! From: a bundle's `grid.json` or `fit`. To: `tokenizer`. Shape: cells are row-major over `[bins0, bins1, bins2]`,
//! the last axis varies fastest. Source: SpatialVLA, arXiv:2501.15830.

use crate::axis::BinEdges;

/// Most cells in one grid: a limit for files, far above any grid in use.
pub const CELL_COUNT_MAX: u32 = 1 << 22;

/// Why three axes are not a grid, or a point or cell is not in it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GridError {
    /// The product of the bin counts is too large.
    #[error("a grid of {bin_counts:?} bins has more than {max} cells; use fewer bins", max = CELL_COUNT_MAX)]
    TooManyCells {
        /// Bins per axis.
        bin_counts: [u32; 3],
    },
    /// A cell index past the end: a token table that belongs to another grid.
    #[error("cell {cell} does not exist, the grid has {cell_count}; the token table belongs to another grid")]
    NoSuchCell {
        /// What was asked for.
        cell: u32,
        /// Cells in the grid.
        cell_count: u32,
    },
    /// NaN has no cell.
    #[error("axis {axis} of the point is NaN, which is in no cell; hold instead of encoding it")]
    NotANumber {
        /// 0, 1 or 2.
        axis: usize,
    },
}

/// Three axes over a normalized action. Cells are row-major: the last axis varies fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionGrid {
    axes: [BinEdges; 3],
    cell_count: u32,
}

impl ActionGrid {
    /// Axes in order of significance, slowest first: theta, phi, r or roll, pitch, yaw.
    pub fn new(axes: [BinEdges; 3]) -> Result<Self, GridError> {
        let bin_counts = axes.each_ref().map(BinEdges::bin_count);
        let cell_count = bin_counts.into_iter().map(u64::from).product::<u64>();
        match u32::try_from(cell_count) {
            Ok(cell_count) if cell_count <= CELL_COUNT_MAX => Ok(Self { axes, cell_count }),
            _ => Err(GridError::TooManyCells { bin_counts }),
        }
    }

    /// The axes, slowest first.
    pub fn axes(&self) -> &[BinEdges; 3] {
        &self.axes
    }

    /// Bins per axis, slowest first.
    pub fn bin_counts(&self) -> [u32; 3] {
        self.axes.each_ref().map(BinEdges::bin_count)
    }

    /// Number of cells.
    pub fn cell_count(&self) -> u32 {
        self.cell_count
    }

    /// Cell of a point given on the grid's axes. The outer bins are open-ended, see [`BinEdges::locate`].
    pub fn locate(&self, point: [f64; 3]) -> Result<u32, GridError> {
        let mut cell = 0;
        for (axis, edges) in self.axes.iter().enumerate() {
            let bin = edges.locate(point[axis]).ok_or(GridError::NotANumber { axis })?;
            cell = cell * edges.bin_count() + bin;
        }
        Ok(cell)
    }

    /// Bin of `cell` on each axis.
    pub fn bins(&self, cell: u32) -> Result<[u32; 3], GridError> {
        if cell >= self.cell_count {
            return Err(GridError::NoSuchCell { cell, cell_count: self.cell_count });
        }
        let [_, middle, last] = self.bin_counts();
        Ok([cell / (middle * last), cell / last % middle, cell % last])
    }

    /// Midpoint of `cell` on each axis. Never clamps: a cell outside the grid means a wrong token table.
    pub fn center(&self, cell: u32) -> Result<[f64; 3], GridError> {
        let bins = self.bins(cell)?;
        let no_such_cell = GridError::NoSuchCell { cell, cell_count: self.cell_count };
        let mut center = [0.0; 3];
        for axis in 0..3 {
            center[axis] = self.axes[axis].center(bins[axis]).ok_or_else(|| no_such_cell.clone())?;
        }
        Ok(center)
    }
}
