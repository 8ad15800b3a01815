//! As much of a step as every bound on motion allows: translation and rotation, each in the order of the rules.
//!
//! From: the step that the schedule asks for. To: a velocity that keeps speed, walls or cone, acceleration and jerk, with
//! a way to rest, and the reasons of every change.

use super::limits::{GateLimits, MotionBounds};
use super::motion::{Candidate, Limited, Motion};
use super::orientation_cone::OrientationCone;
use super::reason::Intervention;
use super::safe_action::Reasons;
use super::speed;
use super::workspace::Workspace;
use crate::rotation;
use egogrid_action_grids::Action;
use nalgebra::{Isometry3, Vector3};

/// What all rules on motion read.
pub(super) struct Shaping<'a> {
    pub(super) limits: &'a GateLimits,
    /// One tick of the loop, and what has passed since the last one.
    pub(super) tick_s: f64,
    pub(super) dt_s: f64,
    /// How long a command may be in force.
    pub(super) command_s: f64,
}

/// A motion that was settled on, and whether it is exactly what was asked.
pub(super) struct Settled {
    pub(super) candidate: Candidate,
    pub(super) as_asked: bool,
}

impl Shaping<'_> {
    /// Translation.
    pub(super) fn translate(
        &self,
        motion: &Motion,
        step: &Action,
        position_m: &Vector3<f64>,
        reasons: &mut Reasons,
    ) -> Settled {
        let (bounds, workspace) = (self.limits.linear(), self.workspace());
        let mut step_m = Vector3::from(step.translation_m());
        let too_long_m = speed::limit(&mut step_m, bounds.speed_max * self.tick_s);
        if let Some(asked_m) = too_long_m {
            reasons.push(Intervention::Speed { asked_m_s: asked_m / self.tick_s, allowed_m_s: bounds.speed_max });
        }
        let asked_m_s = step_m / self.tick_s;
        let mut wanted_m_s = asked_m_s;
        let mut walls = workspace.slow_down(&mut wanted_m_s, position_m);
        let (reachable, limited) = motion.towards(&wanted_m_s, self.dt_s);
        let wall = |candidate: &Candidate| workspace.broken_by(candidate, position_m);
        let (candidate, whole) =
            motion.settle(reachable, motion.brake(self.dt_s), self.dt_s, |candidate| wall(candidate).is_none());
        if let Some(axis) = wall(&reachable).filter(|_| !whole) {
            walls[axis] = true;
        }
        report_linear(limited, bounds, reasons);
        for axis in (0..3).filter(|axis| walls[*axis]) {
            let target_m = |velocity: &Vector3<f64>| position_m[axis] + velocity[axis] * self.tick_s;
            let (asked_m, allowed_m) = (target_m(&asked_m_s), target_m(&candidate.velocity));
            reasons.push(Intervention::Workspace { axis: axis as u8, asked_m, allowed_m });
        }
        if !whole && limited.is_none() && walls == [false; 3] && too_long_m.is_none() {
            let asked_m_s = reachable.speed_max();
            reasons.push(Intervention::Speed { asked_m_s, allowed_m_s: bounds.speed_max });
        }
        Settled { candidate, as_asked: too_long_m.is_none() && candidate.velocity == asked_m_s }
    }

    /// Rotation.
    pub(super) fn turn(&self, motion: &Motion, step: &Action, pose: &Isometry3<f64>, reasons: &mut Reasons) -> Settled {
        let bounds = self.limits.angular();
        let cone = self.limits.cone().map(|cone| OrientationCone::new(cone, bounds, self.command_s, &pose.rotation));
        let mut step_rad = rotation::vector(step.rotation_rad());
        let too_far_rad = speed::limit(&mut step_rad, bounds.speed_max * self.tick_s);
        if let Some(asked) = too_far_rad {
            let asked_rad_s = asked / self.tick_s;
            reasons.push(Intervention::AngularSpeed { asked_rad_s, allowed_rad_s: bounds.speed_max });
        }
        let asked_rad_s = step_rad / self.tick_s;
        let mut wanted_rad_s = asked_rad_s;
        let slowed = cone.as_ref().is_some_and(|cone| cone.slow_down(&mut wanted_rad_s));
        let (reachable, limited) = motion.towards(&wanted_rad_s, self.dt_s);
        let is_inside = |candidate: &Candidate| cone.as_ref().is_none_or(|cone| !cone.is_broken_by(candidate));
        let (candidate, whole) = motion.settle(reachable, motion.brake(self.dt_s), self.dt_s, is_inside);
        report_angular(limited, bounds, reasons);
        let leans = slowed || (!whole && !is_inside(&reachable));
        if let Some(cone) = cone.as_ref().filter(|_| leans) {
            let lean_rad = |velocity: Vector3<f64>| cone.lean_after_rad(&(velocity * self.tick_s));
            let (asked_rad, allowed_rad) = (lean_rad(asked_rad_s), lean_rad(candidate.velocity));
            reasons.push(Intervention::OrientationCone { asked_rad, allowed_rad });
        }
        if !whole && limited.is_none() && !leans && too_far_rad.is_none() {
            let asked_rad_s = reachable.speed_max();
            reasons.push(Intervention::AngularSpeed { asked_rad_s, allowed_rad_s: bounds.speed_max });
        }
        Settled { candidate, as_asked: too_far_rad.is_none() && candidate.velocity == asked_rad_s }
    }

    /// Says where a brake that cannot be helped goes beyond the box.
    pub(super) fn report_overrun(&self, brake: &Candidate, position_m: &Vector3<f64>, reasons: &mut Reasons) {
        for (axis, by_m) in self.workspace().overrun_m(brake, position_m).into_iter().enumerate() {
            if let Some(by_m) = by_m {
                reasons.push(Intervention::Outside { axis: axis as u8, by_m });
            }
        }
    }

    fn workspace(&self) -> Workspace<'_> {
        let (corners_m, bounds) = (self.limits.workspace_m(), self.limits.linear());
        Workspace { corners_m, bounds, command_s: self.command_s }
    }
}

fn report_linear(limited: Option<Limited>, bounds: &MotionBounds, reasons: &mut Reasons) {
    match limited {
        Some(Limited::Acceleration(asked_m_s2)) => {
            reasons.push(Intervention::Acceleration { asked_m_s2, max_m_s2: bounds.acceleration_max });
        }
        Some(Limited::Jerk(asked_m_s3)) => {
            reasons.push(Intervention::Jerk { asked_m_s3, max_m_s3: bounds.jerk_max });
        }
        None => {}
    }
}

fn report_angular(limited: Option<Limited>, bounds: &MotionBounds, reasons: &mut Reasons) {
    match limited {
        Some(Limited::Acceleration(asked_rad_s2)) => {
            reasons.push(Intervention::AngularAcceleration { asked_rad_s2, max_rad_s2: bounds.acceleration_max });
        }
        Some(Limited::Jerk(asked_rad_s3)) => {
            reasons.push(Intervention::AngularJerk { asked_rad_s3, max_rad_s3: bounds.jerk_max });
        }
        None => {}
    }
}
