//! Rule: the end effector stays inside the workspace box, and so does its way to rest.
//!
//! Looks ahead: a command passes only if the robot can still stop before every wall afterwards, within its bounds of
//! acceleration and jerk and with every later tick as late as a command is valid. So a wall never asks for a harder
//! brake than the robot has. Near a wall only the component towards it is slowed down: one may slide along it, which
//! is the one place where the gate changes the direction of a motion.
//!
//! A robot that reports a place outside, or one too near to stop, brakes as hard as its bounds allow (jerk and
//! acceleration go before the wall, because the wall is lost already) and then may move inwards and along, never
//! further out.

use super::limits::MotionBounds;
use super::motion::Candidate;
use super::stop_plan::Excursion;
use nalgebra::Vector3;

/// Room for rounding, metres.
const ROUNDING_M: f64 = 1e-12;
/// Halvings to find the fastest approach: to 1e-6 of what was asked.
const HALVINGS: usize = 20;

/// Shares of acceleration and jerk that a wall is approached with; the rest is for sliding along it.
const GENTLY: [f64; 2] = [0.7, 0.3];

/// The box, and what this robot's motion needs to stop in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Workspace<'a> {
    pub(super) corners_m: ([f64; 3], [f64; 3]),
    pub(super) bounds: &'a MotionBounds,
    /// How long a command may be in force.
    pub(super) command_s: f64,
}

impl Workspace<'_> {
    /// First axis along which `candidate` could not stop in time: before the wall, or where the robot already is
    /// outside.
    pub(super) fn broken_by(&self, candidate: &Candidate, position_m: &Vector3<f64>) -> Option<usize> {
        let (low_m, high_m) = self.corners_m;
        (0..3).find(|axis| {
            let (at_m, way) = (position_m[*axis], self.way(candidate, *axis));
            at_m + way.low < low_m[*axis].min(at_m) - ROUNDING_M
                || at_m + way.high > high_m[*axis].max(at_m) + ROUNDING_M
        })
    }

    /// How far `brake`, which cannot be helped, still goes outwards and ends beyond the box, per axis.
    pub(super) fn overrun_m(&self, brake: &Candidate, position_m: &Vector3<f64>) -> [Option<f64>; 3] {
        let (low_m, high_m) = self.corners_m;
        [0, 1, 2].map(|axis| {
            let (at_m, way) = (position_m[axis], self.way(brake, axis));
            let by_m = [(low_m[axis] - at_m - way.low, way.low), (at_m + way.high - high_m[axis], way.high)];
            by_m.into_iter().find(|(by_m, way)| *by_m > ROUNDING_M && *way != 0.0).map(|(by_m, _)| by_m)
        })
    }

    fn way(&self, candidate: &Candidate, axis: usize) -> Excursion {
        candidate.plan.excursion(candidate.elapsed_s, axis, self.command_s)
    }

    /// Lowers each component of `wanted` that is too fast for the distance to its wall; which ones.
    pub(super) fn slow_down(&self, wanted: &mut Vector3<f64>, position_m: &Vector3<f64>) -> [bool; 3] {
        let (low_m, high_m) = self.corners_m;
        [0, 1, 2].map(|axis| {
            let asked = wanted[axis];
            let wall_m = if asked < 0.0 { low_m[axis] } else { high_m[axis] };
            let room_m = ((wall_m - position_m[axis]) * asked.signum()).max(0.0);
            let allowed = approach_max(asked.abs(), room_m, self.bounds, self.command_s) * asked.signum();
            wanted[axis] = allowed;
            allowed != asked
        })
    }
}

/// The fastest speed up to `asked` from which a gentle straight stop takes no more than `room`.
///
/// This makes the way along a wall smooth and nothing safe: [`Workspace::broken_by`] has the last word, on the real bounds.
pub(super) fn approach_max(asked: f64, room: f64, bounds: &MotionBounds, command_s: f64) -> f64 {
    let [acceleration_max, jerk_max] = [bounds.acceleration_max * GENTLY[0], bounds.jerk_max * GENTLY[1]];
    let bounds = MotionBounds { acceleration_max, jerk_max, ..*bounds };
    let stop = |speed: f64| speed * (command_s + bounds.stop_s(speed) / 2.0);
    if stop(asked) <= room {
        return asked;
    }
    if bounds.acceleration_max.is_infinite() {
        return room / command_s;
    }
    let (mut slow, mut fast) = (0.0, asked);
    for _ in 0..HALVINGS {
        let speed = (slow + fast) / 2.0;
        if stop(speed) <= room { slow = speed } else { fast = speed }
    }
    slow
}
