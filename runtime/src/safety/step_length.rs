//! Rule: one control step translates at most `step_m_max` metres. Shortens, keeps the direction.

use super::Intervention;
use nalgebra::Vector3;

pub(super) fn limit(step_m: &mut Vector3<f64>, step_m_max: f64) -> Option<Intervention> {
    // The largest component first: squaring 1e200 would make the norm infinite and the result NaN.
    let largest = step_m.amax();
    if largest == 0.0 {
        return None;
    }
    let asked_m = largest * (*step_m / largest).norm();
    if asked_m <= step_m_max {
        return None;
    }
    *step_m = (*step_m / largest).normalize() * step_m_max;
    // Rounding may leave it one ulp too long, and a bound is a bound.
    while step_m.norm() > step_m_max {
        *step_m *= 1.0 - f64::EPSILON;
    }
    Some(Intervention::StepLength { asked_m, allowed_m: step_m_max })
}
