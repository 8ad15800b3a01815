//! The promises, checked on outputs and on the robot that follows them. Written from the rules' text, not from their code.

use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::safety::{GateLimits, MotionBounds, SafeAction};
use nalgebra::{Isometry3, UnitQuaternion, Vector3};

/// Differences of outputs, which are the only thing that a robot sees.
struct Differences {
    name: &'static str,
    bounds: MotionBounds,
    velocity: Vector3<f64>,
    acceleration: Vector3<f64>,
    interval_s: f64,
}

impl Differences {
    fn new(name: &'static str, bounds: MotionBounds, tick_s: f64) -> Self {
        Self { name, bounds, velocity: Vector3::zeros(), acceleration: Vector3::zeros(), interval_s: tick_s }
    }

    fn rest(&mut self, tick_s: f64) {
        *self = Self::new(self.name, self.bounds, tick_s);
    }

    fn tick(&mut self, velocity: Vector3<f64>, dt_s: f64) -> Result<(), String> {
        let (name, bounds) = (self.name, self.bounds);
        let too_much = |what: &str, found: f64, max: f64| Err(format!("{name} {what} {found} > {max} (dt {dt_s})"));
        if velocity.norm() > bounds.speed_max * (1.0 + 1e-9) {
            return too_much("speed", velocity.norm(), bounds.speed_max);
        }
        let acceleration = (velocity - self.velocity) / dt_s;
        let between_s = (dt_s + self.interval_s) / 2.0;
        // What the rounding of two velocities does to their difference quotients.
        let rounding = 1e-14 * bounds.speed_max / dt_s.min(self.interval_s);
        if acceleration.norm() > bounds.acceleration_max * (1.0 + 1e-9) + rounding {
            return too_much("acceleration", acceleration.norm(), bounds.acceleration_max);
        }
        let jerk = (acceleration - self.acceleration).norm() / between_s;
        if jerk > bounds.jerk_max * (1.0 + 1e-9) + 2.0 * rounding / between_s {
            return too_much("jerk", jerk, bounds.jerk_max);
        }
        (self.velocity, self.acceleration, self.interval_s) = (velocity, acceleration, dt_s);
        Ok(())
    }
}

/// Everything that is promised.
pub struct Judge {
    limits: GateLimits,
    rate: ControlRate,
    last: Option<Moment>,
    linear: Differences,
    angular: Differences,
    /// Where the robot may be: the box and the cone, wider after it was pushed.
    low_m: [f64; 3],
    high_m: [f64; 3],
    lean_rad_max: f64,
    found: Option<String>,
}

impl Judge {
    pub fn new(limits: GateLimits, rate: ControlRate) -> Self {
        let (low_m, high_m) = limits.workspace_m();
        let tick_s = rate.tick_s();
        Self {
            linear: Differences::new("linear", *limits.linear(), tick_s),
            angular: Differences::new("angular", *limits.angular(), tick_s),
            lean_rad_max: limits.cone().map_or(f64::INFINITY, |cone| cone.angle_rad_max),
            last: None,
            found: None,
            limits,
            rate,
            low_m,
            high_m,
        }
    }

    fn lean_rad(&self, pose: &Isometry3<f64>) -> f64 {
        self.limits.cone().map_or(0.0, |cone| (pose.rotation * cone.tool_axis).angle(&cone.base_axis))
    }

    /// The robot is somewhere because it did what it was told.
    pub fn moved(&mut self, pose: &Isometry3<f64>) {
        for axis in 0..3 {
            let at_m = pose.translation.vector[axis];
            if at_m < self.low_m[axis] - 1e-9 || at_m > self.high_m[axis] + 1e-9 {
                self.found = Some(format!("axis {axis} at {at_m} outside {}..{}", self.low_m[axis], self.high_m[axis]));
            }
        }
        let lean_rad = self.lean_rad(pose);
        if lean_rad > self.lean_rad_max + 1e-6 {
            self.found = Some(format!("lean {lean_rad} > {}", self.lean_rad_max));
        }
        if self.linear.velocity == Vector3::zeros() && self.linear.acceleration == Vector3::zeros() {
            self.allow(pose, Vector3::zeros());
        }
        if self.angular.velocity == Vector3::zeros() && self.angular.acceleration == Vector3::zeros() {
            self.lean_rad_max = self.limits.cone().map_or(f64::INFINITY, |cone| cone.angle_rad_max.max(lean_rad));
        }
    }

