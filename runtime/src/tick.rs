//! One look of the lockstep loop on one screen: infer, schedule, safety, publish, observe.
//!
//! From: an observation. To: the safe actions until the next look at the sink, and that look. In lockstep the world waits
//! for us (unless a latency is asked for), so a policy without an answer costs a hold and not a stale command.

use crate::clock::Moment;
use crate::endpoint::{ActionSink, EndpointError, ObservationSource};
use crate::observation::Observation;
use crate::policy::{ActionChunk, Policy, PolicyError};
use crate::safety::{Gate, SafeAction};
use crate::schedule::{Planner, STEPS_MAX, Token};
use crate::stage::{Stage, StageTimes};
use std::time::{Duration, Instant};

/// Everything that one look did, for recorders and tables. Borrowed: whoever wants to keep it copies it.
#[derive(Debug)]
pub struct Look<'a> {
    /// What the policy saw.
    pub observation: &'a Observation,
    /// What it answered; every chunk here is one of end-effector deltas.
    pub chunk: Result<&'a ActionChunk, &'a PolicyError>,
    /// What the answer had to begin with; empty for most strategies.
    pub committed: &'a [Token],
    /// What left through the gate, in order.
    pub sent: &'a [SafeAction],
    /// Time per stage, the policy's own included.
    pub times: &'a StageTimes,
    /// From the observation's arrival to the last action handed to the sink.
    pub latency: Duration,
}

/// Watches the loop. Called after the actions have left; must not block (hand over and return).
pub trait LoopObserver {
    /// One look is done.
    fn on_look(&mut self, look: &Look<'_>);
}

/// The parts of the loop. Holds no thread, and its clock is the number of actions sent.
pub struct LockstepLoop<'a, W> {
    /// The policy.
    pub policy: &'a mut dyn Policy,
    /// The simulator: takes actions, gives observations.
    pub world: &'a mut W,
    /// Which action runs.
    pub planner: &'a mut Planner,
    /// The only maker of what the world accepts.
    pub gate: &'a mut Gate,
    /// Longest wait for the world's answer.
    pub wait_max: Duration,
    /// The world's time: one tick further with every action sent. Starts anywhere.
    pub now: Moment,
    /// Ticks that a look is made to take, to see what a slow policy does: the world goes on meanwhile, executing what is
    /// planned. 0 = the world waits.
    pub latency_ticks: u32,
}

impl<W: ObservationSource + ActionSink> LockstepLoop<'_, W> {
    /// One look: from `observation` to the next one.
    ///
    /// # Errors
    /// Only the world's: a policy that fails, or whose chunk this robot cannot execute, is answered with a hold and shown to `observer`.
    pub fn look(
        &mut self,
        observation: &Observation,
        observer: &mut dyn LoopObserver,
    ) -> Result<Observation, EndpointError> {
        let arrived = Instant::now();
        let mut times = StageTimes::default();
        self.gate.observe(observation.state.as_ref(), self.now);
        let exposed = self.now;
        let Planner { schedule, .. } = &mut *self.planner;
        let committed = *schedule.begin_look(self.now, exposed);
        let answer = self.policy.infer_committed(observation, &committed);
        let ready = answer.and_then(|chunk| {
            times.merge(&chunk.times);
            let steps = times.measure(Stage::Schedule, || self.planner.ready(&chunk, exposed))?;
            Ok((chunk, steps))
        });
        let (answer, steps) = match ready {
            Ok((chunk, steps)) => (Ok(chunk), Some(steps)),
            Err(error) => (Err(error), None),
        };
        let mut sent = Vec::with_capacity(STEPS_MAX);
        for _ in 0..self.latency_ticks {
            self.step(&mut sent, &mut times);
        }
        self.gate.looked(steps.is_some());
        times.measure(Stage::Schedule, || self.planner.schedule.answer(steps.as_ref(), self.now));
        while !self.step(&mut sent, &mut times) {}
        for action in &sent {
            times.measure(Stage::Publish, || self.world.send(action))?;
        }
        let latency = arrived.elapsed();
        let (chunk, committed) = (answer.as_ref(), committed.tokens());
        observer.on_look(&Look { observation, chunk, committed, sent: &sent, times: &times, latency });
        self.world.observe(self.wait_max)
    }

    /// One tick; whether the next look is due.
    fn step(&mut self, sent: &mut Vec<SafeAction>, times: &mut StageTimes) -> bool {
        let due = times.measure(Stage::Schedule, || self.planner.schedule.next(self.now));
        sent.push(times.measure(Stage::Safety, || self.gate.tick(self.now, due.asked)));
        self.now = self.now.plus(self.gate.rate().tick());
        due.look
    }

    /// A new episode: nothing of the old one may reach into it.
    pub fn reset(&mut self) {
        self.policy.reset();
        self.planner.schedule.reset();
        self.gate.begin_at_rest();
    }
}
