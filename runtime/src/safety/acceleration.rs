//! Rule: the velocity changes by at most `acceleration_m_s2_max` (`angular_acceleration_rad_s2_max`) per second.
//!
//! A change that is too large is approached along the same straight line between the two velocities, and in good time
//! less and less: an acceleration that could not be let go of before the velocity is reached would overshoot it.

use super::limits::MotionBounds;
use super::motion::Limited;
use nalgebra::Vector3;

/// Whether `needed` is more than the bound.
pub(super) fn exceeded(needed: &Vector3<f64>, bounds: &MotionBounds) -> Option<Limited> {
    let asked = needed.norm();
    (asked > bounds.acceleration_max).then_some(Limited::Acceleration(asked))
}

/// The acceleration to aim at when the velocity is still `to_go` away, in ticks of `dt_s`.
pub(super) fn approach(to_go: &Vector3<f64>, dt_s: f64, bounds: &MotionBounds) -> Vector3<f64> {
    let distance = to_go.norm();
    if distance == 0.0 {
        return Vector3::zeros();
    }
    let in_one_tick = distance / dt_s;
    // Let go of at full jerk, tick by tick, it is gone when the velocity is there: a²/(2 jerk) + a dt/2 = distance.
    let in_time = if bounds.jerk_max.is_infinite() {
        in_one_tick
    } else {
        let per_tick = bounds.jerk_max * dt_s / 2.0;
        (per_tick * per_tick + 2.0 * bounds.jerk_max * distance).sqrt() - per_tick
    };
    to_go * (in_one_tick.min(in_time).min(bounds.acceleration_max) / distance)
}
