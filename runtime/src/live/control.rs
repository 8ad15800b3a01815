//! One tick of the control thread on one screen: signs, state, answer, schedule, gate, command, look.
//!
//! From: slots that other threads fill. To: slots that they empty. Time is an argument. Nothing here takes memory, waits
//! for a lock, reads a clock or writes a log line (`runtime/tests/tick_memory.rs`, `tests/layering.rs`).

use super::assembler::{NewestSet, StateReport};
use super::histogram::Histogram;
use super::signs::{Requests, Signs};
use super::slot::{SlotReader, SlotWriter};
use crate::clock::{ControlRate, Moment};
use crate::safety::{Asked, Gate, GateCounters, Intervention, Origin, SafeAction, StopReason};
use crate::schedule::{Answered, CommittedPrefix, Schedule, Steps};
use std::sync::Arc;
use std::time::Duration;

/// Ticks at rest before an ending loop is over: the robot has been told so more than once.
const TICKS_AT_REST: u32 = 3;

/// For the policy's thread: look at this.
#[derive(Debug, Clone, Copy)]
pub struct LookOrder {
    /// Counts up by one.
    pub look: u64,
    /// What to look at.
    pub set: NewestSet,
    /// When it must be done.
    pub deadline: Moment,
    /// What the answer begins with.
    pub committed: CommittedPrefix,
    /// Counts up with every episode.
    pub episode: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Of the order.
    pub look: u64,
    /// The chunk; `None`: there is none.
    pub steps: Option<Steps>,
    /// Whether that is the policy's own fault, which latches the stop when it happens too often.
    pub policy_failed: bool,
}

/// What leaves the loop at a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Command {
    /// Counts up by one with every tick.
    pub sequence: u64,
    /// The tick.
    pub at: Moment,
    /// The command.
    pub safe: SafeAction,
    /// Where it comes from; `None`: from no look.
    pub origin: Option<Origin>,
}

/// How the loop is doing; written at every tick.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Snapshot {
    /// Ticks so far.
    pub ticks: u64,
    /// Ticks that were left out, because their time had passed.
    pub ticks_missed: u64,
    /// From the time of a tick to its beginning.
    pub lateness: Histogram,
    /// Of the gate.
    pub counters: GateCounters,
    /// Why the stop is latched, if it is.
    pub stopped: Option<StopReason>,
    /// The first thing that the gate had to say about the last tick.
    pub why: Option<Intervention>,
    /// Whether the last tick was a hold.
    pub held: bool,
    /// Whether the last command stands still.
    pub at_rest: bool,
    /// Looks ordered, and what came of them.
    pub looks: u64,
    /// Chunks that are, or were, executed.
    pub answers_taken: u64,
    /// Chunks that came when all of their actions belonged to the past.
    pub answers_late: u64,
    /// Looks without a chunk.
    pub answers_failed: u64,
    /// Answers that came when their episode was over, or their instruction replaced.
    pub answers_outdated: u64,
    /// Since when a look is under way.
    pub looking_since: Option<Moment>,
    /// Episodes begun.
    pub episodes: u32,
    /// Instructions that came while something else was done.
    pub instructions: u32,
    /// Re-arms that were refused, because no operator was there.
    pub rearms_refused: u32,
    /// Exposure of the picture that the last command answers.
    pub exposed: Option<Moment>,
    /// The last tick.
    pub at: Moment,
}

/// The ends of the slots that are the control thread's.
#[derive(Debug)]
pub struct ControlPorts {
    /// Requests and signs.
    pub signs: Arc<Signs>,
    /// The robot's newest report.
    pub states: SlotReader<Option<StateReport>>,
    /// The newest set of pictures.
    pub sets: SlotReader<Option<NewestSet>>,
    /// What came of the last look.
    pub answers: SlotReader<Option<Answer>>,
    /// The next look.
    pub orders: SlotWriter<Option<LookOrder>>,
    /// What goes to the robot.
    pub commands: SlotWriter<Option<Command>>,
    /// For people.
    pub snapshots: SlotWriter<Snapshot>,
}

/// The control thread's state.
pub struct Control {
    gate: Gate,
    schedule: Box<dyn Schedule>,
    deadline: Duration,
    ports: ControlPorts,
    /// Requests that have been done.
    done: Requests,
    /// The look under way, and when it began.
    looking: Option<(u64, Moment)>,
    /// `sequence` of the last set that was looked at.
    last_set: Option<u64>,
    /// Pictures from before show another episode.
    episode_begun: Moment,
    ticks_at_rest: u32,
    snapshot: Snapshot,
}

impl Control {
    /// `deadline`: the longest time from a look's beginning to its answer.
    pub fn new(gate: Gate, schedule: Box<dyn Schedule>, deadline: Duration, ports: ControlPorts) -> Self {
        Self {
            gate,
            schedule,
            deadline,
            ports,
            done: Requests::default(),
            looking: None,
            last_set: None,
            episode_begun: Moment::START,
            ticks_at_rest: 0,
            snapshot: Snapshot::default(),
        }
    }

