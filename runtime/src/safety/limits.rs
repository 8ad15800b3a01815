//! The checked bounds that the gate trusts.

use super::config::{Bound, ConeConfig, SafetyConfig};
use crate::clock::ControlRate;
use nalgebra::{Unit, Vector3};
use std::time::Duration;

/// A bound that cannot be meant.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateLimitsError {
    /// Not a box.
    #[error(
        "safety.workspace_{{min,max}}_m: axis {axis} goes from {min_m} to {max_m} m; both must be finite and min < max"
    )]
    Workspace {
        /// x, y or z.
        axis: &'static str,
        /// As written.
        min_m: f64,
        /// As written.
        max_m: f64,
    },
    /// Not a number in its range.
    #[error("safety.{name} is {value}; it must be finite and in {open}0, {max}]")]
    Bound {
        /// Key in the file.
        name: &'static str,
        /// As written.
        value: f64,
        /// `[` where 0 itself is allowed, else `(`.
        open: char,
        /// Upper end, allowed.
        max: f64,
    },
    /// A rule is switched off without a reason.
    #[error("safety.{name} = {{ unbounded = \"\" }} gives no reason; write why this robot needs no such bound")]
    NoReason {
        /// Key in the file.
        name: &'static str,
    },
    /// Bounded jerk under unbounded acceleration.
    #[error("safety.{jerk} is bounded and safety.{acceleration} is not; bound the acceleration too, or neither")]
    JerkAlone {
        /// Key in the file.
        jerk: &'static str,
        /// Key in the file.
        acceleration: &'static str,
    },
    /// A robot that takes for ever to stop.
    #[error(
        "safety.{name}: with these bounds a stop from full speed takes {stop_s:.1} s; at most {STOP_S_MAX} s: \
         lower the speed, or raise acceleration and jerk"
    )]
    Stop {
        /// Key of the speed.
        name: &'static str,
        /// From full speed to rest.
        stop_s: f64,
    },
    /// An axis without a direction.
    #[error("safety.orientation_cone.{name} is {value:?}; it must be finite and not zero")]
    Axis {
        /// Key in the file.
        name: &'static str,
        /// As written.
        value: [f64; 3],
    },
    /// A command that ends before the next can come.
    #[error(
        "safety.command_ms_max is {command_ms}; at {hz} Hz the next command comes after {tick_ms} ms: write at least that"
    )]
    Command {
        /// As written.
        command_ms: f64,
        /// Of the control loop.
        hz: f64,
        /// One tick.
        tick_ms: f64,
    },
    /// A rotation that one command cannot name.
    #[error(
        "safety.angular_speed_rad_s_max is {speed_rad_s}: {step_rad} rad in one tick at {hz} Hz; it must be less than half a turn"
    )]
    Turn {
        /// As written.
        speed_rad_s: f64,
        /// In one tick.
        step_rad: f64,
        /// Of the control loop.
        hz: f64,
    },
}

/// Longest stop from full speed, seconds. An arm that needs longer is a typing mistake.
const STOP_S_MAX: f64 = 10.0;
/// Longest age of anything, ms.
const AGE_MS_MAX: f64 = 60_000.0;
/// Longest time that a report plus the robot's response may reach back, ms: what the gate remembers of its own commands.
pub(super) const MEMORY_MS: f64 = 1000.0;

/// Bounds of one kind of motion, in metres or radians. Unbounded is infinity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MotionBounds {
    /// Per second.
    pub speed_max: f64,
    /// Per second².
    pub acceleration_max: f64,
    /// Per second³.
    pub jerk_max: f64,
}

/// The tool axis stays within an angle of a direction of the base.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cone {
    /// In the frame of the end effector.
    pub tool_axis: Unit<Vector3<f64>>,
    /// In the base.
    pub base_axis: Unit<Vector3<f64>>,
    /// Half the opening angle.
    pub angle_rad_max: f64,
}

/// Checked bounds. Private fields: [`SafetyConfig::checked`] is the only way to have one. `None` = switched off.
#[derive(Debug, Clone, PartialEq)]
pub struct GateLimits {
    workspace_m: ([f64; 3], [f64; 3]),
    linear: MotionBounds,
    angular: MotionBounds,
    cone: Option<Cone>,
    gripper_debounce: Option<Duration>,
    confidence_min: Option<f32>,
    observation_max: Duration,
    state_max: Duration,
    response: Duration,
    command_max: Duration,
    dead_man_max: Option<Duration>,
    policy_failures_max: u32,
    unbounded: Vec<(&'static str, String)>,
}

/// Collects the reasons of what is switched off while the bounds are read.
#[derive(Default)]
struct Reader {
    unbounded: Vec<(&'static str, String)>,
}

impl Reader {
    fn number(name: &'static str, value: f64, max: f64) -> Result<f64, GateLimitsError> {
        if value > 0.0 && value <= max {
            return Ok(value);
        }
        Err(GateLimitsError::Bound { name, value, open: '(', max })
    }

