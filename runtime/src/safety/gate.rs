//! One tick: what is asked, in; one safe command out, with the reasons of every change. No heap, no lock, no log line.

use super::dead_man::{DeadMan, Operator};
use super::gripper::Gripper;
use super::limits::{GateLimits, GateLimitsError};
use super::motion::Motion;
use super::pose::Pose;
use super::reason::{ClockFault, Intervention, Stamped, StopReason};
use super::safe_action::{Reasons, SafeAction};
use super::shape::Shaping;
use super::stop::{RearmRefused, Stop};
use super::tick_clock::{Tick, TickClock};
use super::{confidence, expiry, speed, stale};
use crate::clock::{ControlRate, Moment};
use crate::observation::EndEffectorState;
use crate::rotation;
use egogrid_action_grids::Action;
use nalgebra::{Isometry3, Vector3};

/// Where an action comes from and when it is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Origin {
    /// `sequence` of the observation that it answers.
    pub sequence: u64,
    /// Its index in the chunk.
    pub index: u16,
    /// Exposure of the picture, on the caller's clock.
    pub exposed: Moment,
    /// From then on it is too late to execute it.
    pub expires: Moment,
    /// Smallest probability of its tokens.
    pub confidence: f32,
}

/// What is asked of one tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asked {
    /// The step that the schedule has planned.
    Step(Action, Origin),
    /// Seven raw numbers (x, y, z, roll, pitch, yaw, gripper) from outside the type system. What is no action latches
    /// the stop.
    Values([f64; 7], Origin),
    /// Nothing is planned for this tick.
    Nothing,
}

/// How often each rule acted since the gate was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateCounters {
    /// Ticks.
    pub asked: u64,
    /// Answered with a hold.
    pub held: u64,
    /// Let through, but changed.
    pub changed: u64,
    /// By rule, in the order of [`Intervention::KINDS`].
    pub by_kind: [u64; Intervention::KINDS.len()],
}

/// The gate. Feed it every state with [`Self::observe`], then ask once per tick.
#[derive(Debug, Clone)]
pub struct Gate {
    limits: GateLimits,
    clock: TickClock,
    pose: Pose,
    linear: Motion,
    angular: Motion,
    gripper: Gripper,
    dead_man: DeadMan,
    stop: Stop,
    policy_failures: u32,
    counters: GateCounters,
}

impl Gate {
    /// A gate that knows no state yet: it holds until [`Self::observe`] brings one. All memory is taken here.
    ///
    /// # Errors
    /// Bounds that a loop at `rate` cannot keep.
    pub fn new(limits: GateLimits, rate: ControlRate) -> Result<Self, GateLimitsError> {
        limits.check_rate(rate)?;
        Ok(Self {
            clock: TickClock::new(rate, limits.command_max()),
            pose: Pose::unknown(limits.response()),
            linear: Motion::at_rest(*limits.linear(), rate.tick_s()),
            angular: Motion::at_rest(*limits.angular(), rate.tick_s()),
            gripper: Gripper::new(limits.gripper_debounce()),
            dead_man: DeadMan::new(limits.dead_man_max()),
            stop: Stop::default(),
            policy_failures: 0,
            counters: GateCounters::default(),
            limits,
        })
    }

    /// The newest state of the robot and when it was measured; `None` when it did not report one.
    pub fn observe(&mut self, state: Option<&EndEffectorState>, measured: Moment) {
        self.pose.report(state, measured);
        if let Some(state) = state {
            self.gripper.report(state.gripper);
        }
    }

    /// A sign of the operator: whether the dead-man switch is held, and when that was seen.
    pub fn operator(&mut self, present: bool, seen: Moment) {
        self.dead_man.sign(present, seen);
    }

    /// What came of a look: too many in a row without a chunk latch the stop.
    pub fn looked(&mut self, answered: bool) {
        self.policy_failures = if answered { 0 } else { self.policy_failures.saturating_add(1) };
        if self.policy_failures >= self.limits.policy_failures_max() {
            self.stop.latch(StopReason::PolicyFailed);
        }
    }

