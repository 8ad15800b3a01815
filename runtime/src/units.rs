//! What the numbers of a data set mean for a robot: `[action]` of an embodiment.
//!
//! From: [`ActionRow`], in the data set's own units. To: [`Action`], physical. Data of controllers with an input of -1 to 1 (robosuite's OSC, and
//! with it LIBERO) has statistics of that input, not of metres, and says rotation as a rotation vector.

use crate::observation::Observation;
use crate::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use crate::rotation;
use crate::schedule::CommittedPrefix;
use egogrid_action_grids::{ACTION_DIMS, Action, ActionRow, DeltaError};
use nalgebra::Vector3;
use serde::Deserialize;

/// `[action]`. Absent: metres, radians as roll, pitch, yaw, gripper 0 (closed) to 1 (open).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ActionUnits {
    /// Metres of a translation of 1.
    pub translation_m: f64,
    /// Radians of a rotation of 1.
    pub rotation_rad: f64,
    /// How three numbers are one rotation.
    pub rotation: RotationForm,
    /// How a number is a gripper.
    pub gripper: GripperForm,
}

/// How three numbers are one rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationForm {
    /// Roll, pitch, yaw about the static x, y, z axes.
    Rpy,
    /// Axis times angle.
    Vector,
}

/// How a number is a gripper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GripperForm {
    /// The opening, 0 to 1; anything else is refused.
    Opening,
    /// Open above 0.5, else closed, whatever the number: models with bins say 0.996 or -0.004.
    Binary,
}

/// Units that no robot has.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("action.{key} is {found}, expected a number above 0 and at most {high}")]
pub struct UnitsError {
    key: &'static str,
    found: f64,
    high: f64,
}

impl Default for ActionUnits {
    fn default() -> Self {
        Self::PHYSICAL
    }
}

impl ActionUnits {
    /// Nothing to convert.
    pub const PHYSICAL: Self =
        Self { translation_m: 1.0, rotation_rad: 1.0, rotation: RotationForm::Rpy, gripper: GripperForm::Opening };

    /// # Errors
    /// A scale that is no positive number, or above one metre or half a turn.
    pub fn checked(self) -> Result<Self, UnitsError> {
        let scales =
            [("translation_m", self.translation_m, 1.0), ("rotation_rad", self.rotation_rad, std::f64::consts::PI)];
        match scales.into_iter().find(|(_, found, high)| !(*found > 0.0 && found <= high)) {
            Some((key, found, high)) => Err(UnitsError { key, found, high }),
            None => Ok(self),
        }
    }

    /// The only way from a model's numbers to a robot's. Physical units pass without a change of a bit.
    ///
    /// # Errors
    /// Another number of dimensions, or a gripper that is no opening.
    pub fn delta(&self, row: &ActionRow) -> Result<Action, DeltaError> {
        if *self == Self::PHYSICAL {
            return Action::try_from(row);
        }
        let values = <[f64; ACTION_DIMS]>::try_from(row.values());
        let [x, y, z, a, b, c, gripper] = values.map_err(|_| DeltaError::Dims { found: row.values().len() })?;
        let scaled = [a, b, c].map(|value| value * self.rotation_rad);
        let rotation_rad = match self.rotation {
            RotationForm::Rpy => scaled,
            RotationForm::Vector => rotation::rpy_rad(&Vector3::from(scaled)),
        };
        let gripper = match self.gripper {
            GripperForm::Opening => gripper,
            GripperForm::Binary => f64::from(u8::from(gripper > 0.5)),
        };
        Ok(Action::from_physical([x, y, z].map(|value| value * self.translation_m), rotation_rad, gripper)?)
    }
}

/// `policy`, whose chunks are of a robot with these units.
#[must_use]
pub fn in_units(policy: Box<dyn Policy>, units: ActionUnits) -> Box<dyn Policy> {
    if units == ActionUnits::PHYSICAL { policy } else { Box::new(InUnits { policy, units }) }
}

struct InUnits {
    policy: Box<dyn Policy>,
    units: ActionUnits,
}

impl Policy for InUnits {
    fn spec(&self) -> &PolicySpec {
        self.policy.spec()
    }

    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        self.policy.infer(observation).map(|chunk| ActionChunk { units: self.units, ..chunk })
    }

    fn infer_committed(
        &mut self,
        observation: &Observation,
        committed: &CommittedPrefix,
    ) -> Result<ActionChunk, PolicyError> {
        let chunk = self.policy.infer_committed(observation, committed);
        chunk.map(|chunk| ActionChunk { units: self.units, ..chunk })
    }

    fn reset(&mut self) {
        self.policy.reset();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// robosuite's OSC_POSE, as LIBERO has it.
    const OSC: ActionUnits = ActionUnits {
        translation_m: 0.05,
        rotation_rad: 0.5,
        rotation: RotationForm::Vector,
        gripper: GripperForm::Binary,
    };

    fn delta(units: ActionUnits, values: [f64; 7]) -> Result<Action, DeltaError> {
        units.delta(&ActionRow::new(values.to_vec()).unwrap())
    }

    #[test]
    fn physical_rows_pass_bit_for_bit() {
        let values = [0.01, -0.02, 0.1 + 0.2, 0.3, -0.1, 1e-17, 0.25];
        assert_eq!(delta(ActionUnits::PHYSICAL, values).unwrap().values(), values);
        assert!(delta(ActionUnits::PHYSICAL, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.004]).is_err());
    }

    #[test]
    fn an_input_of_a_controller_becomes_metres_and_a_rotation() {
        let action = delta(OSC, [1.0, -0.5, 0.25, 0.6, -0.2, 0.9, -0.004]).unwrap();
        assert_eq!(action.translation_m(), [0.05, -0.025, 0.0125]);
        assert_eq!(action.gripper(), 0.0);
        let vector = rotation::vector(action.rotation_rad());
        for (found, expected) in vector.iter().zip([0.3, -0.1, 0.45]) {
            assert!((found - expected).abs() < 1e-12, "{vector}");
        }
        assert_ne!(action.rotation_rad(), [0.3, -0.1, 0.45], "roll, pitch, yaw are other numbers");
        assert_eq!(delta(OSC, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.996]).unwrap().gripper(), 1.0);
    }

    #[test]
    fn other_numbers_of_dimensions_and_units_that_cannot_be_meant_are_refused() {
        assert!(OSC.delta(&ActionRow::new(vec![0.0; 6]).unwrap()).is_err());
        for wrong in [0.0, -0.05, f64::NAN, f64::INFINITY, 50.0] {
            assert!(ActionUnits { translation_m: wrong, ..OSC }.checked().is_err(), "{wrong}");
            assert!(ActionUnits { rotation_rad: wrong, ..OSC }.checked().is_err(), "{wrong}");
        }
        assert_eq!(OSC.checked().unwrap(), OSC);
    }
}
