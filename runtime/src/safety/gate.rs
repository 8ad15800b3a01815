//! One action in, one safe action out, with the reasons of every change. No heap, no lock, no log line.

use super::{GateLimits, Intervention, StopReason, rotation, step_length, workspace};
use crate::observation::EndEffectorState;
use egogrid_action_grids::Action;
use nalgebra::Vector3;

/// At most one intervention per rule and axis.
const INTERVENTIONS_MAX: usize = 6;

/// An action that went through the gate. Nothing else can be sent, and only [`Gate`] makes one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SafeAction {
    action: Action,
    held: bool,
    interventions: [Option<Intervention>; INTERVENTIONS_MAX],
}

impl SafeAction {
    /// What the robot is to do: metres, radians, gripper 0 (closed) to 1 (open).
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Whether this is a standstill that the gate put in place of what was asked.
    pub fn is_hold(&self) -> bool {
        self.held
    }

    /// What the gate changed, in the order of the rules.
    pub fn interventions(&self) -> impl Iterator<Item = &Intervention> {
        self.interventions.iter().flatten()
    }
}

/// How often each rule acted since the gate was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateCounters {
    /// Actions asked.
    pub asked: u64,
    /// Answered with a hold.
    pub held: u64,
    /// Let through, but changed.
    pub changed: u64,
}

/// The gate. Feed it every state with [`Self::observe`], then ask for each control step.
#[derive(Debug, Clone)]
pub struct Gate {
    limits: GateLimits,
    /// Where the end effector is, as reported or, between reports, as commanded since.
    position_m: Option<Vector3<f64>>,
    /// What a hold sends: no motion, the gripper as it was.
    standstill: Action,
    stopped: Option<StopReason>,
    policy_failures: u32,
    counters: GateCounters,
}

impl Gate {
    /// A gate that knows no state yet: it holds until [`Self::observe`] brings one.
    /// Until then a hold keeps the gripper open.
    pub fn new(limits: GateLimits) -> Self {
        Self {
            limits,
            position_m: None,
            standstill: Action::STANDSTILL_OPEN,
            stopped: None,
            policy_failures: 0,
            counters: GateCounters::default(),
        }
    }

    /// The newest state of the robot; `None` when it did not report one.
    pub fn observe(&mut self, state: Option<&EndEffectorState>) {
        let position = state.map(|state| state.base_from_ee.translation.vector);
        self.position_m = position.filter(|position| position.iter().all(|value| value.is_finite()));
        // A gripper reading that is no opening leaves the hold as it was; the position rule does not need it.
        if let Some(Ok(standstill)) = state.map(|state| Action::from_physical([0.0; 3], [0.0; 3], state.gripper)) {
            self.standstill = standstill;
        }
    }

    /// Latches the stop: from now on every action is a hold, until [`Self::rearm`].
    pub fn stop(&mut self, reason: StopReason) {
        self.stopped.get_or_insert(reason);
    }

    /// Releases the stop. Only ever called because an operator asked for it.
    pub fn rearm(&mut self) {
        self.stopped = None;
        self.policy_failures = 0;
    }

    /// Why the stop is latched, if it is.
    pub fn stopped(&self) -> Option<StopReason> {
        self.stopped
    }

    /// What has been counted so far.
    pub fn counters(&self) -> GateCounters {
        self.counters
    }

    /// The bounds in force.
    pub fn limits(&self) -> &GateLimits {
        &self.limits
    }

    /// The policy gave no action for this look: a hold, and after too many in a row a latched stop.
    pub fn hold_for_policy(&mut self) -> SafeAction {
        self.counters.asked += 1;
        self.policy_failures = self.policy_failures.saturating_add(1);
        if self.policy_failures >= self.limits.policy_failures_max() {
            self.stop(StopReason::PolicyFailed);
        }
        match self.stopped {
            Some(reason) => self.hold(Intervention::Stopped { reason }),
            None => self.hold(Intervention::NoAction),
        }
    }

    /// Seven raw numbers (x, y, z, roll, pitch, yaw, gripper) from outside the type system, e.g. from the wire.
    /// Anything that is not an action is a hold and latches the stop.
    pub fn check_values(&mut self, values: [f64; 7]) -> SafeAction {
        match Action::try_from(values) {
            Ok(action) => self.check(&action),
            Err(_) => {
                self.counters.asked += 1;
                let dim = values.iter().position(|value| !value.is_finite()).unwrap_or(6);
                self.stop(StopReason::NotAnAction);
                self.hold(Intervention::NotAnAction { dim: dim as u8, value: values[dim] })
            }
        }
    }

    /// One control step.
    pub fn check(&mut self, asked: &Action) -> SafeAction {
        self.counters.asked += 1;
        if let Some(reason) = self.stopped {
            return self.hold(Intervention::Stopped { reason });
        }
        let Some(position_m) = self.position_m else {
            return self.hold(Intervention::NoState);
        };
        self.policy_failures = 0;
        let mut interventions = [None; INTERVENTIONS_MAX];
        let mut slots = interventions.iter_mut();
        let mut report = |intervention| {
            if let Some(slot) = slots.next() {
                *slot = Some(intervention);
            }
        };
        let mut rpy_rad = asked.rotation_rad();
        let mut step_m = Vector3::from(asked.translation_m());
        if let Some(intervention) = rotation::limit(&mut rpy_rad, self.limits.rotation_rad_max()) {
            report(intervention);
        }
        if let Some(intervention) = step_length::limit(&mut step_m, self.limits.step_m_max()) {
            report(intervention);
        }
        workspace::limit(&mut step_m, &position_m, self.limits.workspace_m(), &mut report);
        let Ok(action) = Action::from_physical(step_m.into(), rpy_rad, asked.gripper()) else {
            // Shortening finite numbers gives finite numbers; if it ever does not, stand still.
            self.stop(StopReason::NotAnAction);
            return self.hold(Intervention::NotAnAction { dim: 0, value: f64::NAN });
        };
        self.position_m = Some(position_m + step_m);
        self.standstill = action.standing_still();
        if interventions[0].is_some() {
            self.counters.changed += 1;
        }
        SafeAction { action, held: false, interventions }
    }

    fn hold(&mut self, why: Intervention) -> SafeAction {
        self.counters.held += 1;
        let mut interventions = [None; INTERVENTIONS_MAX];
        interventions[0] = Some(why);
        SafeAction { action: self.standstill, held: true, interventions }
    }
}
