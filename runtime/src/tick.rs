//! One look of the lockstep loop on one screen: infer, schedule, safety, publish, observe.
//!
//! From: an observation. To: `steps_executed` safe actions at the sink, and the next observation. In lockstep the
//! world waits for us, so a policy without an answer costs a hold and not a stale command.

use crate::clock::Moment;
use crate::endpoint::{ActionSink, EndpointError, ObservationSource};
use crate::observation::Observation;
use crate::policy::{ActionChunk, Policy, PolicyError};
use crate::safety::{Asked, Gate, SafeAction};
use crate::schedule::ChunkSchedule;
use crate::stage::{Stage, StageTimes};
use std::time::{Duration, Instant};

/// Everything that one look did, for recorders and tables. Borrowed: whoever wants to keep it copies it.
#[derive(Debug)]
pub struct Look<'a> {
    /// What the policy saw.
    pub observation: &'a Observation,
    /// What it answered; every chunk here is one of end-effector deltas.
    pub chunk: Result<&'a ActionChunk, &'a PolicyError>,
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
    /// Which action of the chunk runs.
    pub schedule: &'a mut ChunkSchedule,
    /// The only maker of what the world accepts.
    pub gate: &'a mut Gate,
    /// Longest wait for the world's answer.
    pub wait_max: Duration,
    /// The world's time: one tick further with every action sent. Starts anywhere.
    pub now: Moment,
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
        let answer = self.policy.infer(observation).and_then(|chunk| {
            times.merge(&chunk.times);
            times.measure(Stage::Schedule, || self.schedule.accept(&chunk, exposed))?;
            Ok(chunk)
        });
        self.gate.looked(answer.is_ok());
        if answer.is_err() {
            self.schedule.reset();
        }
        let tick = self.gate.rate().tick();
        let mut sent = Vec::with_capacity(usize::from(self.schedule.steps_executed()));
        loop {
            let planned = times.measure(Stage::Schedule, || self.schedule.next_action(self.now, tick));
            if planned.is_none() && !sent.is_empty() {
                break;
            }
            let asked = planned.unwrap_or(Asked::Nothing);
            sent.push(times.measure(Stage::Safety, || self.gate.tick(self.now, asked)));
            self.now = self.now.plus(tick);
        }
        for action in &sent {
            times.measure(Stage::Publish, || self.world.send(action))?;
        }
        let latency = arrived.elapsed();
        observer.on_look(&Look { observation, chunk: answer.as_ref(), sent: &sent, times: &times, latency });
        self.world.observe(self.wait_max)
    }

    /// A new episode: nothing of the old one may reach into it.
    pub fn reset(&mut self) {
        self.policy.reset();
        self.schedule.reset();
        self.gate.begin_at_rest();
    }
}
