//! One action as the model's own data set has it: as many numbers as that data set, in its own units.
//!
//! From: [`crate::bins`] or [`crate::tokenizer`]. To: [`crate::stats`], and from there, where the numbers are an
//! end-effector delta, to [`Action`]. Shape: `[n]`; 7 for one arm with one gripper, 5 or 14 for other robots.
//! Nothing here holds NaN or infinity, and nothing is promised beyond that: a gripper may be on any scale.

use serde::{Deserialize, Serialize};

use crate::action::{ACTION_DIMS, Action, ActionError, NormalizedAction};

/// Most numbers in one row.
pub const ROW_DIMS_MAX: usize = 64;

/// Why numbers are no row.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RowError {
    /// None, or more than any robot has.
    #[error("an action row has {found} numbers, expected 1 to {ROW_DIMS_MAX}; hold instead of sending it")]
    Dims {
        /// What was found.
        found: usize,
    },
    /// Another number of dimensions than the statistics have.
    #[error(
        "an action row has {found} numbers, expected {expected} as in the statistics; use the statistics that its tokens were made for"
    )]
    OtherDims {
        /// Of the row.
        found: usize,
        /// Of the statistics.
        expected: usize,
    },
    /// NaN or infinity.
    #[error("dimension {dim} of an action row is {value}, expected a finite number; hold instead of sending it")]
    NotFinite {
        /// Which one, from 0.
        dim: usize,
        /// What was found.
        value: f64,
    },
}

/// Why a row is no end-effector delta.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum DeltaError {
    /// Another number of dimensions.
    #[error(
        "the action has {found} dimensions, and an end-effector delta has {ACTION_DIMS} (x, y, z, roll, pitch, yaw, \
         gripper); use statistics of one arm with one gripper, or do not let this policy drive"
    )]
    Dims {
        /// Of the row.
        found: usize,
    },
    /// Seven numbers that are no action.
    #[error(transparent)]
    Action(#[from] ActionError),
}

/// One action in a data set's normalized space, `[n]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct NormalizedRow(Vec<f64>);

/// One action in the data set's own units, `[n]`. Made by [`crate::RowStats::unnormalize`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct ActionRow(Vec<f64>);

fn checked(values: Vec<f64>) -> Result<Vec<f64>, RowError> {
    if !(1..=ROW_DIMS_MAX).contains(&values.len()) {
        return Err(RowError::Dims { found: values.len() });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(dim) => Err(RowError::NotFinite { dim, value: values[dim] }),
        None => Ok(values),
    }
}

impl NormalizedRow {
    /// 1 to [`ROW_DIMS_MAX`] finite numbers.
    pub fn new(values: Vec<f64>) -> Result<Self, RowError> {
        checked(values).map(Self)
    }

    /// All of them.
    pub fn values(&self) -> &[f64] {
        &self.0
    }
}

impl ActionRow {
    /// 1 to [`ROW_DIMS_MAX`] finite numbers.
    pub fn new(values: Vec<f64>) -> Result<Self, RowError> {
        checked(values).map(Self)
    }

    /// All of them.
    pub fn values(&self) -> &[f64] {
        &self.0
    }
}

impl TryFrom<Vec<f64>> for NormalizedRow {
    type Error = RowError;
    fn try_from(values: Vec<f64>) -> Result<Self, RowError> {
        Self::new(values)
    }
}

impl TryFrom<Vec<f64>> for ActionRow {
    type Error = RowError;
    fn try_from(values: Vec<f64>) -> Result<Self, RowError> {
        Self::new(values)
    }
}

impl From<NormalizedRow> for Vec<f64> {
    fn from(row: NormalizedRow) -> Self {
        row.0
    }
}

impl From<ActionRow> for Vec<f64> {
    fn from(row: ActionRow) -> Self {
        row.0
    }
}

impl From<NormalizedAction> for NormalizedRow {
    fn from(action: NormalizedAction) -> Self {
        Self(action.values().to_vec())
    }
}

impl From<Action> for ActionRow {
    fn from(action: Action) -> Self {
        Self(action.values().to_vec())
    }
}

/// The only way from a model's numbers to a robot's. Refuses; never pads, cuts or rescales.
impl TryFrom<&ActionRow> for Action {
    type Error = DeltaError;
    fn try_from(row: &ActionRow) -> Result<Self, DeltaError> {
        let values = <[f64; ACTION_DIMS]>::try_from(row.values());
        let values = values.map_err(|_| DeltaError::Dims { found: row.values().len() })?;
        Ok(Self::try_from(values)?)
    }
}
