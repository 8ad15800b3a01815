//! Bin edges of one axis: value to bin by binary search, bin to midpoint.
//!
//! From: a bundle's `grid.json` or `fit`. To: `grid`. Shape: `[bins + 1]`, float64, non-decreasing.
//! Source: SpatialVLA, arXiv:2501.15830; bins are closed on the left.

use serde::{Deserialize, Serialize};

/// Most bins on one axis: a limit for files, far above any grid in use.
pub const BIN_COUNT_MAX: usize = 1 << 16;

/// Why a list of numbers is not an axis.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EdgesError {
    /// Fewer than two edges, or more than the limit.
    #[error("an axis has {found} edges, expected 2 to {max}", max = BIN_COUNT_MAX + 1)]
    Count {
        /// Edges found.
        found: usize,
    },
    /// NaN or infinity.
    #[error("edge {index} is {value}, expected a finite number; export the grid again")]
    NotFinite {
        /// Position in the list.
        index: usize,
        /// What was found.
        value: f64,
    },
    /// An edge below the one before it.
    #[error(
        "edge {index} is {value}, below the edge before it ({before}); edges are sorted upwards, export the grid again"
    )]
    Unsorted {
        /// Position in the list.
        index: usize,
        /// What was found.
        value: f64,
        /// Its predecessor.
        before: f64,
    },
    /// All edges are one value.
    #[error(
        "all edges are {value}, so every value is the same cell; fit again with a larger min_sigma \
             or a mean inside the axis"
    )]
    NoWidth {
        /// That value.
        value: f64,
    },
}

/// Sorted, finite bin edges. Bins of width zero are allowed (a Gaussian far narrower than its axis saturates at the
/// ends); they are decodable, and no value is ever put into them except at the upper end of the axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct BinEdges {
    edges: Vec<f64>,
}

impl BinEdges {
    /// Checks once what [`Self::locate`] and [`Self::center`] then rely on.
    pub fn new(edges: Vec<f64>) -> Result<Self, EdgesError> {
        if !(2..=BIN_COUNT_MAX + 1).contains(&edges.len()) {
            return Err(EdgesError::Count { found: edges.len() });
        }
        if let Some(index) = edges.iter().position(|edge| !edge.is_finite()) {
            return Err(EdgesError::NotFinite { index, value: edges[index] });
        }
        if let Some(index) = (1..edges.len()).find(|&index| edges[index] < edges[index - 1]) {
            return Err(EdgesError::Unsorted { index, value: edges[index], before: edges[index - 1] });
        }
        if edges[0] == edges[edges.len() - 1] {
            return Err(EdgesError::NoWidth { value: edges[0] });
        }
        Ok(Self { edges })
    }

    /// `bin_count` bins of equal width.
    pub fn uniform(low: f64, high: f64, bin_count: u32) -> Result<Self, EdgesError> {
        Self::new(linspace(low, high, bin_count))
    }

    /// All edges, lowest first, `[bin_count + 1]`.
    pub fn as_slice(&self) -> &[f64] {
        &self.edges
    }

    /// Number of bins.
    pub fn bin_count(&self) -> u32 {
        (self.edges.len() - 1) as u32
    }

    /// First edge.
    pub fn low(&self) -> f64 {
        self.edges[0]
    }

    /// Last edge.
    pub fn high(&self) -> f64 {
        self.edges[self.edges.len() - 1]
    }

    /// Bin of `value`: the number of *interior* edges at or below it. `None` for NaN.
    ///
    /// The outer bins are open-ended by definition: the outer edges carry the rounding of the fit (the released
    /// radius axis starts at 2.2e-16, so standstill would lie outside). What may be encoded at all is decided
    /// once, on the whole action: [`crate::NormalizedAction::outside_cube`].
    pub fn locate(&self, value: f64) -> Option<u32> {
        let interior = &self.edges[1..self.edges.len() - 1];
        (!value.is_nan()).then(|| interior.partition_point(|&edge| edge <= value) as u32)
    }

    /// Edges of `bin`, `None` past the last bin.
    pub fn bounds(&self, bin: u32) -> Option<[f64; 2]> {
        let upper = self.edges.get(bin as usize + 1)?;
        Some([self.edges[bin as usize], *upper])
    }

    /// Arithmetic midpoint of `bin`, `None` past the last bin. Never clamps.
    pub fn center(&self, bin: u32) -> Option<f64> {
        self.bounds(bin).map(|[low, high]| 0.5 * (low + high))
    }
}

/// `bin_count + 1` values from `low` to `high`, rounded as the official code rounds them: `low + i * step`.
pub(crate) fn linspace(low: f64, high: f64, bin_count: u32) -> Vec<f64> {
    let step = (high - low) / f64::from(bin_count);
    let inner = (0..bin_count).map(|index| f64::from(index) * step + low);
    inner.chain([high]).collect()
}

impl TryFrom<Vec<f64>> for BinEdges {
    type Error = EdgesError;
    fn try_from(edges: Vec<f64>) -> Result<Self, EdgesError> {
        Self::new(edges)
    }
}

impl From<BinEdges> for Vec<f64> {
    fn from(axis: BinEdges) -> Self {
        axis.edges
    }
}
