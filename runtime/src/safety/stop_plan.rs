//! How a moving robot comes to rest: a closed-form velocity profile whose acceleration and jerk never exceed their bounds.
//!
//! From: velocity and acceleration now, as vectors. To: velocity at any later time, and how far each axis can still go.
//!
//! The plan, in order: keep the present acceleration where that alone is the shorter way to rest, release it at full
//! jerk, then brake what is left in a straight line (ramp, constant deceleration, ramp). All vectors are scaled, never
//! cut per axis, so the norm bounds hold exactly: each piece changes the acceleration along a straight line between two
//! vectors within the bound, at a rate of the jerk bound.
//!
//! From constant speed, while speeding up, and while braking at full deceleration in a straight line this is the
//! time-optimal stop. In a curve it is not (it straightens first): a closed form that can be checked against a wall in
//! a tick was worth more than the last milliseconds of that case.

use super::limits::MotionBounds;
use nalgebra::Vector3;

/// A way to rest. A function of time, so that a late or an early tick only reads it at another place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StopPlan {
    /// Velocity and acceleration where the plan begins.
    start: Vector3<f64>,
    acceleration: Vector3<f64>,
    /// Seconds for which that acceleration is kept, and then released.
    keep_s: f64,
    release_s: f64,
    /// Velocity then, its direction (zero at rest) and its length.
    released: Vector3<f64>,
    along: Vector3<f64>,
    speed: f64,
    /// Straight brake: ramp, constant deceleration, ramp.
    ramp_s: f64,
    constant_s: f64,
    deceleration: f64,
    /// Rate of change of the deceleration during the ramps.
    jerk: f64,
}

