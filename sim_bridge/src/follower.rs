//! The robot's half: which command is executed now. For drivers in Rust; `egogrid_worker.follower` is the same in Python.
//!
//! From: `command` messages and the time, as arguments. To: a velocity for this control step. Drops what is late, doubled
//! or out of order, and holds by itself when nothing valid is left: the daemon may be gone at any time.

use crate::message::{Command, Twist, Vector3};
use egogrid_runtime::camera::Stamp;
use egogrid_runtime::clock::Moment;
use std::time::Duration;

/// What this robot can do; more is refused whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FollowerLimits {
    /// Fastest translation on each axis, m/s.
    pub linear_m_s_max: f64,
    /// Fastest rotation about each axis, rad/s.
    pub angular_rad_s_max: f64,
    /// Longest time that a command may be valid.
    pub valid_max: Duration,
}

/// Why a command is not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dropped {
    /// Not newer than the last one: sent twice, or overtaken.
    NotNewer,
    /// It was valid, but is no more; or it claims to come from the future.
    Expired,
    /// Another sender, while the one that is followed is still there.
    OtherSender,
    /// Faster than this robot can, or no number.
    OutOfRange,
}

impl Dropped {
    /// A short stable name.
    pub fn kind(self) -> &'static str {
        match self {
            Self::NotNewer => "not_newer",
            Self::Expired => "expired",
            Self::OtherSender => "other_sender",
            Self::OutOfRange => "out_of_range",
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Following {
    /// This velocity (m/s, rad/s) and gripper opening.
    Move(Twist, f64),
    /// Stand still, the gripper as it is.
    Hold,
}

/// Follows one sender.
#[derive(Debug, Clone)]
pub struct CommandFollower {
    limits: FollowerLimits,
    last: Option<(u64, u64)>,
    current: Option<(Command, Moment)>,
}

impl CommandFollower {
    /// Holds until the first command.
    pub fn new(limits: FollowerLimits) -> Self {
        Self { limits, last: None, current: None }
    }

    /// A command that arrived at `now`, which is `calendar` on the calendar clock.
    ///
    /// # Errors
    /// Why it is not executed. The one before stays in force for as long as it was valid.
    pub fn accept(&mut self, command: Command, now: Moment, calendar: Stamp) -> Result<(), Dropped> {
        if !self.is_in_range(&command) {
            return Err(Dropped::OutOfRange);
        }
        if let Some((session, sequence)) = self.last {
            let same = session == command.session;
            if same && command.sequence <= sequence {
                return Err(Dropped::NotNewer);
            }
            if !same && self.current.as_ref().is_some_and(|(_, until)| now <= *until) {
                return Err(Dropped::OtherSender);
            }
        }
        let sent_ns = i128::from(command.header.stamp.sec) * 1_000_000_000 + i128::from(command.header.stamp.nanosec);
        let travelled_ms = (i128::from(calendar.ns) - sent_ns) as f64 * 1e-6;
        // Written so that both directions count: a stamp from the future says nothing about an age.
        if travelled_ms.abs() > command.valid_ms {
            return Err(Dropped::Expired);
        }
        self.last = Some((command.session, command.sequence));
        let until = now.plus(Duration::from_secs_f64((command.valid_ms - travelled_ms.max(0.0)) * 1e-3));
        self.current = Some((command, until));
        Ok(())
    }

    /// What to do at `now`.
    pub fn at(&self, now: Moment) -> Following {
        match &self.current {
            Some((command, until)) if now <= *until => Following::Move(command.twist, command.gripper),
            _ => Following::Hold,
        }
    }

    /// Written so that NaN fails.
    fn is_in_range(&self, command: &Command) -> bool {
        let within = |v: Vector3, max: f64| [v.x, v.y, v.z].iter().all(|value| value.abs() <= max);
        within(command.twist.linear, self.limits.linear_m_s_max)
            && within(command.twist.angular, self.limits.angular_rad_s_max)
            && (0.0..=1.0).contains(&command.gripper)
            && (0.0..=self.limits.valid_max.as_secs_f64() * 1e3).contains(&command.valid_ms)
    }
}
