//! Rotations on SO(3): roll, pitch, yaw of a step to a rotation vector and back.
//!
//! Three small Euler angles can make one large turn, so bounds are measured on the rotation vector (axis times angle,
//! axes of the base), whose length is the angle. Steps are composed as rotations, never by adding angles.

use nalgebra::{UnitQuaternion, Vector3};

/// `rpy_rad` = roll, pitch, yaw about the static x, y, z axes, to the rotation vector; at most half a turn.
pub(crate) fn vector(rpy_rad: [f64; 3]) -> Vector3<f64> {
    UnitQuaternion::from_euler_angles(rpy_rad[0], rpy_rad[1], rpy_rad[2]).scaled_axis()
}

/// The inverse.
pub(crate) fn rpy_rad(vector: &Vector3<f64>) -> [f64; 3] {
    let (roll, pitch, yaw) = UnitQuaternion::from_scaled_axis(*vector).euler_angles();
    [roll, pitch, yaw]
}
