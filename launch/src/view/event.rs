//! What the recorders keep of a run: owned copies, made on the loop's thread without copying a pixel.
//!
//! From: the borrowed [`Look`] and the episode's begin and end. To: `view::scene` and `video`, on their own threads.

use egogrid_action_grids::Action;
use egogrid_runtime::camera::Frame;
use egogrid_runtime::observation::{EndEffectorState, Observation};
use egogrid_runtime::policy::{ActionChunk, PolicyError};
use egogrid_runtime::safety::SafeAction;
use egogrid_runtime::schedule::Token;
use egogrid_runtime::stage::StageTimes;
use egogrid_runtime::tick::Look;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// Name of the task, e.g. `drawer-open`.
    pub task: String,
    /// What the policy is told.
    pub instruction: String,
    /// Seed of the simulator.
    pub seed: u32,
    /// Counts all episodes of the run, from 0.
    pub index: u32,
}

/// How an episode ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Outcome {
    /// The task's own criterion was met.
    Success,
    /// It was not, within the steps allowed.
    Failure,
    /// The gate latched a stop. Counts as a failure.
    SafetyStop {
        /// Why.
        reason: String,
    },
    /// The episode could not be run to its end: simulator, transport. Says nothing about the policy.
    Harness {
        /// What happened.
        reason: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("SUCCESS"),
            Self::Failure => f.write_str("FAILED"),
            Self::SafetyStop { reason } => write!(f, "STOPPED ({reason})"),
            Self::Harness { reason } => write!(f, "NOT RUN ({reason})"),
        }
    }
}

/// Where the run stands. Every look carries it, so that a dropped message cannot leave a wrong label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The episode that is running or has just ended.
    pub episode: Option<Arc<Episode>>,
    /// Its outcome, once it has ended.
    pub outcome: Option<Outcome>,
    /// The episode before it, and how that ended.
    pub previous: Option<(Arc<Episode>, Outcome)>,
    /// Episodes that ended with success or failure.
    pub judged: u32,
    /// Episodes that ended with success.
    pub successes: u32,
    /// Looks of this episode so far.
    pub looks: u32,
    /// Control steps of this episode so far.
    pub steps: u32,
}

impl Progress {
    pub(crate) fn begin(&mut self, episode: Episode) {
        if let (Some(before), Some(outcome)) = (self.episode.take(), self.outcome.take()) {
            self.previous = Some((before, outcome));
        }
        self.episode = Some(Arc::new(episode));
        (self.looks, self.steps) = (0, 0);
    }

    pub(crate) fn count_look(&mut self, steps: usize) {
        self.looks += 1;
        self.steps = self.steps.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Success => (self.judged, self.successes) = (self.judged + 1, self.successes + 1),
            Outcome::Failure | Outcome::SafetyStop { .. } => self.judged += 1,
            Outcome::Harness { .. } => {}
        }
        self.outcome = Some(outcome);
    }
}

/// What was seen at one moment. Pictures are shared, not copied.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Counts up over the whole run, one for each moment shown.
    pub index: i64,
    pub frame: Frame,
    pub state: Option<EndEffectorState>,
}

impl Seen {
    pub(crate) fn of(index: i64, observation: &Observation) -> Self {
        Self { index, frame: observation.frame.clone(), state: observation.state.clone() }
    }

    /// What keeping this keeps in memory.
    pub(crate) fn picture_bytes(&self) -> usize {
        let depth_bytes = self.frame.depth.as_ref().map_or(0, |depth| size_of_val(depth.data_m()));
        self.frame.rgb.data().len() + depth_bytes
    }
}

/// Why there is no chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoAnswer {
    /// Stable short name.
    pub kind: &'static str,
    /// For people.
    pub detail: String,
    /// What was generated before.
    pub token_ids: Vec<u32>,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl From<&PolicyError> for NoAnswer {
    fn from(error: &PolicyError) -> Self {
        Self { kind: error.kind(), detail: error.to_string(), token_ids: error.token_ids().to_vec() }
    }
}

/// What was done about it.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// The chunk, or why there is none.
    pub answer: Result<ActionChunk, NoAnswer>,
    /// What the chunk had to begin with.
    pub committed: Vec<Token>,
    /// The chunk's actions as the robot understands them; none without a chunk.
    pub planned: Vec<Action>,
    pub sent: Vec<SafeAction>,
    pub times: StageTimes,
    pub latency: Duration,
}

impl Done {
    pub(crate) fn of(look: &Look<'_>) -> Self {
        Self {
            planned: look.chunk.ok().and_then(|chunk| chunk.deltas().ok()).unwrap_or_default(),
            answer: look.chunk.cloned().map_err(NoAnswer::from),
            committed: look.committed.to_vec(),
            sent: look.sent.to_vec(),
            times: *look.times,
            latency: look.latency,
        }
    }
}

/// One message to a recording thread.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// An episode begins, at this index.
    Started(Progress, i64),
    /// One look.
    Look(Arc<(Progress, Seen, Done)>),
    /// An episode has ended, with what the world looked like then.
    Ended(Progress, Option<Box<Seen>>),
}
