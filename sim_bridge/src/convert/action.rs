//! Actions: seven checked numbers to one step on the wire, and back.

use super::ConvertError;
use crate::message::{ActionStep, Vector3};
use egogrid_runtime::grids::Action;

/// One step as it goes out. Takes the numbers of a safe action; which ones may be sent, the endpoint's types say.
pub fn step_to_wire(action: &Action) -> ActionStep {
    let vector = |[x, y, z]: [f64; 3]| Vector3 { x, y, z };
    ActionStep {
        translation_m: vector(action.translation_m()),
        rotation_rad: vector(action.rotation_rad()),
        gripper: action.gripper(),
    }
}

/// One step as it came in: for readers of recordings and listeners.
///
/// # Errors
/// NaN, infinity, a gripper outside 0..=1.
pub fn wire_to_action(step: &ActionStep) -> Result<Action, ConvertError> {
    let array = |v: Vector3| [v.x, v.y, v.z];
    Ok(Action::from_physical(array(step.translation_m), array(step.rotation_rad), step.gripper)?)
}
