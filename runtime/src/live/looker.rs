//! The policy's thread: takes an order, looks, answers. May allocate, wait and take as long as it is allowed to.

use super::assembler::Shelf;
use super::clock;
use super::control::{Answer, LookOrder};
use super::deadline::Deadline;
use super::signs::Signs;
use super::slot::{SlotReader, SlotWriter};
use crate::observation::Observation;
use crate::policy::{ActionChunk, Policy, PolicyError};
use crate::schedule::Steps;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Duration;

/// How long it sleeps when nobody wakes it: then it looks whether the process is to end.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Why a look has no chunk.
#[derive(Debug, thiserror::Error)]
pub enum LookFailure {
    /// The policy said so.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Its deadline passed; it was ended inside ONNX Runtime.
    #[error("the deadline passed after {took_ms:.1} ms; raise deadline_ms, or use a faster machine or precision")]
    Deadline {
        /// From its beginning.
        took_ms: f64,
    },
    /// The pictures were gone before it began.
    #[error(
        "the pictures of look {look} were replaced before it began: the policy's thread does not get the processor"
    )]
    Superseded {
        /// Which.
        look: u64,
    },
}

impl LookFailure {
    /// A short stable name for counters and machine-readable output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Policy(error) => error.kind(),
            Self::Deadline { .. } => "deadline",
            Self::Superseded { .. } => "superseded",
        }
    }

    /// The ids generated so far, where generation had begun.
    pub fn token_ids(&self) -> &[u32] {
        match self {
            Self::Policy(error) => error.token_ids(),
            Self::Deadline { .. } | Self::Superseded { .. } => &[],
        }
    }
}

/// One look, for recorders and tables.
#[derive(Debug)]
pub struct LookReport {
    /// What was asked.
    pub order: LookOrder,
    /// What was seen; `None` if it was gone.
    pub observation: Option<Arc<Observation>>,
    /// What came of it.
    pub result: Result<ActionChunk, LookFailure>,
    /// From the policy's thread taking the order to its answer.
    pub took: Duration,
    /// From exposure to the answer.
    pub age: Duration,
    /// Which policy looked: [`LoadedPolicy::number`].
    pub policy: u32,
    /// Reports that were dropped so far, because nobody took the ones before them.
    pub dropped: u64,
}

/// A policy, and what ends its runs.
pub struct LoadedPolicy {
    /// Warm.
    pub policy: Box<dyn Policy>,
    /// Made of what its own graphs were loaded with: ending another policy's run would not end this one's.
    pub deadline: Deadline,
    /// By which whoever loaded it knows it again.
    pub number: u32,
}

/// The ends of the slots that are the policy thread's.
#[derive(Debug)]
pub struct LookerPorts {
    /// What to look at.
    pub orders: SlotReader<Option<LookOrder>>,
    /// What came of it.
    pub answers: SlotWriter<Option<Answer>>,
    /// Where the pictures are.
    pub shelf: Shelf,
    /// Whether the process is to end.
    pub signs: Arc<Signs>,
    /// For recorders and tables; what does not fit is dropped.
    pub reports: SyncSender<LookReport>,
    /// Another policy to go on with, from the next episode on. One of the same shape: the sender has checked that.
    pub swaps: Receiver<LoadedPolicy>,
}

/// The policy's thread.
pub struct Looker {
    mind: LoadedPolicy,
    next: Option<LoadedPolicy>,
    ticks_per_step: u16,
    ports: LookerPorts,
    episode: u32,
    dropped: u64,
}

impl Looker {
    /// `ticks_per_step`: of the planner.
    pub fn new(policy: LoadedPolicy, ticks_per_step: u16, ports: LookerPorts) -> Self {
        Self { mind: policy, next: None, ticks_per_step, ports, episode: 0, dropped: 0 }
    }

    /// Looks whenever it is unparked and there is an order, until the process is to end.
    pub fn run(mut self) {
        while !self.ports.signs.is_ending() {
            if !self.look() {
                std::thread::park_timeout(SLEEP_MAX);
            }
        }
    }

    /// One look, if one is ordered.
    pub fn look(&mut self) -> bool {
        let Some(Some(order)) = self.ports.orders.take_new().copied() else { return false };
        let begun = clock::now();
        self.begin_episode(order.episode);
        let observation = self.ports.shelf.get(order.set.sequence);
        let result = match &observation {
            Some(observation) => self.infer(observation, &order),
            None => Err(LookFailure::Superseded { look: order.look }),
        };
        let steps = result.as_ref().ok().map(|(_, steps)| *steps);
        let policy_failed = matches!(&result, Err(LookFailure::Policy(_) | LookFailure::Deadline { .. }));
        self.ports.answers.put(Some(Answer { look: order.look, steps, policy_failed }));
        let done = clock::now();
        let report = LookReport {
            order,
            observation,
            result: result.map(|(chunk, _)| chunk),
            took: done.since(begun).unwrap_or_default(),
            age: done.since(order.set.exposed).unwrap_or_default(),
            policy: self.mind.number,
            dropped: self.dropped,
        };
        if self.ports.reports.try_send(report).is_err() {
            self.dropped += 1;
        }
        true
    }

    fn infer(&mut self, observation: &Observation, order: &LookOrder) -> Result<(ActionChunk, Steps), LookFailure> {
        let begun = clock::now();
        let LoadedPolicy { policy, deadline, .. } = &mut self.mind;
        let (chunk, ended) = deadline.guard(order.deadline, || policy.infer_committed(observation, &order.committed));
        let chunk = match chunk {
            // What came in spite of its deadline is as good as what came in time: the schedule knows its age.
            Ok(chunk) => chunk,
            Err(_) if ended => {
                let took_ms = clock::now().seconds_since(begun) * 1e3;
                return Err(LookFailure::Deadline { took_ms });
            }
            Err(error) => return Err(error.into()),
        };
        let steps = Steps::of(&chunk, order.set.exposed, self.ticks_per_step)?;
        Ok((chunk, steps))
    }

    /// A new episode is where another policy may begin: the last one that was sent.
    fn begin_episode(&mut self, episode: u32) {
        while let Ok(policy) = self.ports.swaps.try_recv() {
            if let Some(replaced) = self.next.replace(policy) {
                retire(replaced);
            }
        }
        if episode == self.episode {
            return;
        }
        self.episode = episode;
        if let Some(policy) = self.next.take() {
            retire(std::mem::replace(&mut self.mind, policy));
        }
        self.mind.policy.reset();
    }
}

/// Frees a policy where no look waits for it. Without a thread to give it is freed here.
fn retire(policy: LoadedPolicy) {
    let freed = std::thread::Builder::new().name("retire".to_owned()).spawn(move || drop(policy));
    drop(freed);
}
