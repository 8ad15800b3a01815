//! One kind of motion (translation or rotation) over time: what is in force, how it may change, and the way to rest.
//!
//! From: the velocity that this tick asks for, per second of the caller's clock. To: a [`Candidate`] that keeps the
//! bounds of acceleration and jerk. The way to rest that was good at the last tick is always at hand
//! ([`Motion::brake`]), so there is always a command that breaks no bound: everything else must prove itself against it.
//!
//! Meaning of the bounds, velocities `v` being in force from one tick to the next and `t` the caller's clock:
//! acceleration `a[k] = (v[k] - v[k-1]) / (t[k] - t[k-1])`, jerk = change of `a` over the time between the middles of
//! the two intervals. All three are lengths of vectors.

use super::limits::MotionBounds;
use super::stop_plan::StopPlan;
use super::{acceleration, jerk};
use nalgebra::Vector3;

/// Halvings between the brake and what was asked, when the latter leaves no room to stop: 0.1 % of the difference.
const HALVINGS: usize = 10;
/// Room for the rounding of a speed that is exactly at its bound.
const ROUNDING: f64 = 1.0 + 1e-12;

/// What a tick may command, and the way to rest after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// In force from this tick on, per second.
    pub(super) velocity: Vector3<f64>,
    /// Mean since the last tick.
    acceleration: Vector3<f64>,
    /// How it comes to rest.
    pub(super) plan: StopPlan,
    /// Where in the plan it is.
    pub(super) elapsed_s: f64,
}

impl Candidate {
    /// Largest speed from here to rest.
    pub(super) fn speed_max(&self) -> f64 {
        self.plan.speed_max()
    }
}

/// Which bound kept the velocity from changing as asked, and what was asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limited {
    Acceleration(f64),
    Jerk(f64),
}

/// What is in force.
#[derive(Debug, Clone)]
pub(super) struct Motion {
    bounds: MotionBounds,
    tick_s: f64,
    now: Candidate,
    /// Seconds between the last two ticks.
    interval_s: f64,
}

impl Motion {
    /// At rest, in a loop whose ticks take `tick_s`.
    pub(super) fn at_rest(bounds: MotionBounds, tick_s: f64) -> Self {
        let zero = Vector3::zeros();
        let now = Candidate { velocity: zero, acceleration: zero, plan: StopPlan::at_rest(), elapsed_s: 0.0 };
        Self { bounds, tick_s, now, interval_s: tick_s }
    }

    /// The robot is known to stand still.
    pub(super) fn rest(&mut self) {
        *self = Self::at_rest(self.bounds, self.tick_s);
    }

    /// Velocity in force.
    pub(super) fn velocity(&self) -> Vector3<f64> {
        self.now.velocity
    }

    /// On along the way to rest; breaks no bound.
    pub(super) fn brake(&self, dt_s: f64) -> Candidate {
        let elapsed_s = self.now.elapsed_s + dt_s;
        let velocity = self.now.plan.velocity(elapsed_s);
        Candidate { velocity, acceleration: self.change(&velocity, dt_s), plan: self.now.plan, elapsed_s }
    }

    /// As near to `wanted` as acceleration and jerk allow.
    pub(super) fn towards(&self, wanted: &Vector3<f64>, dt_s: f64) -> (Candidate, Option<Limited>) {
        let needed = self.change(wanted, dt_s);
        // From the middle of the last interval to the middle of this one.
        let between_s = (dt_s + self.interval_s) / 2.0;
        let limited = acceleration::exceeded(&needed, &self.bounds)
            .or_else(|| jerk::exceeded(&(needed - self.now.acceleration), between_s, &self.bounds));
        if limited.is_none() {
            return (self.candidate(*wanted, needed), None);
        }
        let to_go = wanted - self.now.velocity;
        let aimed = acceleration::approach(&to_go, dt_s, &self.bounds);
        let allowed = jerk::limit(&self.now.acceleration, &aimed, between_s, &self.bounds);
        (self.candidate(self.now.velocity + allowed * dt_s, allowed), limited)
    }

    /// `asked` if `is_safe`, else what lies nearest to it between `brake` and `asked`; whether it is `asked`.
    ///
    /// Everything in between keeps acceleration and jerk, because both ends do.
    pub(super) fn settle(
        &self,
        asked: Candidate,
        brake: Candidate,
        dt_s: f64,
        is_safe: impl Fn(&Candidate) -> bool,
    ) -> (Candidate, bool) {
        let is_safe =
            |candidate: &Candidate| candidate.speed_max() <= self.bounds.speed_max * ROUNDING && is_safe(candidate);
        if is_safe(&asked) {
            return (asked, true);
        }
        let (mut best, mut safe, mut unsafe_) = (brake, 0.0, 1.0);
        for _ in 0..HALVINGS {
            let share = (safe + unsafe_) / 2.0;
            let velocity = brake.velocity.lerp(&asked.velocity, share);
            let candidate = self.candidate(velocity, self.change(&velocity, dt_s));
            if is_safe(&candidate) {
                (best, safe) = (candidate, share);
            } else {
                unsafe_ = share;
            }
        }
        (best, false)
    }

    /// From now on `candidate` is in force.
    pub(super) fn commit(&mut self, candidate: Candidate, dt_s: f64) {
        self.now = candidate;
        self.interval_s = dt_s;
    }

    fn change(&self, velocity: &Vector3<f64>, dt_s: f64) -> Vector3<f64> {
        if self.bounds.acceleration_max.is_infinite() {
            return Vector3::zeros(); // of no interest, and not even finite after a very short interval
        }
        (velocity - self.now.velocity) / dt_s
    }

    fn candidate(&self, velocity: Vector3<f64>, acceleration: Vector3<f64>) -> Candidate {
        Candidate { velocity, acceleration, plan: StopPlan::new(velocity, acceleration, &self.bounds), elapsed_s: 0.0 }
    }
}
