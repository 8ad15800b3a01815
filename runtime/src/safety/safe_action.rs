//! What left the gate, and what the gate did to it.

use super::reason::Intervention;
use egogrid_action_grids::Action;
use nalgebra::Vector3;
use std::time::Duration;

/// A hold has one reason of its own; otherwise each rule acts once, the workspace once per axis.
pub const INTERVENTIONS_MAX: usize = 9;

/// Reasons, in the order in which they were found. No heap.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Reasons {
    found: [Option<Intervention>; INTERVENTIONS_MAX],
    count: usize,
}

impl Reasons {
    /// One more.
    pub(super) fn push(&mut self, reason: Intervention) {
        debug_assert!(self.count < INTERVENTIONS_MAX, "no room for {reason}");
        if let Some(place) = self.found.get_mut(self.count) {
            *place = Some(reason);
            self.count += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Intervention> {
        self.found.iter().flatten()
    }
}

/// A command that went through the gate. Nothing else can be sent, and only [`super::Gate`] makes one.
///
/// It is a step per tick and, which is the same, a velocity: in force until the next command, and at most
/// [`Self::valid_for`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SafeAction {
    pub(super) action: Action,
    pub(super) linear_m_s: Vector3<f64>,
    pub(super) angular_rad_s: Vector3<f64>,
    pub(super) valid_for: Duration,
    pub(super) held: bool,
    pub(super) reasons: Reasons,
}

impl SafeAction {
    /// The step of one tick: metres, radians (roll, pitch, yaw), gripper 0 (closed) to 1 (open).
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// The same as a velocity, base axes, m/s.
    pub fn linear_m_s(&self) -> [f64; 3] {
        self.linear_m_s.into()
    }

    /// The same as an angular velocity, base axes, rad/s.
    pub fn angular_rad_s(&self) -> [f64; 3] {
        self.angular_rad_s.into()
    }

    /// When no further command has come by then, the robot holds by itself.
    pub fn valid_for(&self) -> Duration {
        self.valid_for
    }

    /// Whether the gate brakes, or stands still, instead of doing what was asked.
    pub fn is_hold(&self) -> bool {
        self.held
    }

    /// What the gate changed, in the order of the rules.
    pub fn interventions(&self) -> impl Iterator<Item = &Intervention> {
        self.reasons.iter()
    }
}
