//! Where the end effector is: the robot's last report, and what has been commanded since.
//!
//! A report is older than the tick, and the robot answers a command only after `response`. Commands younger than
//! `report - response` are therefore not in it and are added: translations as vectors, rotations as rotations.

use super::reason::{Intervention, Stamped};
use crate::clock::Moment;
use crate::observation::EndEffectorState;
use nalgebra::{Isometry3, UnitQuaternion, Vector3};
use std::time::Duration;

/// Commands that are remembered: one second of the fastest loop. See `limits::MEMORY_MS`.
const COMMANDS_MAX: usize = 512;

/// A command that was in force from `begun` to `ended`.
#[derive(Debug, Clone, Copy)]
struct InForce {
    begun: Moment,
    ended: Moment,
    linear_m_s: Vector3<f64>,
    angular_rad_s: Vector3<f64>,
}

/// The newest report.
#[derive(Debug, Clone, Copy)]
struct Report {
    base_from_ee: Isometry3<f64>,
    measured: Moment,
}

/// The pose over time. Allocates when it is made, never later.
#[derive(Debug, Clone)]
pub(super) struct Pose {
    response: Duration,
    now: Option<Isometry3<f64>>,
    /// A report that is not in `now` yet.
    news: Option<Report>,
    measured: Option<Moment>,
    /// Older reports do not count.
    not_before: Moment,
    /// Ring: the newest is before `next`.
    commands: Vec<InForce>,
    next: usize,
    filled: usize,
}

impl Pose {
    /// Unknown.
    pub(super) fn unknown(response: Duration) -> Self {
        let zero = Vector3::zeros();
        let nothing = InForce { begun: Moment::START, ended: Moment::START, linear_m_s: zero, angular_rad_s: zero };
        Self {
            response,
            now: None,
            news: None,
            measured: None,
            not_before: Moment::START,
            commands: vec![nothing; COMMANDS_MAX],
            next: 0,
            filled: 0,
        }
    }

    /// Forgets everything, commands included. What was commanded before `now` may still be on its way, so that only a
    /// report from after that counts.
    pub(super) fn lose(&mut self, now: Moment) {
        self.forget();
        self.not_before = now.plus(self.response);
    }

    /// Forgets everything: the robot stands still somewhere else.
    pub(super) fn forget(&mut self) {
        (self.now, self.news, self.measured, self.next, self.filled) = (None, None, None, 0, 0);
        self.not_before = Moment::START;
    }

    /// A report. One that is not finite makes the pose unknown; one that is older than the last is not news.
    pub(super) fn report(&mut self, state: Option<&EndEffectorState>, measured: Moment) {
        if measured < self.measured.unwrap_or(self.not_before) {
            return;
        }
        let pose = state.map(|state| state.base_from_ee).filter(is_finite);
        self.news = pose.map(|base_from_ee| Report { base_from_ee, measured });
        if self.news.is_none() {
            self.now = None;
        }
        self.measured = self.news.map(|report| report.measured);
    }

    /// From the last tick to this one that command was in force.
    pub(super) fn advance(
        &mut self,
        begun: Moment,
        ended: Moment,
        linear_m_s: Vector3<f64>,
        angular_rad_s: Vector3<f64>,
    ) {
        let command = InForce { begun, ended, linear_m_s, angular_rad_s };
        self.commands[self.next] = command;
        self.next = (self.next + 1) % COMMANDS_MAX;
        self.filled = (self.filled + 1).min(COMMANDS_MAX);
        self.now = self.now.map(|pose| moved(pose, &command, ended.seconds_since(begun)));
    }

    /// The pose at this tick, after [`Self::advance`]. A report from the future is none, now and later.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn at_tick(&mut self, now: Moment) -> Result<Isometry3<f64>, Intervention> {
        if let Some(report) = self.news.take() {
            self.now = self.since(&report);
            if report.measured > now {
                (self.now, self.measured) = (None, None);
                let by_ms = report.measured.seconds_since(now) * 1e3;
                return Err(Intervention::FromTheFuture { what: Stamped::State, by_ms });
            }
        }
        self.now.ok_or(Intervention::NoState)
    }

    /// Time of the last report, if the pose is known.
    pub(super) fn measured(&self) -> Option<Moment> {
        self.measured
    }

    /// A report and the commands that are not in it; `None` if it reaches further back than the memory.
    fn since(&self, report: &Report) -> Option<Isometry3<f64>> {
        let from = report.measured.minus(self.response);
        let mut pose = report.base_from_ee;
        let oldest = (self.next + COMMANDS_MAX - self.filled) % COMMANDS_MAX;
        if self.filled == COMMANDS_MAX && self.commands[oldest].begun > from {
            return None;
        }
        for place in 0..self.filled {
            let command = &self.commands[(oldest + place) % COMMANDS_MAX];
            let seconds = command.ended.seconds_since(command.begun.max(from));
            if seconds > 0.0 {
                pose = moved(pose, command, seconds);
            }
        }
        Some(pose)
    }
}

fn is_finite(pose: &Isometry3<f64>) -> bool {
    pose.translation.vector.iter().chain(pose.rotation.coords.iter()).all(|value| value.is_finite())
}

fn moved(pose: Isometry3<f64>, command: &InForce, seconds: f64) -> Isometry3<f64> {
    let turn = UnitQuaternion::from_scaled_axis(command.angular_rad_s * seconds);
    let mut rotation = turn * pose.rotation;
    rotation.renormalize();
    Isometry3::from_parts((pose.translation.vector + command.linear_m_s * seconds).into(), rotation)
}
