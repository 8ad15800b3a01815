//! What the gate changed, and why, in words and as a short stable name.

use std::fmt;

/// What the gate changed, and why. Copy and without heap: it is made inside the control tick.
///
/// A *hold* brakes within the bounds of acceleration and jerk and then stands still; where those are unbounded it
/// stands still at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Intervention {
    /// Hold: the stop is latched; nothing moves until it is re-armed.
    Stopped {
        /// Why it was stopped.
        reason: StopReason,
    },
    /// Hold: the caller's clock cannot be believed.
    Clock {
        /// How it moved.
        fault: ClockFault,
    },
    /// Hold: a value of the action was NaN, infinite or (the gripper) outside 0..=1. Stops.
    NotAnAction {
        /// Index of the dimension: x, y, z, roll, pitch, yaw, gripper.
        dim: u8,
        /// As found.
        value: f64,
    },
    /// Hold: no operator has been seen yet.
    NoOperator,
    /// Hold: the policy failed at the last look and nothing else is planned.
    NoAction,
    /// Hold: no action is planned for this tick (the chunk is used up, or the first one is not there yet).
    NothingPlanned,
    /// Hold: the robot's pose is unknown or not finite, and the workspace rule needs it.
    NoState,
    /// Hold: the robot's last report of its state is too old.
    StaleState {
        /// Its age.
        age_ms: f64,
        /// Allowed.
        max_ms: f64,
    },
    /// Hold: the picture that the action answers is too old.
    StaleObservation {
        /// Exposure to now.
        age_ms: f64,
        /// Allowed.
        max_ms: f64,
    },
    /// Hold: a stamp lies in the future, so that nothing is known about its age.
    FromTheFuture {
        /// Whose stamp.
        what: Stamped,
        /// By how much.
        by_ms: f64,
    },
    /// Hold: the action was meant for an earlier tick.
    Expired {
        /// By how much.
        late_ms: f64,
    },
    /// Hold: the policy was not sure enough of the action's tokens.
    Confidence {
        /// Smallest probability of the action's tokens; NaN if it was none.
        found: f32,
        /// Allowed.
        min: f32,
    },
    /// Faster than allowed; slowed down in the same direction.
    Speed {
        /// Asked, m/s.
        asked_m_s: f64,
        /// Let through, m/s.
        allowed_m_s: f64,
    },
    /// The velocity changed more than allowed; it is approached at the bound.
    Acceleration {
        /// Asked, m/s².
        asked_m_s2: f64,
        /// Bound, m/s².
        max_m_s2: f64,
    },
    /// The acceleration changed more than allowed; it is approached at the bound.
    Jerk {
        /// Asked, m/s³.
        asked_m_s3: f64,
        /// Bound, m/s³.
        max_m_s3: f64,
    },
    /// Rotation faster than allowed; slowed down about the same axis.
    AngularSpeed {
        /// Asked, rad/s.
        asked_rad_s: f64,
        /// Let through, rad/s.
        allowed_rad_s: f64,
    },
    /// The angular velocity changed more than allowed; it is approached at the bound.
    AngularAcceleration {
        /// Asked, rad/s².
        asked_rad_s2: f64,
        /// Bound, rad/s².
        max_rad_s2: f64,
    },
    /// The angular acceleration changed more than allowed; it is approached at the bound.
    AngularJerk {
        /// Asked, rad/s³.
        asked_rad_s3: f64,
        /// Bound, rad/s³.
        max_rad_s3: f64,
    },
    /// The command would have left the workspace box along one axis, now or because it could not stop before the wall.
    Workspace {
        /// 0 = x, 1 = y, 2 = z.
        axis: u8,
        /// Target position asked, metres in the base.
        asked_m: f64,
        /// Target position let through, metres in the base.
        allowed_m: f64,
    },
    /// The robot itself reports a place that is outside the box, or too near to a wall to stop before it. It brakes as
    /// hard as its bounds allow, and then may only go inwards.
    Outside {
        /// 0 = x, 1 = y, 2 = z.
        axis: u8,
        /// How far beyond the wall it will come.
        by_m: f64,
    },
    /// The tool would have left its cone, now or because it could not stop before the edge.
    OrientationCone {
        /// Lean that was asked for, radians.
        asked_rad: f64,
        /// Lean that is let through, radians.
        allowed_rad: f64,
    },
    /// The gripper was asked to change side, not yet for long enough.
    Gripper {
        /// Asked opening.
        asked: f64,
        /// Kept opening.
        kept: f64,
    },
}

/// How a clock that cannot be believed moved between two ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClockFault {
    /// It stood still or went backwards.
    Backwards {
        /// By how much.
        by_ms: f64,
    },
    /// It went on by more than a command is valid: the robot has stopped by itself.
    Gap {
        /// Since the last tick.
        gap_ms: f64,
        /// Validity of a command.
        max_ms: f64,
    },
}

/// Something with a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamped {
    /// The picture.
    Observation,
    /// The robot's state.
    State,
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
    /// The operator let go, or their sign of life is too old.
    DeadMan,
}

impl StopReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Operator, Self::NotAnAction, Self::PolicyFailed, Self::DeadMan];

    /// A short stable name for machine-readable output.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::NotAnAction => "not_an_action",
            Self::PolicyFailed => "policy_failed",
            Self::DeadMan => "dead_man",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::NotAnAction => "a value that is not an action",
            Self::PolicyFailed => "the policy failed repeatedly",
            Self::DeadMan => "the operator let go",
        })
    }
}