    /// A new episode: the robot stands still somewhere else, and another clock may begin. A latched stop stays.
    pub fn begin_at_rest(&mut self) {
        self.clock.reset();
        self.pose.forget();
        self.linear.rest();
        self.angular.rest();
        self.gripper.reset();
    }

    /// Latches the stop: from now on every tick is a hold, until [`Self::rearm`].
    pub fn stop(&mut self, reason: StopReason) {
        self.stop.latch(reason);
    }

    /// Releases the stop. Only ever called because an operator asked for it.
    ///
    /// # Errors
    /// The robot needs an operator, and there is no sign of one at `now`.
    pub fn rearm(&mut self, now: Moment) -> Result<(), RearmRefused> {
        match self.dead_man.check(now) {
            Operator::NotNeeded | Operator::Present => {
                self.stop.release();
                self.policy_failures = 0;
                Ok(())
            }
            Operator::NotYet | Operator::Gone => Err(RearmRefused::NoOperator),
        }
    }

    /// Why the stop is latched, if it is.
    pub fn stopped(&self) -> Option<StopReason> {
        self.stop.latched()
    }

    /// What has been counted so far.
    pub fn counters(&self) -> &GateCounters {
        &self.counters
    }

    /// The bounds in force.
    pub fn limits(&self) -> &GateLimits {
        &self.limits
    }

    /// How often the loop ticks.
    pub fn rate(&self) -> ControlRate {
        self.clock.rate()
    }

    /// One tick at `now`.
    pub fn tick(&mut self, now: Moment, asked: Asked) -> SafeAction {
        let tick = self.clock.tick(now);
        let pose = self.follow(now, &tick);
        let mut reasons = Reasons::default();
        let safe = match self.permit(now, &tick, pose, asked) {
            Ok((step, pose)) => self.drive(now, &tick, &step, &pose, &mut reasons),
            Err(why) => {
                reasons.push(why);
                self.brake(&tick, pose.as_ref().ok(), &mut reasons)
            }
        };
        self.count(&safe);
        safe
    }

    /// Brings the pose up to this tick; after a fault of the clock it is unknown.
    fn follow(&mut self, now: Moment, tick: &Tick) -> Result<Isometry3<f64>, Intervention> {
        match (tick.fault, tick.last) {
            (Some(fault), _) => {
                self.pose.lose(now);
                if matches!(fault, ClockFault::Gap { .. }) {
                    self.linear.rest();
                    self.angular.rest();
                }
            }
            (None, Some(last)) => self.pose.advance(last, now, self.linear.velocity(), self.angular.velocity()),
            (None, None) => {}
        }
        self.pose.at_tick(now)
    }

    /// The rules that let a tick move at all, in their order.
    fn permit(
        &mut self,
        now: Moment,
        tick: &Tick,
        pose: Result<Isometry3<f64>, Intervention>,
        asked: Asked,
    ) -> Result<(Action, Isometry3<f64>), Intervention> {
        let operator = self.dead_man.check(now);
        if operator == Operator::Gone {
            self.stop.latch(StopReason::DeadMan);
        }
        if let Some(reason) = self.stop.latched() {
            return Err(Intervention::Stopped { reason });
        }
        if let Some(fault) = tick.fault {
            return Err(Intervention::Clock { fault });
        }
        if operator == Operator::NotYet {
            return Err(Intervention::NoOperator);
        }
        let (step, origin) = match asked {
            Asked::Step(step, origin) => (step, origin),
            Asked::Values(values, origin) => (self.parse(values)?, origin),
            Asked::Nothing if self.policy_failures > 0 => return Err(Intervention::NoAction),
            Asked::Nothing => return Err(Intervention::NothingPlanned),
        };
        let (pose, measured) = (pose?, self.pose.measured().ok_or(Intervention::NoState)?);
        let refused = stale::check(Stamped::State, measured, now, self.limits.state_max())
            .or_else(|| stale::check(Stamped::Observation, origin.exposed, now, self.limits.observation_max()))
            .or_else(|| expiry::check(origin.expires, now))
            .or_else(|| confidence::check(origin.confidence, self.limits.confidence_min()));
        refused.map_or(Ok((step, pose)), Err)
    }