    fn or_zero(name: &'static str, value: f64, max: f64) -> Result<f64, GateLimitsError> {
        if (0.0..=max).contains(&value) {
            return Ok(value);
        }
        Err(GateLimitsError::Bound { name, value, open: '[', max })
    }

    /// The bound, or `None` with its reason noted.
    fn optional<T>(&mut self, name: &'static str, bound: Bound<T>) -> Result<Option<T>, GateLimitsError> {
        match bound {
            Bound::At(value) => Ok(Some(value)),
            Bound::Unbounded(off) if off.unbounded.trim().is_empty() => Err(GateLimitsError::NoReason { name }),
            Bound::Unbounded(off) => {
                self.unbounded.push((name, off.unbounded));
                Ok(None)
            }
        }
    }

    fn optional_number(
        &mut self,
        name: &'static str,
        bound: Bound<f64>,
        max: f64,
    ) -> Result<Option<f64>, GateLimitsError> {
        self.optional(name, bound)?.map(|value| Self::number(name, value, max)).transpose()
    }

    fn motion(
        &mut self,
        names: [&'static str; 3],
        speed: (f64, f64),
        acceleration: (Bound<f64>, f64),
        jerk: (Bound<f64>, f64),
    ) -> Result<MotionBounds, GateLimitsError> {
        let speed_max = Self::number(names[0], speed.0, speed.1)?;
        let acceleration_max = self.optional_number(names[1], acceleration.0, acceleration.1)?;
        let jerk_max = self.optional_number(names[2], jerk.0, jerk.1)?;
        if acceleration_max.is_none() && jerk_max.is_some() {
            return Err(GateLimitsError::JerkAlone { jerk: names[2], acceleration: names[1] });
        }
        let bounds = MotionBounds {
            speed_max,
            acceleration_max: acceleration_max.unwrap_or(f64::INFINITY),
            jerk_max: jerk_max.unwrap_or(f64::INFINITY),
        };
        let stop_s = bounds.stop_s(speed_max);
        if stop_s > STOP_S_MAX {
            return Err(GateLimitsError::Stop { name: names[0], stop_s });
        }
        Ok(bounds)
    }
}

impl MotionBounds {
    /// Seconds from `speed` to rest, straight on and without acceleration at first.
    pub(super) fn stop_s(&self, speed: f64) -> f64 {
        let (acceleration, jerk) = (self.acceleration_max, self.jerk_max);
        match (acceleration.is_infinite(), jerk.is_infinite()) {
            (true, _) => 0.0,
            (false, true) => speed / acceleration,
            (false, false) if speed * jerk < acceleration * acceleration => 2.0 * (speed / jerk).sqrt(),
            (false, false) => speed / acceleration + acceleration / jerk,
        }
    }
}

impl ConeConfig {
    fn checked(self) -> Result<Cone, GateLimitsError> {
        let axis = |name, value: [f64; 3]| {
            let vector = Vector3::from(value);
            let largest = vector.amax();
            let unit = if largest.is_finite() { Unit::try_new(vector / largest, 0.0) } else { None };
            unit.ok_or(GateLimitsError::Axis { name, value })
        };
        Ok(Cone {
            tool_axis: axis("tool_axis", self.tool_axis)?,
            base_axis: axis("base_axis", self.base_axis)?,
            angle_rad_max: Reader::number("orientation_cone.angle_rad_max", self.angle_rad_max, std::f64::consts::PI)?,
        })
    }
}

fn ms(value: f64) -> Duration {
    Duration::from_nanos((value * 1e6).round() as u64)
}

impl SafetyConfig {
    /// What the gate may rely on.
    ///
    /// # Errors
    /// Names the first bound that cannot be meant.
    pub fn checked(self) -> Result<GateLimits, GateLimitsError> {
        for (i, axis) in ["x", "y", "z"].into_iter().enumerate() {
            let (min_m, max_m) = (self.workspace_min_m[i], self.workspace_max_m[i]);
            if !(min_m.is_finite() && max_m.is_finite() && min_m < max_m) {
                return Err(GateLimitsError::Workspace { axis, min_m, max_m });
            }
        }
        let mut reader = Reader::default();
        let linear = reader.motion(
            ["speed_m_s_max", "acceleration_m_s2_max", "jerk_m_s3_max"],
            (self.speed_m_s_max, 10.0),
            (self.acceleration_m_s2_max, 1e3),
            (self.jerk_m_s3_max, 1e6),
        )?;
        let angular = reader.motion(
            ["angular_speed_rad_s_max", "angular_acceleration_rad_s2_max", "angular_jerk_rad_s3_max"],
            (self.angular_speed_rad_s_max, 100.0),
            (self.angular_acceleration_rad_s2_max, 1e4),
            (self.angular_jerk_rad_s3_max, 1e7),
        )?;
        let cone = reader.optional("orientation_cone", self.orientation_cone)?.map(ConeConfig::checked).transpose()?;
        let debounce_ms = reader.optional_number("gripper_debounce_ms", self.gripper_debounce_ms, AGE_MS_MAX)?;
        let confidence_min = reader.optional_number("confidence_min", self.confidence_min, 1.0)?;
        let dead_man_ms = reader.optional_number("dead_man_ms_max", self.dead_man_ms_max, AGE_MS_MAX)?;
        let state_ms = Reader::number("state_ms_max", self.state_ms_max, MEMORY_MS)?;
        let response_ms = Reader::or_zero("response_ms", self.response_ms, MEMORY_MS - state_ms)?;
        let policy_failures = f64::from(self.policy_failures_max);
        Reader::number("policy_failures_max", policy_failures, 1e6)?;
        Ok(GateLimits {
            workspace_m: (self.workspace_min_m, self.workspace_max_m),
            linear,
            angular,
            cone,
            gripper_debounce: debounce_ms.map(ms),
            confidence_min: confidence_min.map(|value| value as f32),
            observation_max: ms(Reader::number("observation_ms_max", self.observation_ms_max, AGE_MS_MAX)?),
            state_max: ms(state_ms),
            response: ms(response_ms),
            command_max: ms(Reader::number("command_ms_max", self.command_ms_max, MEMORY_MS)?),
            dead_man_max: dead_man_ms.map(ms),
            policy_failures_max: self.policy_failures_max,
            unbounded: reader.unbounded,
        })
    }
}

impl GateLimits {
    /// Whether a loop at `rate` can keep these.
    ///
    /// # Errors
    /// A command that is not valid until the next tick, or half a turn in one tick.
    pub fn check_rate(&self, rate: ControlRate) -> Result<(), GateLimitsError> {
        let step_rad = self.angular.speed_max * rate.tick_s();
        if step_rad >= std::f64::consts::PI {
            return Err(GateLimitsError::Turn { speed_rad_s: self.angular.speed_max, step_rad, hz: rate.hz() });
        }
        if self.command_max < rate.tick() {
            let [command_ms, tick_ms] = [self.command_max, rate.tick()].map(|time| time.as_secs_f64() * 1e3);
            return Err(GateLimitsError::Command { command_ms, hz: rate.hz(), tick_ms });
        }
        Ok(())
    }