/// How far an axis can still go, relative to where it is: `low <= 0 <= high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Excursion {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl StopPlan {
    /// Rest.
    pub(super) fn at_rest() -> Self {
        let zero = Vector3::zeros();
        Self {
            start: zero,
            acceleration: zero,
            keep_s: 0.0,
            release_s: 0.0,
            released: zero,
            along: zero,
            speed: 0.0,
            ramp_s: 0.0,
            constant_s: 0.0,
            deceleration: 0.0,
            jerk: 0.0,
        }
    }

    /// To rest from `velocity` and `acceleration`, which are within `bounds`.
    pub(super) fn new(velocity: Vector3<f64>, acceleration: Vector3<f64>, bounds: &MotionBounds) -> Self {
        if bounds.acceleration_max.is_infinite() {
            return Self { start: velocity, ..Self::at_rest() };
        }
        if bounds.jerk_max.is_infinite() {
            // A bound on acceleration alone lets go of it at once.
            return Self { start: velocity, ..Self::straight(velocity, bounds) };
        }
        let strength = acceleration.norm();
        let release_s = strength / bounds.jerk_max;
        let released = velocity + acceleration * (release_s / 2.0);
        let at_once =
            Self { start: velocity, acceleration, keep_s: 0.0, release_s, ..Self::straight(released, bounds) };
        let towards_rest = -released.dot(&acceleration);
        if towards_rest <= 0.0 {
            return at_once;
        }
        let keep_s = towards_rest / (strength * strength);
        let rest = Self::straight(released + acceleration * keep_s, bounds);
        let kept = Self { start: velocity, acceleration, keep_s, release_s, ..rest };
        if kept.duration_s() < at_once.duration_s() { kept } else { at_once }
    }

    /// The straight brake from `released`, with nothing before it.
    fn straight(released: Vector3<f64>, bounds: &MotionBounds) -> Self {
        let speed = released.norm();
        if speed == 0.0 {
            return Self::at_rest();
        }
        let (along, jerk) = (released / speed, bounds.jerk_max);
        let ramp_s = if jerk.is_infinite() { 0.0 } else { (bounds.acceleration_max / jerk).min((speed / jerk).sqrt()) };
        let deceleration = if jerk.is_infinite() { bounds.acceleration_max } else { jerk * ramp_s };
        let constant_s = (speed / deceleration - ramp_s).max(0.0);
        Self { released, along, speed, ramp_s, constant_s, deceleration, jerk, ..Self::at_rest() }
    }

    fn brake_s(&self) -> f64 {
        2.0 * self.ramp_s + self.constant_s
    }

    /// Seconds before the straight brake begins.
    fn turn_s(&self) -> f64 {
        self.keep_s + self.release_s
    }

    /// Seconds to rest.
    pub(super) fn duration_s(&self) -> f64 {
        self.turn_s() + self.brake_s()
    }

    /// Largest speed on the way: the velocity moves on straight lines from the start over `released` to zero.
    pub(super) fn speed_max(&self) -> f64 {
        self.start.norm().max(self.speed)
    }

    /// Velocity `elapsed_s` after the plan began.
    pub(super) fn velocity(&self, elapsed_s: f64) -> Vector3<f64> {
        if elapsed_s <= 0.0 {
            return self.start;
        }
        if elapsed_s < self.turn_s() {
            let kept_s = elapsed_s.min(self.keep_s);
            let released_s = elapsed_s - kept_s;
            let seconds = kept_s + released_s - released_s * released_s / (2.0 * self.release_s.max(f64::MIN_POSITIVE));
            return self.start + self.acceleration * seconds;
        }
        let (s, left_s) = (elapsed_s - self.turn_s(), self.duration_s() - elapsed_s);
        if left_s <= 0.0 {
            return Vector3::zeros();
        }
        let speed = if s < self.ramp_s {
            self.speed - self.jerk * s * s / 2.0
        } else if left_s > self.ramp_s {
            self.speed - self.deceleration * (s - self.ramp_s / 2.0)
        } else {
            self.jerk * left_s * left_s / 2.0
        };
        self.along * speed.max(0.0).min(self.speed)
    }

    /// Way from the plan's beginning, `elapsed_s` after it.
    fn way(&self, elapsed_s: f64) -> Vector3<f64> {
        let kept_s = elapsed_s.min(self.keep_s);
        let released_s = (elapsed_s - self.keep_s).clamp(0.0, self.release_s);
        let mut way = self.start * kept_s + self.acceleration * (kept_s * kept_s / 2.0);
        if released_s > 0.0 {
            let kept = self.start + self.acceleration * self.keep_s;
            let seconds2 = released_s * released_s * (0.5 - released_s / (6.0 * self.release_s));
            way += kept * released_s + self.acceleration * seconds2;
        }
        let (s, left_s) = (elapsed_s - self.turn_s(), self.duration_s() - elapsed_s);
        if s <= 0.0 {
            return way;
        }
        let whole = self.speed * self.brake_s() / 2.0; // the profile is symmetric, so its mean is half the speed
        let braked = if left_s <= 0.0 {
            whole
        } else if s < self.ramp_s {
            self.speed * s - self.jerk * s.powi(3) / 6.0
        } else if left_s > self.ramp_s {
            let (t, begun) = (s - self.ramp_s, self.speed - self.deceleration * self.ramp_s / 2.0);
            self.speed * self.ramp_s - self.jerk_of_ramp() * self.ramp_s.powi(3) / 6.0 + begun * t
                - self.deceleration * t * t / 2.0
        } else {
            whole - self.jerk * left_s.powi(3) / 6.0
        };
        way + self.along * braked
    }

    /// The jerk, or 0 where there is no ramp that it could act in.
    fn jerk_of_ramp(&self) -> f64 {
        if self.ramp_s > 0.0 { self.jerk } else { 0.0 }
    }

    /// How far `axis` goes from `elapsed_s` on, each velocity being in force for at most `command_s` seconds.
    ///
    /// A robot gets velocities one at a time and keeps each until the next: it is behind the plan by at most
    /// `command_s` times what the velocity loses on the way, whatever the ticks' times are.
    pub(super) fn excursion(&self, elapsed_s: f64, axis: usize, command_s: f64) -> Excursion {
        let from = self.way(elapsed_s)[axis];
        let now = self.velocity(elapsed_s)[axis];
        let turning = elapsed_s < self.turn_s();
        let mut range = Excursion { low: 0.0, high: 0.0 };
        let mut reach = |at_s: f64| {
            let way = self.way(at_s)[axis] - from;
            range = Excursion { low: range.low.min(way), high: range.high.max(way) };
        };
        if elapsed_s < self.duration_s() {
            reach(self.duration_s());
        }
        if turning {
            reach(self.turn_s());
            self.standstills(axis).into_iter().flatten().filter(|at_s| *at_s > elapsed_s).for_each(reach);
        }
        let then = if turning { self.released[axis] } else { now };
        let lost = (now - then).max(0.0) + then.max(0.0);
        let gained = (then - now).max(0.0) + (-then).max(0.0);
        // One that never turns round never goes the other way, however late it is.
        let low = if now >= 0.0 && then >= 0.0 { 0.0 } else { range.low - command_s * gained };
        let high = if now <= 0.0 && then <= 0.0 { 0.0 } else { range.high + command_s * lost };
        Excursion { low, high }
    }

    /// When `axis` turns round before the straight brake: while its acceleration is kept, and while it is released.
    fn standstills(&self, axis: usize) -> [Option<f64>; 2] {
        let (velocity, acceleration) = (self.start[axis], self.acceleration[axis]);
        if acceleration == 0.0 {
            return [None, None];
        }
        let kept_s = -velocity / acceleration;
        let kept = (kept_s > 0.0 && kept_s < self.keep_s).then_some(kept_s);
        // s - s²/(2 release) = seconds, the earlier root.
        let share = 1.0 - 2.0 * (kept_s - self.keep_s) / self.release_s;
        let released_s = self.release_s * (1.0 - share.max(0.0).sqrt());
        let released =
            (kept_s >= self.keep_s && share >= 0.0 && released_s.is_finite()).then_some(self.keep_s + released_s);
        [kept, released]
    }

    /// Direction of the velocity from `elapsed_s` on: what it is then or, where that is zero, what it becomes.
    pub(super) fn heading(&self, elapsed_s: f64) -> Option<Vector3<f64>> {
        let later = if elapsed_s < self.turn_s() { self.along } else { Vector3::zeros() };
        self.velocity(elapsed_s).try_normalize(0.0).or_else(|| later.try_normalize(0.0))
    }

    /// Bound on the way made at right angles to `heading` from `elapsed_s` on.
    ///
    /// For rotations: [`super::orientation_cone`] follows the rotation about one axis exactly and adds this.
    pub(super) fn sideways(&self, elapsed_s: f64, heading: &Vector3<f64>, command_s: f64) -> f64 {
        if elapsed_s >= self.turn_s() {
            return 0.0; // straight from here on
        }
        let sideways = (self.released - heading * self.released.dot(heading)).norm();
        sideways * (self.turn_s() - elapsed_s + self.brake_s() / 2.0 + 2.0 * command_s)
    }

    /// [`Self::excursion`] along any direction.
    pub(super) fn excursion_along(&self, elapsed_s: f64, direction: &Vector3<f64>, command_s: f64) -> Excursion {
        let turned = |vector: &Vector3<f64>| Vector3::new(vector.dot(direction), 0.0, 0.0);
        let along = Self {
            start: turned(&self.start),
            acceleration: turned(&self.acceleration),
            released: turned(&self.released),
            along: turned(&self.along),
            ..*self
        };
        along.excursion(elapsed_s, 0, command_s)
    }
}
