//! The safety gate: the only maker of [`SafeAction`], one file per rule.
//!
//! From: the action that the schedule chose for this tick, and the newest state of the robot. To: the sink.
//! Order: latched stop, finite and gripper range, state, rotation, step length, workspace. Each rule only ever
//! makes an action smaller, so a later rule cannot break an earlier one. What a rule did is in the output.

mod gate;
mod limits;
mod rotation;
mod step_length;
mod workspace;

pub use gate::{Gate, GateCounters, SafeAction};
pub use limits::{GateLimits, GateLimitsError, SafetyConfig};

use std::fmt;

/// What the gate changed, and why. Copy and without heap: it is made inside the control tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Intervention {
    /// The stop is latched; nothing moves until it is re-armed.
    Stopped {
        /// Why it was stopped.
        reason: StopReason,
    },
    /// A value of the action was NaN, infinite or (the gripper) outside 0..=1. Stops.
    NotAnAction {
        /// Index of the dimension: x, y, z, roll, pitch, yaw, gripper.
        dim: u8,
        /// As found.
        value: f64,
    },
    /// There is no action for this tick: the policy gave none.
    NoAction,
    /// The robot's position is unknown or not finite, and the workspace rule needs it.
    NoState,
    /// The rotation was longer than allowed in one step and was shortened along the same axis.
    Rotation {
        /// Asked, radians.
        asked_rad: f64,
        /// Let through, radians.
        allowed_rad: f64,
    },
    /// The translation was longer than allowed in one step and was shortened in the same direction.
    StepLength {
        /// Asked, metres.
        asked_m: f64,
        /// Let through, metres.
        allowed_m: f64,
    },
    /// The step would have left the workspace box along one axis.
    Workspace {
        /// 0 = x, 1 = y, 2 = z.
        axis: u8,
        /// Target position asked, metres in the base.
        asked_m: f64,
        /// Target position let through, metres in the base.
        allowed_m: f64,
    },
}

/// Why the stop is latched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it.
    Operator,
    /// Something that is not an action arrived.
    NotAnAction,
    /// The policy failed more often in a row than allowed.
    PolicyFailed,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::NotAnAction => "a value that is not an action",
            Self::PolicyFailed => "the policy failed repeatedly",
        })
    }
}

impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AXES: [&str; 3] = ["x", "y", "z"];
        match *self {
            Self::Stopped { reason } => write!(f, "holding: stopped ({reason}) and not re-armed"),
            Self::NotAnAction { dim, value } => {
                write!(f, "holding: dimension {dim} is {value}, which is not an action; stopped")
            }
            Self::NoAction => f.write_str("holding: the policy gave no action"),
            Self::NoState => f.write_str("holding: the robot's position is unknown"),
            Self::Rotation { asked_rad, allowed_rad } => {
                write!(f, "rotation {asked_rad:.4} rad shortened to {allowed_rad:.4} rad")
            }
            Self::StepLength { asked_m, allowed_m } => write!(f, "step {asked_m:.4} m shortened to {allowed_m:.4} m"),
            Self::Workspace { axis, asked_m, allowed_m } => {
                write!(
                    f,
                    "target {} = {asked_m:.4} m held at {allowed_m:.4} m by the workspace",
                    AXES[usize::from(axis.min(2))]
                )
            }
        }
    }
}

impl Intervention {
    /// A short stable name for counters and machine-readable output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stopped { .. } => "stopped",
            Self::NotAnAction { .. } => "not_an_action",
            Self::NoAction => "no_action",
            Self::NoState => "no_state",
            Self::Rotation { .. } => "rotation",
            Self::StepLength { .. } => "step_length",
            Self::Workspace { .. } => "workspace",
        }
    }
}