impl fmt::Display for ClockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backwards { by_ms } => write!(f, "the clock went back by {by_ms:.3} ms"),
            Self::Gap { gap_ms, max_ms } => {
                write!(f, "{gap_ms:.3} ms since the last tick, and a command is valid for {max_ms:.3} ms")
            }
        }
    }
}

impl fmt::Display for Stamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observation => "picture",
            Self::State => "robot's state",
        })
    }
}

impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AXES: [&str; 3] = ["x", "y", "z"];
        let name = |axis: u8| AXES[usize::from(axis.min(2))];
        match *self {
            Self::Stopped { reason } => write!(f, "holding: stopped ({reason}) and not re-armed"),
            Self::Clock { fault } => write!(f, "holding: {fault}"),
            Self::NotAnAction { dim, value } => {
                write!(f, "holding: dimension {dim} is {value}, which is not an action; stopped")
            }
            Self::NoOperator => f.write_str("holding: no operator has been seen yet"),
            Self::NoAction => f.write_str("holding: the policy gave no action"),
            Self::NothingPlanned => f.write_str("holding: no action is planned for this tick"),
            Self::NoState => f.write_str("holding: the robot's pose is unknown"),
            Self::StaleState { age_ms, max_ms } => {
                write!(f, "holding: the robot's state is {age_ms:.1} ms old, allowed are {max_ms:.1} ms")
            }
            Self::StaleObservation { age_ms, max_ms } => {
                write!(f, "holding: the picture is {age_ms:.1} ms old, allowed are {max_ms:.1} ms")
            }
            Self::FromTheFuture { what, by_ms } => {
                write!(f, "holding: the {what} is stamped {by_ms:.3} ms in the future")
            }
            Self::Expired { late_ms } => write!(f, "holding: the action is {late_ms:.1} ms too late"),
            Self::Confidence { found, min } => {
                write!(f, "holding: the least probable token has {found:.3}, required are {min:.3}")
            }
            Self::Speed { asked_m_s, allowed_m_s } => {
                write!(f, "speed {asked_m_s:.4} m/s lowered to {allowed_m_s:.4} m/s")
            }
            Self::Acceleration { asked_m_s2, max_m_s2 } => {
                write!(f, "acceleration {asked_m_s2:.3} m/s^2 limited to {max_m_s2:.3} m/s^2")
            }
            Self::Jerk { asked_m_s3, max_m_s3 } => {
                write!(f, "jerk {asked_m_s3:.2} m/s^3 limited to {max_m_s3:.2} m/s^3")
            }
            Self::AngularSpeed { asked_rad_s, allowed_rad_s } => {
                write!(f, "angular speed {asked_rad_s:.4} rad/s lowered to {allowed_rad_s:.4} rad/s")
            }
            Self::AngularAcceleration { asked_rad_s2, max_rad_s2 } => {
                write!(f, "angular acceleration {asked_rad_s2:.3} rad/s^2 limited to {max_rad_s2:.3} rad/s^2")
            }
            Self::AngularJerk { asked_rad_s3, max_rad_s3 } => {
                write!(f, "angular jerk {asked_rad_s3:.2} rad/s^3 limited to {max_rad_s3:.2} rad/s^3")
            }
            Self::Workspace { axis, asked_m, allowed_m } => {
                write!(f, "target {} = {asked_m:.4} m held at {allowed_m:.4} m by the workspace", name(axis))
            }
            Self::Outside { axis, by_m } => {
                write!(f, "the robot comes {by_m:.4} m beyond the workspace along {}", name(axis))
            }
            Self::OrientationCone { asked_rad, allowed_rad } => {
                write!(f, "lean {asked_rad:.4} rad held at {allowed_rad:.4} rad by the orientation cone")
            }
            Self::Gripper { asked, kept } => {
                write!(f, "gripper {asked:.2} not yet asked for long enough, kept at {kept:.2}")
            }
        }
    }
}

impl Intervention {
    /// Every name that [`Self::kind`] gives, in the order of the rules.
    pub const KINDS: [&'static str; 22] = [
        "stopped",
        "clock",
        "not_an_action",
        "no_operator",
        "no_action",
        "nothing_planned",
        "no_state",
        "stale_state",
        "stale_observation",
        "from_the_future",
        "expired",
        "confidence",
        "speed",
        "acceleration",
        "jerk",
        "angular_speed",
        "angular_acceleration",
        "angular_jerk",
        "workspace",
        "outside",
        "orientation_cone",
        "gripper",
    ];

    /// Place of this kind in [`Self::KINDS`].
    pub(super) fn index(&self) -> usize {
        match self {
            Self::Stopped { .. } => 0,
            Self::Clock { .. } => 1,
            Self::NotAnAction { .. } => 2,
            Self::NoOperator => 3,
            Self::NoAction => 4,
            Self::NothingPlanned => 5,
            Self::NoState => 6,
            Self::StaleState { .. } => 7,
            Self::StaleObservation { .. } => 8,
            Self::FromTheFuture { .. } => 9,
            Self::Expired { .. } => 10,
            Self::Confidence { .. } => 11,
            Self::Speed { .. } => 12,
            Self::Acceleration { .. } => 13,
            Self::Jerk { .. } => 14,
            Self::AngularSpeed { .. } => 15,
            Self::AngularAcceleration { .. } => 16,
            Self::AngularJerk { .. } => 17,
            Self::Workspace { .. } => 18,
            Self::Outside { .. } => 19,
            Self::OrientationCone { .. } => 20,
            Self::Gripper { .. } => 21,
        }
    }

    /// A short stable name for counters and machine-readable output.
    pub fn kind(&self) -> &'static str {
        Self::KINDS[self.index()]
    }
}
