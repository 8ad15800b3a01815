//! Rule: an axis of the tool stays within an angle (the *lean*) of a direction of the base, and so does its way to rest.
//!
//! Looks ahead like the workspace rule. The rotation about the axis of the present command is followed exactly along
//! its circle; what the way to rest turns about other axes is bounded and added. Near the edge only the rotation that
//! leads outwards is slowed down.

use super::limits::{Cone, MotionBounds};
use super::motion::Candidate;
use super::workspace::approach_max;
use nalgebra::{UnitQuaternion, Vector3};
use std::f64::consts::PI;

/// Room for rounding, radians.
const ROUNDING_RAD: f64 = 1e-9;

/// The cone, and what this robot's rotation needs to stop in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrientationCone<'a> {
    pub(super) cone: &'a Cone,
    pub(super) bounds: &'a MotionBounds,
    /// How long a command may be in force.
    pub(super) command_s: f64,
    /// Where the tool axis points, base frame.
    pub(super) tool: Vector3<f64>,
}

impl<'a> OrientationCone<'a> {
    pub(super) fn new(
        cone: &'a Cone,
        bounds: &'a MotionBounds,
        command_s: f64,
        base_from_ee: &UnitQuaternion<f64>,
    ) -> Self {
        Self { cone, bounds, command_s, tool: base_from_ee * cone.tool_axis.into_inner() }
    }

    /// Angle between the tool axis and the middle of the cone.
    pub(super) fn lean_rad(&self) -> f64 {
        angle(&self.cone.base_axis, &self.tool)
    }

    /// The lean after one more step, a rotation vector.
    pub(super) fn lean_after_rad(&self, step_rad: &Vector3<f64>) -> f64 {
        angle(&self.cone.base_axis, &(UnitQuaternion::from_scaled_axis(*step_rad) * self.tool))
    }

    /// Whether `candidate` could not stop in time: before the edge, or where the tool already leans further.
    pub(super) fn is_broken_by(&self, candidate: &Candidate) -> bool {
        self.lean_max(candidate) > self.cone.angle_rad_max.max(self.lean_rad()) + ROUNDING_RAD
    }

    /// Lowers the part of `wanted` that leads outwards, if it is too fast for the angle to the edge; whether it did.
    pub(super) fn slow_down(&self, wanted: &mut Vector3<f64>) -> bool {
        let Some(outwards) = self.cone.base_axis.cross(&self.tool).try_normalize(1e-9) else {
            return false; // in the middle every direction leads outwards, and there is room
        };
        let asked = wanted.dot(&outwards);
        let room_rad = (self.cone.angle_rad_max - self.lean_rad()).max(0.0);
        let allowed = if asked > 0.0 { approach_max(asked, room_rad, self.bounds, self.command_s) } else { asked };
        *wanted += outwards * (allowed - asked);
        allowed != asked
    }

    /// Bound on the lean from `candidate` to rest.
    fn lean_max(&self, candidate: &Candidate) -> f64 {
        let (plan, elapsed_s) = (&candidate.plan, candidate.elapsed_s);
        let Some(heading) = plan.heading(elapsed_s) else { return self.lean_rad() };
        let way = plan.excursion_along(elapsed_s, &heading, self.command_s);
        let sideways = plan.sideways(elapsed_s, &heading, self.command_s);
        (self.lean_max_about(&heading, way.low, way.high) + sideways).min(PI)
    }

    /// Largest lean while the tool turns about `axis` from `low` to `high` radians.
    fn lean_max_about(&self, axis: &Vector3<f64>, low: f64, high: f64) -> f64 {
        let (middle, tool) = (self.cone.base_axis.into_inner(), self.tool);
        // Cosine of the lean after turning by t: level + cosine * cos(t) + sine * sin(t).
        let level = middle.dot(axis) * tool.dot(axis);
        let (cosine, sine) = (middle.dot(&tool) - level, middle.dot(&axis.cross(&tool)));
        // It is smallest opposite to where it is largest.
        let opposite = sine.atan2(cosine) + PI;
        let turned = |t: f64| UnitQuaternion::from_scaled_axis(axis * t) * tool;
        let ends = angle(&middle, &turned(low)).max(angle(&middle, &turned(high)));
        let passed = [opposite - 2.0 * PI, opposite].into_iter().any(|t| (low..=high).contains(&t));
        if passed || high - low >= 2.0 * PI { ends.max(angle(&middle, &turned(opposite))) } else { ends }
    }
}

fn angle(a: &Vector3<f64>, b: &Vector3<f64>) -> f64 {
    a.cross(b).norm().atan2(a.dot(b))
}
