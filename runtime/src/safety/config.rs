//! `[safety]` of an embodiment file: what it says, before anything is checked.

use serde::Deserialize;

/// A bound, or the written reason why this robot has none. There is no third way: a rule is never off because a line is
/// missing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected the bound, or { unbounded = \"why this robot needs none\" }")]
pub enum Bound<T> {
    /// In force.
    At(T),
    /// Switched off.
    Unbounded(Unbounded),
}

/// `{ unbounded = "why" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unbounded {
    /// Why this robot needs no such bound.
    pub unbounded: String,
}

impl<T> Bound<T> {
    /// Switched off for that reason.
    pub fn unbounded(why: &str) -> Self {
        Self::Unbounded(Unbounded { unbounded: why.to_owned() })
    }
}

/// Every bound must be given: a bound that nobody wrote protects nobody. What each rule does: `docs/connect-your-robot.md`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetyConfig {
    /// Lower corner of the box that the end effector may be in, base frame, metres.
    pub workspace_min_m: [f64; 3],
    /// Upper corner.
    pub workspace_max_m: [f64; 3],
    /// Fastest translation, m/s.
    pub speed_m_s_max: f64,
    /// Largest change of velocity, m/s².
    pub acceleration_m_s2_max: Bound<f64>,
    /// Largest change of acceleration, m/s³.
    pub jerk_m_s3_max: Bound<f64>,
    /// Fastest rotation about any axis, rad/s.
    pub angular_speed_rad_s_max: f64,
    /// Largest change of angular velocity, rad/s².
    pub angular_acceleration_rad_s2_max: Bound<f64>,
    /// Largest change of angular acceleration, rad/s³.
    pub angular_jerk_rad_s3_max: Bound<f64>,
    /// How far the tool may lean.
    pub orientation_cone: Bound<ConeConfig>,
    /// How long the other side of 0.5 must be asked for without a break before the gripper changes side, ms.
    pub gripper_debounce_ms: Bound<f64>,
    /// Smallest probability that the tokens of an action may have, 0..1.
    pub confidence_min: Bound<f64>,
    /// Oldest picture, exposure to tick, whose actions are executed, ms.
    pub observation_ms_max: f64,
    /// Oldest report of the robot's state that still counts, ms.
    pub state_ms_max: f64,
    /// From a command to the motion that the robot's reports show, ms; commands younger than that are added to a report.
    pub response_ms: f64,
    /// How long a command is valid; then the robot holds by itself. A longer gap between two ticks is a fault.
    pub command_ms_max: f64,
    /// Oldest sign of the operator, ms.
    pub dead_man_ms_max: Bound<f64>,
    /// Looks in a row without an action from the policy before the stop is latched.
    pub policy_failures_max: u32,
}

/// A cone about a direction of the base, which an axis of the tool stays in.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConeConfig {
    /// Axis of the end effector, in its own frame; any length.
    pub tool_axis: [f64; 3],
    /// Middle of the cone, base frame; any length.
    pub base_axis: [f64; 3],
    /// Half the opening angle, radians.
    pub angle_rad_max: f64,
}
