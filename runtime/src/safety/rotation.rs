//! Rule: one control step rotates at most `rotation_rad_max` radians. Measured on SO(3), since three small Euler
//! angles can make one large turn; shortens along the same axis.

use super::Intervention;
use nalgebra::{Rotation3, Unit};

/// `rpy_rad` = roll, pitch, yaw about the static x, y, z axes.
pub(super) fn limit(rpy_rad: &mut [f64; 3], rotation_rad_max: f64) -> Option<Intervention> {
    let rotation = Rotation3::from_euler_angles(rpy_rad[0], rpy_rad[1], rpy_rad[2]);
    let asked_rad = rotation.angle();
    if asked_rad <= rotation_rad_max {
        return None;
    }
    let shortened = match rotation.axis() {
        Some(axis) => {
            Rotation3::from_axis_angle(&Unit::new_normalize(axis.into_inner()), rotation_rad_max * (1.0 - 1e-12))
        }
        // An angle above the bound always has an axis; without one the only safe rotation is none.
        None => Rotation3::identity(),
    };
    let (roll, pitch, yaw) = shortened.euler_angles();
    *rpy_rad = [roll, pitch, yaw];
    Some(Intervention::Rotation { asked_rad, allowed_rad: rotation_rad_max })
}
