//! Fixed bins: one token per dimension, as OpenVLA has them.
//!
//! From: generated token ids, one per dimension. To: [`crate::NormalizedRow`], then [`crate::RowStats`].
//! Source: OpenVLA, arXiv:2406.09246: `bins` edges from -1 to 1, evenly spaced, and the `bins - 1` midpoints between
//! them; digit 1..=bins is vocabulary id `end_id - digit`, so a larger id is a smaller value. The last two digits both
//! mean the last midpoint: the last one is what exactly 1 was encoded to. float64 throughout.

use std::ops::Range;

/// Most bins.
pub const BINS_MAX: u32 = 1 << 16;

/// Why numbers make no bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BinsError {
    /// Too few to have a midpoint, or too many.
    #[error("there are {found} bins, expected 2 to {BINS_MAX}; export the checkpoint again")]
    Count {
        /// What was found.
        found: u32,
    },
    /// More bins than ids before the end.
    #[error("{bins} bins do not fit before id {end_id}, expected at most {end_id}; export the checkpoint again")]
    Begin {
        /// Bins.
        bins: u32,
        /// One past the last action id.
        end_id: u32,
    },
    /// The end token would be an action.
    #[error("the end token {eos_id} lies among the action ids {begin_id} to {last_id}; export the checkpoint again")]
    EndAmongActions {
        /// Ends a generation.
        eos_id: u32,
        /// First action id.
        begin_id: u32,
        /// Last action id.
        last_id: u32,
    },
}

/// Why an id or a value is not in a bin.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BinError {
    /// The end token.
    #[error("id {eos_id} ends the generation, expected an action id; hold")]
    End {
        /// The end token.
        eos_id: u32,
    },
    /// Not an action id. The official code limits it to the nearest one, which is a full motion.
    #[error("id {id} is no action id, expected {} to {}; hold", ids.0, ids.1)]
    NotAction {
        /// What was found.
        id: u32,
        /// First and last action id.
        ids: (u32, u32),
    },
    /// Outside the edges, or NaN.
    #[error("{value} is outside -1 to 1, which the bins cover; normalize it first")]
    Outside {
        /// What was found.
        value: f64,
    },
}

/// Bins and their ids. Made once; every id that is no action id is an error.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionBins {
    edges: Vec<f64>,
    centers: Vec<f64>,
    end_id: u32,
    eos_id: u32,
}

impl ActionBins {
    /// `bins` edges between -1 and 1, ids `end_id - bins .. end_id`.
    pub fn new(bins: u32, end_id: u32, eos_id: u32) -> Result<Self, BinsError> {
        if !(2..=BINS_MAX).contains(&bins) {
            return Err(BinsError::Count { found: bins });
        }
        let Some(begin_id) = end_id.checked_sub(bins) else {
            return Err(BinsError::Begin { bins, end_id });
        };
        if (begin_id..end_id).contains(&eos_id) {
            return Err(BinsError::EndAmongActions { eos_id, begin_id, last_id: end_id - 1 });
        }
        // As numpy's linspace: multiples of the step, and the last one exactly.
        let (last, step) = (bins - 1, 2.0 / f64::from(bins - 1));
        let edge = |index: u32| if index == last { 1.0 } else { f64::from(index) * step - 1.0 };
        let edges: Vec<f64> = (0..bins).map(edge).collect();
        let centers = edges.array_windows().map(|[low, high]| (low + high) / 2.0).collect();
        Ok(Self { edges, centers, end_id, eos_id })
    }

    /// The edges, rising from -1 to 1.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// What ids decode to, rising; one fewer than [`Self::edges`].
    pub fn centers(&self) -> &[f64] {
        &self.centers
    }

    /// The action ids, as many as bins.
    pub fn ids(&self) -> Range<u32> {
        self.end_id - self.edges.len() as u32..self.end_id
    }

    /// Ends a generation.
    pub fn eos_id(&self) -> u32 {
        self.eos_id
    }

    /// The normalized value of `id`.
    pub fn decode(&self, id: u32) -> Result<f64, BinError> {
        let ids = self.ids();
        if id == self.eos_id {
            return Err(BinError::End { eos_id: id });
        }
        if !ids.contains(&id) {
            return Err(BinError::NotAction { id, ids: (ids.start, ids.end - 1) });
        }
        let digit = (self.end_id - id) as usize;
        // Digits `bins - 1` and `bins` share the last midpoint.
        Ok(self.centers[digit.min(self.centers.len()) - 1])
    }

    /// The id of a normalized value in -1 to 1, as training targets are made. A value on an edge belongs to the bin
    /// above it.
    pub fn encode(&self, value: f64) -> Result<u32, BinError> {
        if !(-1.0..=1.0).contains(&value) {
            return Err(BinError::Outside { value });
        }
        Ok(self.end_id - self.edges.partition_point(|edge| *edge <= value) as u32)
    }
}