    fn parse(&mut self, values: [f64; 7]) -> Result<Action, Intervention> {
        Action::try_from(values).map_err(|_| {
            self.stop.latch(StopReason::NotAnAction);
            let dim = values.iter().position(|value| !value.is_finite()).unwrap_or(6);
            Intervention::NotAnAction { dim: dim as u8, value: values[dim] }
        })
    }

    /// As much of `step` as every bound allows.
    fn drive(
        &mut self,
        now: Moment,
        tick: &Tick,
        step: &Action,
        pose: &Isometry3<f64>,
        reasons: &mut Reasons,
    ) -> SafeAction {
        let shaping = self.shaping(tick.dt_s);
        let linear = shaping.translate(&self.linear, step, &pose.translation.vector, reasons);
        let angular = shaping.turn(&self.angular, step, pose, reasons);
        self.linear.commit(linear.candidate, tick.dt_s);
        self.angular.commit(angular.candidate, tick.dt_s);
        let (gripper, waits) = self.gripper.limit(step.gripper(), now);
        if let Some(reason) = waits {
            reasons.push(reason);
        }
        let translation_m = if linear.as_asked { step.translation_m() } else { self.linear_step_m().into() };
        let rotation_rad = if angular.as_asked { step.rotation_rad() } else { self.angular_step_rad() };
        self.command(translation_m, rotation_rad, gripper, false, reasons)
    }

    fn shaping(&self, dt_s: f64) -> Shaping<'_> {
        let (tick_s, command_s) = (self.clock.rate().tick_s(), self.clock.command_max().as_secs_f64());
        Shaping { limits: &self.limits, tick_s, dt_s, command_s }
    }

    /// On along the way to rest, the gripper as it was.
    fn brake(&mut self, tick: &Tick, pose: Option<&Isometry3<f64>>, reasons: &mut Reasons) -> SafeAction {
        let (linear, angular) = (self.linear.brake(tick.dt_s), self.angular.brake(tick.dt_s));
        if let Some(pose) = pose {
            self.shaping(tick.dt_s).report_overrun(&linear, &pose.translation.vector, reasons);
        }
        self.linear.commit(linear, tick.dt_s);
        self.angular.commit(angular, tick.dt_s);
        let gripper = self.gripper.hold();
        self.command(self.linear_step_m().into(), self.angular_step_rad(), gripper, true, reasons)
    }

    /// The step of one tick of the velocity in force.
    fn linear_step_m(&self) -> Vector3<f64> {
        let tick_s = self.clock.rate().tick_s();
        let mut step_m = self.linear.velocity() * tick_s;
        speed::limit(&mut step_m, self.limits.linear().speed_max * tick_s);
        step_m
    }

    fn angular_step_rad(&self) -> [f64; 3] {
        rotation::rpy_rad(&(self.angular.velocity() * self.clock.rate().tick_s()))
    }

    fn command(
        &mut self,
        translation_m: [f64; 3],
        rotation_rad: [f64; 3],
        gripper: f64,
        held: bool,
        reasons: &Reasons,
    ) -> SafeAction {
        let action = Action::from_physical(translation_m, rotation_rad, gripper).unwrap_or_else(|_| {
            // Bounded finite numbers stay finite; if they ever do not, stand still.
            self.stop.latch(StopReason::NotAnAction);
            self.linear.rest();
            self.angular.rest();
            Action::STANDSTILL_OPEN
        });
        SafeAction {
            action,
            linear_m_s: self.linear.velocity(),
            angular_rad_s: self.angular.velocity(),
            valid_for: self.clock.command_max(),
            held,
            reasons: *reasons,
        }
    }

    fn count(&mut self, safe: &SafeAction) {
        self.counters.asked += 1;
        self.counters.held += u64::from(safe.held);
        self.counters.changed += u64::from(!safe.held && safe.interventions().next().is_some());
        for reason in safe.interventions() {
            self.counters.by_kind[reason.index()] += 1;
        }
    }
}