    /// How often it ticks.
    pub fn rate(&self) -> ControlRate {
        self.gate.rate()
    }

    /// Whether it was to end, and has come to rest.
    pub fn is_over(&self) -> bool {
        self.ticks_at_rest >= TICKS_AT_REST
    }

    /// Counts ticks that were left out.
    pub fn missed(&mut self, ticks: u64) {
        self.snapshot.ticks_missed += ticks;
    }

    /// One tick at `now`, which is `lateness` after its time. Whether a look was ordered.
    pub fn tick(&mut self, now: Moment, lateness: Duration) -> bool {
        self.snapshot.lateness.add(lateness);
        self.obey(now);
        if let Some(Some(report)) = self.ports.states.take_new() {
            self.gate.observe(Some(&report.state), report.measured);
        }
        self.take_answer(now);
        let ending = self.ports.signs.is_ending();
        let due = self.schedule.next(now);
        let asked = if ending { Asked::Nothing } else { due.asked };
        let safe = self.gate.tick(now, asked);
        self.send(now, &safe, asked);
        self.ticks_at_rest = if ending && stands(&safe) { self.ticks_at_rest + 1 } else { 0 };
        let ordered = due.look && !ending && self.look(now);
        self.tell(now, &safe);
        ordered
    }

    /// Signs and requests of people.
    fn obey(&mut self, now: Moment) {
        if let Some((held, seen)) = self.ports.signs.last_operator() {
            self.gate.operator(held, seen);
        }
        let requests = self.ports.signs.requests();
        if requests.episodes != self.done.episodes {
            self.forget();
            self.episode_begun = now;
            self.gate.begin_at_rest();
            self.snapshot.episodes = requests.episodes;
        }
        if requests.instructions != self.done.instructions {
            // The arm goes on from where it is: the gate brakes until there is a plan for what it is to do now.
            self.forget();
            self.snapshot.instructions = requests.instructions;
        }
        // A stop that comes together with a re-arm stays.
        if requests.rearms != self.done.rearms && self.gate.rearm(now).is_err() {
            self.snapshot.rearms_refused += 1;
        }
        if requests.stops != self.done.stops {
            self.gate.stop(StopReason::Operator);
        }
        self.done = requests;
    }

    /// What is planned belongs to what is over, and so will the answer to the look under way: it will belong to none.
    fn forget(&mut self) {
        self.looking = None;
        self.schedule.reset();
    }

    fn take_answer(&mut self, now: Moment) {
        let Some(Some(answer)) = self.ports.answers.take_new() else { return };
        if self.looking.is_none_or(|(look, _)| look != answer.look) {
            self.snapshot.answers_outdated += 1;
            return;
        }
        self.looking = None;
        if answer.steps.is_some() || answer.policy_failed {
            self.gate.looked(answer.steps.is_some());
        }
        match self.schedule.answer(answer.steps.as_ref(), now) {
            Answered::Taken => self.snapshot.answers_taken += 1,
            Answered::Late => self.snapshot.answers_late += 1,
            Answered::Failed => self.snapshot.answers_failed += 1,
        }
    }

    fn send(&mut self, now: Moment, safe: &SafeAction, asked: Asked) {
        let origin = match asked {
            Asked::Step(_, origin) | Asked::Values(_, origin) => Some(origin),
            Asked::Nothing => None,
        };
        let command = Command { sequence: self.snapshot.ticks, at: now, safe: *safe, origin };
        self.ports.commands.put(Some(command));
        self.snapshot.exposed = origin.map(|origin| origin.exposed);
    }

    /// Orders a look at the newest set, if that is a new one.
    fn look(&mut self, now: Moment) -> bool {
        if self.looking.is_some() {
            return false;
        }
        let Some(set) = *self.ports.sets.newest() else { return false };
        if self.last_set == Some(set.sequence) || set.exposed < self.episode_begun {
            return false;
        }
        let committed = *self.schedule.begin_look(now, set.exposed);
        let look = self.snapshot.looks;
        let (deadline, episode) = (now.plus(self.deadline), self.done.episodes);
        self.ports.orders.put(Some(LookOrder { look, set, deadline, committed, episode }));
        (self.looking, self.last_set) = (Some((look, now)), Some(set.sequence));
        self.snapshot.looks += 1;
        true
    }

    fn tell(&mut self, now: Moment, safe: &SafeAction) {
        let told = &mut self.snapshot;
        told.ticks += 1;
        told.counters = *self.gate.counters();
        told.stopped = self.gate.stopped();
        told.why = safe.interventions().next().copied();
        (told.held, told.at_rest, told.at) = (safe.is_hold(), stands(safe), now);
        told.looking_since = self.looking.map(|(_, since)| since);
        self.ports.snapshots.put(*told);
    }
}

fn stands(safe: &SafeAction) -> bool {
    safe.is_hold() && safe.linear_m_s().iter().chain(&safe.angular_rad_s()).all(|speed| *speed == 0.0)
}
