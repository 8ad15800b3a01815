//! Rule: no faster than `speed_m_s_max` (translation) and `angular_speed_rad_s_max` (rotation). Shortens the step of one
//! tick, keeps its direction or axis.

use nalgebra::Vector3;

/// The length that was asked, if it was too long.
pub(super) fn limit(step: &mut Vector3<f64>, step_max: f64) -> Option<f64> {
    // The largest component first: squaring 1e200 would make the norm infinite and the result NaN.
    let largest = step.amax();
    if largest == 0.0 {
        return None;
    }
    let asked = largest * (*step / largest).norm();
    if asked <= step_max {
        return None;
    }
    *step = (*step / largest).normalize() * step_max;
    // Rounding may leave it one ulp too long, and a bound is a bound.
    while step.norm() > step_max {
        *step *= 1.0 - f64::EPSILON;
    }
    Some(asked)
}
