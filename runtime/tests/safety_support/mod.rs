//! A robot, an operator and a clock that misbehave, and a judge that knows nothing of the gate but its promises.
//!
//! From: random [`Event`]s. To: the first promise that an output broke, in words. Shared by `safety_storm.rs` (ordinary
//! tests) and `examples/gate_storm.rs` (a million sequences).

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each of its users needs a part

use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::observation::EndEffectorState;
use egogrid_runtime::safety::{
    Asked, Bound, ConeConfig, Gate, Intervention, Origin, SafeAction, SafetyConfig, StopReason,
};
use nalgebra::{Isometry3, UnitQuaternion, Vector3};
use std::time::Duration;

pub mod judge;
pub mod random;

use judge::Judge;
use random::Random;

pub const MIN_M: [f64; 3] = [-0.4, 0.3, 0.02];
pub const MAX_M: [f64; 3] = [0.4, 0.9, 0.5];
const MIDDLE_M: [f64; 3] = [0.0, 0.6, 0.26];

/// Every rule on, bounds of a small arm.
pub fn bounded() -> SafetyConfig {
    SafetyConfig {
        workspace_min_m: MIN_M,
        workspace_max_m: MAX_M,
        speed_m_s_max: 0.5,
        acceleration_m_s2_max: Bound::At(2.0),
        jerk_m_s3_max: Bound::At(20.0),
        angular_speed_rad_s_max: 1.0,
        angular_acceleration_rad_s2_max: Bound::At(6.0),
        angular_jerk_rad_s3_max: Bound::At(80.0),
        orientation_cone: Bound::At(ConeConfig {
            tool_axis: [0.0, 0.0, 1.0],
            base_axis: [0.0, 0.0, 2.0],
            angle_rad_max: 0.6,
        }),
        gripper_debounce_ms: Bound::At(50.0),
        confidence_min: Bound::At(0.2),
        observation_ms_max: 300.0,
        state_ms_max: 100.0,
        response_ms: 0.0,
        command_ms_max: 25.0,
        dead_man_ms_max: Bound::At(200.0),
        policy_failures_max: 3,
    }
}

/// Only the rules that a teleported arm in lockstep can keep.
pub fn teleported() -> SafetyConfig {
    let off = || Bound::unbounded("teleported in a test");
    SafetyConfig {
        acceleration_m_s2_max: off(),
        jerk_m_s3_max: off(),
        angular_acceleration_rad_s2_max: off(),
        angular_jerk_rad_s3_max: off(),
        orientation_cone: Bound::unbounded("no tool"),
        gripper_debounce_ms: off(),
        confidence_min: off(),
        dead_man_ms_max: off(),
        command_ms_max: 10.0,
        ..bounded()
    }
}

/// A configuration and a rate, chosen by `random`: every combination of orders, rates, validities and rules.
pub fn any_config(random: &mut Random) -> (SafetyConfig, ControlRate) {
    let rate = ControlRate::new([20.0, 80.0, 100.0, 333.0, 500.0][random.below(5)]).unwrap();
    let tick_ms = rate.tick().as_secs_f64() * 1e3;
    let mut config = if random.below(8) == 0 { teleported() } else { bounded() };
    match random.below(4) {
        0 => config.jerk_m_s3_max = Bound::unbounded("second order"),
        1 => config.angular_jerk_rad_s3_max = Bound::unbounded("second order"),
        _ => {}
    }
    if random.below(3) == 0 {
        config.orientation_cone = Bound::unbounded("any orientation");
    }
    if random.below(2) == 0 {
        config.dead_man_ms_max = Bound::unbounded("nobody near");
    }
    config.command_ms_max = tick_ms * [1.0, 1.5, 3.0][random.below(3)] + 1e-6;
    (config, rate)
}

/// One thing that can happen.
#[derive(Debug, Clone)]
pub enum Event {
    /// A tick that comes `late` ticks after the last one; the schedule asks this.
    Tick {
        late: f64,
        asked: Want,
    },
    /// The clock steps, ns.
    ClockStep(i64),
    /// The robot reports its pose of `ticks_ago`.
    Report {
        ticks_ago: usize,
    },
    /// Somebody moves the robot, and it reports that.
    Pushed([f64; 3], [f64; 3]),
    /// A report that is none.
    BadReport(f64),
    /// A report from the future.
    FutureReport,
    Stop,
    Rearm,
    Operator(bool),
    Looked(bool),
}

/// What the schedule wants of a tick.
#[derive(Debug, Clone)]
pub enum Want {
    Values([f64; 7]),
    Nothing,
    /// As fast as possible to that corner of the box and beyond, leaning over as fast as possible.
    Corner([f64; 3]),
    /// The same step as last time.
    Again,
    Old(f64),
    Expired,
    Unsure(f32),
}

/// Gate, robot, judge.
pub struct Rig {
    pub gate: Gate,
    judge: Judge,
    now: u64,
    /// The robot: what it executes, and where that brought it, newest last.
    poses: Vec<(Moment, Isometry3<f64>)>,
    velocity: (Vector3<f64>, Vector3<f64>),
    last: Option<Moment>,
    step: [f64; 7],
}

impl Rig {
    pub fn new(config: SafetyConfig, rate: ControlRate) -> Self {
        let limits = config.checked().unwrap();
        let judge = Judge::new(limits.clone(), rate);
        let mut rig = Self {
            gate: Gate::new(limits, rate).unwrap(),
            judge,
            now: 1_000_000_000,
            poses: vec![(Moment::START, Isometry3::translation(MIDDLE_M[0], MIDDLE_M[1], MIDDLE_M[2]))],
            velocity: (Vector3::zeros(), Vector3::zeros()),
            last: None,
            step: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        };
        rig.gate.operator(true, rig.moment());
        rig.tick(0.0, &Want::Nothing).unwrap();
        rig.report(0);
        rig
    }

