//! Rule: the target position stays inside the workspace box. Shortens the step axis by axis.
//!
//! A robot that is already outside may move inwards and along the wall, never further out.

use super::Intervention;
use nalgebra::Vector3;

/// Calls `report` for every axis that was shortened.
pub(super) fn limit(
    step_m: &mut Vector3<f64>,
    position_m: &Vector3<f64>,
    (min_m, max_m): ([f64; 3], [f64; 3]),
    mut report: impl FnMut(Intervention),
) {
    for axis in 0..3 {
        let lowest = (min_m[axis] - position_m[axis]).min(0.0);
        let highest = (max_m[axis] - position_m[axis]).max(0.0);
        let asked = step_m[axis];
        let allowed = asked.clamp(lowest, highest);
        if allowed != asked {
            step_m[axis] = allowed;
            report(Intervention::Workspace {
                axis: axis as u8,
                asked_m: position_m[axis] + asked,
                allowed_m: position_m[axis] + allowed,
            });
        }
    }
}