    /// Corners of the box, lower then upper, metres.
    pub fn workspace_m(&self) -> ([f64; 3], [f64; 3]) {
        self.workspace_m
    }

    /// Bounds of translation: m/s, m/s², m/s³.
    pub fn linear(&self) -> &MotionBounds {
        &self.linear
    }

    /// Bounds of rotation: rad/s, rad/s², rad/s³.
    pub fn angular(&self) -> &MotionBounds {
        &self.angular
    }

    /// How far the tool may lean.
    pub fn cone(&self) -> Option<&Cone> {
        self.cone.as_ref()
    }

    /// How long a change of the gripper's side must be asked for.
    pub fn gripper_debounce(&self) -> Option<Duration> {
        self.gripper_debounce
    }

    /// Smallest probability of an action's tokens.
    pub fn confidence_min(&self) -> Option<f32> {
        self.confidence_min
    }

    /// Oldest picture.
    pub fn observation_max(&self) -> Duration {
        self.observation_max
    }

    /// Oldest state.
    pub fn state_max(&self) -> Duration {
        self.state_max
    }

    /// From a command to its motion in a report.
    pub fn response(&self) -> Duration {
        self.response
    }

    /// How long a command is valid.
    pub fn command_max(&self) -> Duration {
        self.command_max
    }

    /// Oldest sign of the operator.
    pub fn dead_man_max(&self) -> Option<Duration> {
        self.dead_man_max
    }

    /// Looks in a row without an action before the stop is latched.
    pub fn policy_failures_max(&self) -> u32 {
        self.policy_failures_max
    }

    /// What is switched off: key in the file, and the reason written there.
    pub fn unbounded(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.unbounded.iter().map(|(name, why)| (*name, why.as_str()))
    }
}