    pub fn moment(&self) -> Moment {
        Moment::from_ns(self.now)
    }

    pub fn pose(&self) -> Isometry3<f64> {
        self.poses.last().unwrap().1
    }

    fn tick_ns(&self) -> f64 {
        self.gate.rate().tick().as_nanos() as f64
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// The first promise that an output broke.
    pub fn apply(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Tick { late, asked } => return self.tick(*late, asked).map(drop),
            Event::ClockStep(by_ns) => self.now = self.now.saturating_add_signed(*by_ns),
            Event::Report { ticks_ago } => self.report(*ticks_ago),
            Event::Pushed(by_m, by_rad) => self.push(*by_m, *by_rad),
            Event::BadReport(value) => {
                let mut pose = self.pose();
                pose.translation.vector.y = *value;
                self.gate.observe(Some(&state(pose)), self.moment());
            }
            Event::FutureReport => {
                let stamp = self.moment().plus(Duration::from_secs(10));
                self.gate.observe(Some(&state(self.pose())), stamp);
            }
            Event::Stop => self.gate.stop(StopReason::Operator),
            Event::Rearm => {
                let _ = self.gate.rearm(self.moment());
            }
            Event::Operator(present) => self.gate.operator(*present, self.moment()),
            Event::Looked(answered) => self.gate.looked(*answered),
        }
        Ok(())
    }

    /// One tick, judged.
    pub fn tick(&mut self, late: f64, asked: &Want) -> Result<SafeAction, String> {
        self.now = self.now.saturating_add((self.tick_ns() * (1.0 + late)).max(0.0) as u64);
        let now = self.moment();
        self.robot_until(now);
        let asked = self.asked(asked, now);
        let safe = self.gate.tick(now, asked);
        self.velocity = (safe.linear_m_s().into(), safe.angular_rad_s().into());
        self.judge.tick(now, &safe, self.gate.stopped().is_some())?;
        Ok(safe)
    }

    /// The robot does what it was told until the command runs out; a clock that went back says nothing, so one tick.
    fn robot_until(&mut self, now: Moment) {
        let passed = self.last.map_or(Some(Duration::ZERO), |last| now.since(last).filter(|passed| !passed.is_zero()));
        let seconds = match passed {
            Some(passed) => passed.min(self.gate.limits().command_max()).as_secs_f64(),
            None => self.gate.rate().tick_s(),
        };
        let pose = self.pose();
        let turn = UnitQuaternion::from_scaled_axis(self.velocity.1 * seconds);
        let place = pose.translation.vector + self.velocity.0 * seconds;
        let mut rotation = turn * pose.rotation;
        rotation.renormalize();
        if passed.is_none() {
            self.poses.clear(); // stamps of another clock
        }
        self.poses.push((now, Isometry3::from_parts(place.into(), rotation)));
        self.last = Some(now);
        self.judge.moved(&self.pose());
    }

    fn report(&mut self, ticks_ago: usize) {
        let place = self.poses.len() - 1 - ticks_ago.min(self.poses.len() - 1);
        let (measured, pose) = self.poses[place];
        let measured = if self.last.is_none() { self.moment() } else { measured };
        self.gate.observe(Some(&state(pose)), measured);
    }

    fn push(&mut self, by_m: [f64; 3], by_rad: [f64; 3]) {
        let pose = self.pose();
        let rotation = UnitQuaternion::from_scaled_axis(Vector3::from(by_rad)) * pose.rotation;
        let pose = Isometry3::from_parts((pose.translation.vector + Vector3::from(by_m)).into(), rotation);
        self.poses = vec![(self.last.unwrap_or(self.moment()), pose)];
        self.judge.pushed(&pose, self.velocity);
        self.report(0);
    }

    fn asked(&mut self, asked: &Want, now: Moment) -> Asked {
        let fresh = Origin {
            sequence: 1,
            index: 0,
            exposed: now.minus(Duration::from_millis(20)),
            expires: now.plus(Duration::from_millis(5)),
            confidence: 0.9,
        };
        if let Want::Values(values) = asked {
            self.step = *values;
        }
        let origin = match asked {
            Want::Nothing => return Asked::Nothing,
            Want::Old(ms) => Origin { exposed: moved(now, -ms), ..fresh },
            Want::Expired => Origin { expires: now, ..fresh },
            Want::Unsure(confidence) => Origin { confidence: *confidence, ..fresh },
            Want::Values(_) | Want::Again | Want::Corner(_) => fresh,
        };
        if let Want::Corner(towards) = asked {
            let [x, y, z] = towards.map(|value| value * 0.05);
            self.step = [x, y, z, y, x, 0.0, 1.0];
        }
        Asked::Values(self.step, origin)
    }
}

fn moved(now: Moment, ms: f64) -> Moment {
    Moment::from_ns(now.ns().saturating_add_signed((ms * 1e6) as i64))
}

pub fn state(base_from_ee: Isometry3<f64>) -> EndEffectorState {
    EndEffectorState { base_from_ee, gripper: 0.9, joints_rad: Vec::new() }
}

/// Names of what was changed.
pub fn kinds(safe: &SafeAction) -> Vec<&'static str> {
    safe.interventions().map(Intervention::kind).collect()
}
