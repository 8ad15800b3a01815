//! A control thread without threads: its slots, a clock that a test moves, and a policy of numbers.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each of its users needs a part

use crate::schedule_support::{chunk_of, spec};
use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::live::{
    Answer, Command, Control, ControlPorts, LookOrder, NewestSet, Signs, SlotReader, SlotWriter, Snapshot, StateReport,
    slot,
};
use egogrid_runtime::observation::EndEffectorState;
use egogrid_runtime::safety::{Bound, Gate, SafetyConfig};
use egogrid_runtime::schedule::{ScheduleConfig, Steps, StrategyConfig};
use nalgebra::Isometry3;
use std::sync::Arc;
use std::time::Duration;

pub const TICK_MS: u64 = 50;
pub const CHUNK: u16 = 4;

/// Time of tick `n`.
pub fn at(n: u64) -> Moment {
    Moment::from_ns((1_000 + n * TICK_MS) * 1_000_000)
}

/// Bounds of an arm that follows at once, in a loop of 20 Hz.
pub fn bounds() -> SafetyConfig {
    SafetyConfig {
        command_ms_max: 120.0,
        state_ms_max: 400.0,
        observation_ms_max: 300.0,
        ..crate::safety_support::teleported()
    }
}

pub struct Bench {
    pub control: Control,
    pub signs: Arc<Signs>,
    pub states: SlotWriter<Option<StateReport>>,
    pub sets: SlotWriter<Option<NewestSet>>,
    pub answers: SlotWriter<Option<Answer>>,
    pub orders: SlotReader<Option<LookOrder>>,
    pub commands: SlotReader<Option<Command>>,
    pub snapshots: SlotReader<Snapshot>,
    /// The next tick.
    pub tick: u64,
    /// Whether a new picture comes with every tick, and the robot reports.
    pub alive: bool,
}

impl Bench {
    pub fn new(strategy: StrategyConfig, bounds: SafetyConfig) -> Self {
        let rate = ControlRate::new(1000.0 / TICK_MS as f64).unwrap();
        let planner = ScheduleConfig { step_hz: Some(20.0), strategy }.checked(&spec(CHUNK), rate).unwrap();
        let gate = Gate::new(bounds.checked().unwrap(), rate).unwrap();
        let signs = Arc::<Signs>::default();
        let (states, state_reader) = slot(None);
        let (sets, set_reader) = slot(None);
        let (answers, answer_reader) = slot(None);
        let (order_writer, orders) = slot(None);
        let (command_writer, commands) = slot(None);
        let (snapshot_writer, snapshots) = slot(Snapshot::default());
        let ports = ControlPorts {
            signs: Arc::clone(&signs),
            states: state_reader,
            sets: set_reader,
            answers: answer_reader,
            orders: order_writer,
            commands: command_writer,
            snapshots: snapshot_writer,
        };
        let control = Control::new(gate, planner.schedule, Duration::from_millis(200), ports);
        Self { control, signs, states, sets, answers, orders, commands, snapshots, tick: 0, alive: true }
    }

    pub fn overlap() -> Self {
        Self::new(StrategyConfig::Overlap { steps_between_looks: 1 }, bounds())
    }

    /// What the world sends before the next tick.
    pub fn world(&mut self) {
        let now = at(self.tick);
        let base_from_ee = Isometry3::translation(0.0, 0.6, 0.26);
        let state = EndEffectorState { base_from_ee, gripper: 1.0, joints_rad: Vec::new() };
        self.states.put(Some(StateReport { state, measured: now }));
        self.sets.put(Some(NewestSet { sequence: self.tick, exposed: now.minus(Duration::from_millis(10)) }));
    }

    /// One tick, and the command that it made.
    pub fn step(&mut self) -> Command {
        if self.alive {
            self.world();
        }
        let now = at(self.tick);
        self.control.tick(now, Duration::from_micros(50));
        self.tick += 1;
        self.commands.newest().unwrap()
    }

    /// The order that was given, if one is new.
    pub fn order(&mut self) -> Option<LookOrder> {
        self.orders.take_new().copied().flatten()
    }

    /// Answers `order` with a chunk of small steps along x.
    pub fn answer(&mut self, order: &LookOrder) {
        self.answers.put(Some(Answer { look: order.look, steps: Some(steps(order)), policy_failed: false }));
    }

    pub fn fail(&mut self, order: &LookOrder, policy_failed: bool) {
        self.answers.put(Some(Answer { look: order.look, steps: None, policy_failed }));
    }

    pub fn snapshot(&mut self) -> Snapshot {
        *self.snapshots.newest()
    }
}

/// Moves 1 mm along x at every step.
pub fn steps(order: &LookOrder) -> Steps {
    let rows = [[0.001, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]; CHUNK as usize];
    let chunk = chunk_of(order.set.sequence, &rows, &[(1, 0.9); 3 * CHUNK as usize]);
    Steps::of(&chunk, order.set.exposed, 1).unwrap()
}

/// The bound of an operator.
pub fn with_operator() -> SafetyConfig {
    SafetyConfig { dead_man_ms_max: Bound::At(120.0), ..bounds() }
}