    /// Somebody moved the robot: from there it may need as long as its slowest stop takes.
    pub fn pushed(&mut self, pose: &Isometry3<f64>, _velocity: (Vector3<f64>, Vector3<f64>)) {
        let stop_m = self.slowest_stop(self.limits.linear());
        self.allow(pose, Vector3::repeat(stop_m));
        let stop_rad = self.slowest_stop(self.limits.angular());
        let cone_rad = self.limits.cone().map_or(f64::INFINITY, |cone| cone.angle_rad_max);
        self.lean_rad_max = cone_rad.max(self.lean_rad(pose) + stop_rad);
    }

    fn allow(&mut self, pose: &Isometry3<f64>, stop_m: Vector3<f64>) {
        let (low_m, high_m) = self.limits.workspace_m();
        for axis in 0..3 {
            let at_m = pose.translation.vector[axis];
            self.low_m[axis] = low_m[axis].min(at_m - stop_m[axis]);
            self.high_m[axis] = high_m[axis].max(at_m + stop_m[axis]);
        }
    }

    /// At full speed for as long as it takes to let go of the full acceleration, turn round and brake.
    fn slowest_stop(&self, bounds: &MotionBounds) -> f64 {
        let release_s = if bounds.jerk_max.is_finite() { bounds.acceleration_max / bounds.jerk_max } else { 0.0 };
        let brake_s =
            if bounds.acceleration_max.is_finite() { bounds.speed_max / bounds.acceleration_max } else { 0.0 };
        bounds.speed_max * (2.0 * self.limits.command_max().as_secs_f64() + 3.0 * release_s + 2.0 * brake_s)
    }

    /// One output.
    pub fn tick(&mut self, now: Moment, safe: &SafeAction, stopped: bool) -> Result<(), String> {
        if let Some(found) = self.found.take() {
            return Err(found);
        }
        let values = safe.action().values();
        if !values.iter().all(|value| value.is_finite()) || !(-1e-6..=1.0 + 1e-6).contains(&values[6]) {
            return Err(format!("no action: {values:?}"));
        }
        let tick_s = self.rate.tick_s();
        let passed_s = self.last.replace(now).map(|last| now.seconds_since(last));
        let gap = passed_s.is_some_and(|passed_s| passed_s > self.limits.command_max().as_secs_f64() + 1e-12);
        if gap {
            self.linear.rest(tick_s);
            self.angular.rest(tick_s);
        }
        let dt_s = passed_s.filter(|passed_s| *passed_s > 0.0 && !gap).unwrap_or(tick_s);
        let linear = Vector3::from(safe.action().translation_m()) / tick_s;
        let [roll, pitch, yaw] = safe.action().rotation_rad();
        let angular = UnitQuaternion::from_euler_angles(roll, pitch, yaw).scaled_axis() / tick_s;
        let apart =
            (linear - Vector3::from(safe.linear_m_s())).norm() + (angular - Vector3::from(safe.angular_rad_s())).norm();
        if apart > 1e-9 {
            return Err(format!("step and velocity differ by {apart}"));
        }
        // Angles go through sine and cosine; velocities do not.
        self.linear.tick(safe.linear_m_s().into(), dt_s)?;
        self.angular.tick(safe.angular_rad_s().into(), dt_s)?;
        let clock_fault = gap || passed_s.is_some_and(|passed_s| passed_s <= 0.0);
        if (clock_fault || stopped) && !safe.is_hold() {
            return Err("moved on although the clock cannot be believed, or the stop is latched".to_owned());
        }
        if safe.is_hold() && safe.interventions().next().is_none() {
            return Err("a hold without a reason".to_owned());
        }
        Ok(())
    }
}
