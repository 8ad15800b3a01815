//! The two meanings of seven numbers: [`NormalizedAction`] (what a model was trained on) and [`Action`] (physical).
//!
//! From: `tokenizer` (decode) or a data set. To: `stats`, which alone turns one into the other.
//! Shape: `[7]` = x, y, z, roll, pitch, yaw, gripper. Nothing here holds NaN or infinity.

use serde::{Deserialize, Serialize};

/// Numbers in one action: x, y, z, roll, pitch, yaw, gripper.
pub const ACTION_DIMS: usize = 7;

/// Names of the seven dimensions, for error messages and tables.
pub const DIM_NAMES: [&str; ACTION_DIMS] = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"];

/// How far a gripper opening may lie outside `0..=1`: room for the rounding of an average, not for a wrong scale.
pub const GRIPPER_SLACK: f64 = 1e-6;

/// Why seven numbers are not an action.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ActionError {
    /// NaN or infinity.
    #[error("action dimension {dim} is {value}, expected a finite number; hold instead of sending this action")]
    NotFinite {
        /// Which of [`DIM_NAMES`].
        dim: &'static str,
        /// What was found.
        value: f64,
    },
    /// A gripper value on another scale than 0 (closed) to 1 (open).
    #[error(
        "gripper is {value}, expected 0 (closed) to 1 (open); rescale it where it enters the program, \
             or check the statistics' mask for dimension 6"
    )]
    Gripper {
        /// What was found.
        value: f64,
    },
}

fn all_finite(values: &[f64; ACTION_DIMS]) -> Result<(), ActionError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(dim) => Err(ActionError::NotFinite { dim: DIM_NAMES[dim], value: values[dim] }),
        None => Ok(()),
    }
}

/// An action in a data set's normalized space: `[7]`, q01 is -1 and q99 is +1, the gripper 0 (closed) or 1 (open).
///
/// Finite, but not necessarily inside `[-1, 1]`: data beyond the quantiles is outside, and is not ours to move.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 7]", into = "[f64; 7]")]
pub struct NormalizedAction([f64; ACTION_DIMS]);

impl NormalizedAction {
    /// From x, y, z, roll, pitch, yaw, gripper. Refuses NaN and infinity.
    pub fn new(values: [f64; ACTION_DIMS]) -> Result<Self, ActionError> {
        all_finite(&values)?;
        Ok(Self(values))
    }

    /// For values that are finite by construction, such as a checked grid's cells.
    pub(crate) fn of_finite(values: [f64; ACTION_DIMS]) -> Self {
        debug_assert!(all_finite(&values).is_ok());
        Self(values)
    }

    /// All seven: x, y, z, roll, pitch, yaw, gripper.
    pub fn values(&self) -> &[f64; ACTION_DIMS] {
        &self.0
    }

    /// x, y, z; the radius of the cube's corners is √3.
    pub fn translation(&self) -> [f64; 3] {
        [self.0[0], self.0[1], self.0[2]]
    }

    /// Roll, pitch, yaw.
    pub fn rotation(&self) -> [f64; 3] {
        [self.0[3], self.0[4], self.0[5]]
    }

    /// 0 = closed, 1 = open.
    pub fn gripper(&self) -> f64 {
        self.0[6]
    }

    /// The nearest action inside the cube `[-1, 1]^7`: how training targets are made, never how commands are.
    #[must_use]
    pub fn clipped(self) -> Self {
        Self(self.0.map(|value| value.clamp(-1.0, 1.0)))
    }

    /// First dimension outside `[-1, 1]` and its value; `None` means that the action can be encoded.
    pub fn outside_cube(&self) -> Option<(&'static str, f64)> {
        let dim = self.0.iter().position(|value| !(-1.0..=1.0).contains(value))?;
        Some((DIM_NAMES[dim], self.0[dim]))
    }
}

impl TryFrom<[f64; ACTION_DIMS]> for NormalizedAction {
    type Error = ActionError;
    fn try_from(values: [f64; ACTION_DIMS]) -> Result<Self, ActionError> {
        Self::new(values)
    }
}

impl From<NormalizedAction> for [f64; ACTION_DIMS] {
    fn from(action: NormalizedAction) -> Self {
        action.0
    }
}

/// One end-effector delta in physical units. Out of a policy it comes only through
/// [`crate::NormStats::unnormalize`]; [`Self::from_physical`] is the door for everything else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 7]", into = "[f64; 7]")]
pub struct Action {
    translation_m: [f64; 3],
    rotation_rad: [f64; 3],
    gripper: f64,
}

impl Action {
    /// An action that is physical already: from the wire, a recording, a safety rule or a test.
    /// Refuses NaN, infinity and a gripper outside `0..=1` (by more than [`GRIPPER_SLACK`]); changes nothing.
    pub fn from_physical(translation_m: [f64; 3], rotation_rad: [f64; 3], gripper: f64) -> Result<Self, ActionError> {
        let action = Self { translation_m, rotation_rad, gripper };
        all_finite(&action.values())?;
        if !(-GRIPPER_SLACK..=1.0 + GRIPPER_SLACK).contains(&gripper) {
            return Err(ActionError::Gripper { value: gripper });
        }
        Ok(action)
    }

    /// No motion, gripper open: what a robot is told before anything is known.
    pub const STANDSTILL_OPEN: Self = Self { translation_m: [0.0; 3], rotation_rad: [0.0; 3], gripper: 1.0 };

    /// No motion, the same gripper.
    #[must_use]
    pub fn standing_still(self) -> Self {
        Self { gripper: self.gripper, ..Self::STANDSTILL_OPEN }
    }

    /// Delta of the end effector, metres, `[x, y, z]` in the data set's action frame.
    pub fn translation_m(&self) -> [f64; 3] {
        self.translation_m
    }

    /// Delta of the orientation, radians, `[roll, pitch, yaw]` (static-axes xyz Euler angles).
    pub fn rotation_rad(&self) -> [f64; 3] {
        self.rotation_rad
    }

    /// Absolute opening, 0 = closed, 1 = open.
    pub fn gripper(&self) -> f64 {
        self.gripper
    }

    /// All seven: x, y, z in metres, roll, pitch, yaw in radians, gripper.
    pub fn values(&self) -> [f64; ACTION_DIMS] {
        let ([x, y, z], [roll, pitch, yaw]) = (self.translation_m, self.rotation_rad);
        [x, y, z, roll, pitch, yaw, self.gripper]
    }
}

impl TryFrom<[f64; ACTION_DIMS]> for Action {
    type Error = ActionError;
    fn try_from([x, y, z, roll, pitch, yaw, gripper]: [f64; ACTION_DIMS]) -> Result<Self, ActionError> {
        Self::from_physical([x, y, z], [roll, pitch, yaw], gripper)
    }
}

impl From<Action> for [f64; ACTION_DIMS] {
    fn from(action: Action) -> Self {
        action.values()
    }
}
