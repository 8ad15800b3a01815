//! Rule: the acceleration changes by at most `jerk_m_s3_max` (`angular_jerk_rad_s3_max`) per second.
//!
//! A change that is too large is made as far as the bound goes, along the straight line between the two accelerations.

use super::limits::MotionBounds;
use super::motion::Limited;
use nalgebra::Vector3;

/// Whether `change` within `between_s` is more than the bound.
pub(super) fn exceeded(change: &Vector3<f64>, between_s: f64, bounds: &MotionBounds) -> Option<Limited> {
    let asked = change.norm();
    (asked > bounds.jerk_max * between_s).then(|| Limited::Jerk(asked / between_s))
}

/// From `before` towards `aimed`, within `between_s`.
pub(super) fn limit(
    before: &Vector3<f64>,
    aimed: &Vector3<f64>,
    between_s: f64,
    bounds: &MotionBounds,
) -> Vector3<f64> {
    let (change, change_max) = (aimed - before, bounds.jerk_max * between_s);
    let asked = change.norm();
    if asked <= change_max { *aimed } else { before + change * (change_max / asked) }
}
