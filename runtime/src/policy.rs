//! The port that policy families implement.

use crate::observation::Observation;
use crate::perception::depth::DepthReport;
use crate::schedule::CommittedPrefix;
use crate::sketch::StageSketch;
use crate::stage::{Stage, StageTimes};
use crate::units::ActionUnits;
use egogrid_action_grids::{Action, ActionRow, DeltaError, NormalizedRow};

/// What a loaded policy needs and gives; fixed for its lifetime.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySpec {
    /// Family and origin, e.g. `spatialvla/metaworld`.
    pub id: String,
    /// `[width, height]` of the picture inside the model.
    pub image_px: [u32; 2],
    /// Actions in one chunk.
    pub chunk_len: u16,
    /// How many of them the bundle recommends to execute before the next look.
    pub steps_executed: u16,
    /// Rate of the training data, where the bundle knows it.
    pub control_hz: Option<f32>,
    /// Whether every frame must carry depth.
    pub needs_depth: bool,
    /// Whether every frame must carry `base_from_camera`.
    pub needs_extrinsics: bool,
    /// Whether its answer can be told how to begin, see [`Policy::infer_committed`].
    pub commits: bool,
}

/// The actions of one inference, and how it came to them.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionChunk {
    /// `sequence` of the observation.
    pub sequence: u64,
    /// In the units of the training data, one per control step. A robot gets [`Self::deltas`].
    pub actions: Vec<ActionRow>,
    /// What those mean for the robot: physical already, unless its embodiment says otherwise.
    pub units: ActionUnits,
    /// The same before un-normalization.
    pub normalized: Vec<NormalizedRow>,
    /// Vocabulary ids, as many for each action: translation, rotation, gripper, or one per dimension.
    pub token_ids: Vec<u32>,
    /// Softmax probability of each chosen token over the whole vocabulary, as many as `token_ids`.
    pub confidence: Vec<f32>,
    /// The second most probable id at each position and its probability, as many as `token_ids`.
    pub runner_up: Vec<(u32, f32)>,
    /// Time per stage inside the policy.
    pub times: StageTimes,
    /// Where depth came from and how good it was; `None` for a policy without depth.
    pub depth: Option<DepthReport>,
    /// Ego3D sample points, `[patches * samples, 3]` metres in the frame the policy uses; empty without depth.
    pub points_xyz_m: Vec<[f32; 3]>,
    /// What each stage put out, in few bytes; empty unless the policy was loaded to say so.
    pub sketches: Vec<StageSketch>,
}

impl ActionChunk {
    /// The actions as end-effector deltas, all of them.
    ///
    /// # Errors
    /// One is no delta: another number of dimensions, or a gripper that is no opening. Then none of them is sent.
    pub fn deltas(&self) -> Result<Vec<Action>, PolicyError> {
        let delta = |(step, row)| {
            self.units.delta(row).map_err(|source| PolicyError::NotADelta {
                token_ids: self.token_ids.clone(),
                step,
                source,
            })
        };
        self.actions.iter().enumerate().map(delta).collect()
    }
}

/// Why there is no chunk. The loop holds on every one of them.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The frame lacks something the policy needs.
    #[error("the policy needs {what}, and the frame has none; {remedy}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The frame carries something that the policy would have to leave unused.
    #[error("the frame carries {what}, which this policy does not take; {remedy}")]
    Unwanted {
        /// What it carries.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The observation is there but cannot be used.
    #[error("stage {stage} refused the observation: {source}")]
    Observation {
        /// Where.
        stage: Stage,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Generation ended before the chunk was whole.
    #[error("generation ended after {} of {expected} action tokens (end token {eos_id}); the policy has no whole chunk for this observation: \
             hold, and look at the picture and the instruction it was given", token_ids.len().saturating_sub(1))]
    EarlyEnd {
        /// Everything that was generated, the end token included.
        token_ids: Vec<u32>,
        /// Tokens of a whole chunk.
        expected: usize,
        /// The end token.
        eos_id: u32,
    },
    /// A token of the wrong kind.
    #[error(
        "token {position} is id {found}, expected {expected}; the policy left its action slots: hold, and check that bundle and instruction belong together"
    )]
    WrongKind {
        /// Everything that was generated up to it.
        token_ids: Vec<u32>,
        /// Index in the chunk.
        position: usize,
        /// The id.
        found: u32,
        /// The kind of token that belongs there.
        expected: String,
    },
    /// A chunk whose parts do not belong together.
    #[error(
        "the policy answered {found} {what}, expected {expected}; hold, and report this: it is a fault of the family's code"
    )]
    Shape {
        /// Of what there are too many or too few.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there must be.
        expected: String,
    },
    /// A beginning was given to a policy that takes none, or one that it cannot continue.
    #[error(
        "the answer cannot begin with the {tokens} tokens that are committed: {reason}; use schedule strategy overlap"
    )]
    CannotCommit {
        /// How many.
        tokens: usize,
        /// Why.
        reason: String,
    },
    /// A whole chunk, of which one action cannot be sent to an arm with a gripper.
    #[error("action {step} of the chunk is no end-effector delta: {source}")]
    NotADelta {
        /// Of the whole chunk.
        token_ids: Vec<u32>,
        /// Index in the chunk.
        step: usize,
        /// Why.
        source: DeltaError,
    },
    /// ONNX Runtime failed.
    #[error("stage {stage} failed in ONNX Runtime: {message}")]
    Execution {
        /// Where.
        stage: Stage,
        /// What the library said.
        message: String,
    },
    /// Ended from outside: its deadline has passed.
    #[error(
        "stage {stage} was cancelled: the deadline of the inference has passed; give it more time, or a faster machine"
    )]
    Cancelled {
        /// Where.
        stage: Stage,
    },
    /// Not finite where it must be.
    #[error(
        "stage {stage} made {what} that is not finite; the bundle or the input is damaged: run `egogrid check` on the bundle"
    )]
    NotFinite {
        /// Where.
        stage: Stage,
        /// Of what.
        what: &'static str,
    },
}

impl PolicyError {
    /// A short stable name for machine-readable output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Unwanted { .. } => "unwanted",
            Self::Observation { .. } => "observation",
            Self::EarlyEnd { .. } => "early_end",
            Self::WrongKind { .. } => "wrong_kind",
            Self::Shape { .. } => "shape",
            Self::CannotCommit { .. } => "cannot_commit",
            Self::NotADelta { .. } => "not_a_delta",
            Self::Execution { .. } => "execution",
            Self::Cancelled { .. } => "cancelled",
            Self::NotFinite { .. } => "not_finite",
        }
    }

    /// The ids generated so far, where generation had begun.
    pub fn token_ids(&self) -> &[u32] {
        match self {
            Self::EarlyEnd { token_ids, .. }
            | Self::WrongKind { token_ids, .. }
            | Self::NotADelta { token_ids, .. } => token_ids,
            _ => &[],
        }
    }
}

/// A policy family, loaded and warm. One caller at a time: `&mut self` is the lock.
pub trait Policy: Send {
    /// Cameras, image size, chunk length and rate it was trained with; fixed for its lifetime.
    fn spec(&self) -> &PolicySpec;
    /// One forward pass. Actions come back in the units of the training data; lateness is the scheduler's business.
    ///
    /// # Errors
    /// Every reason not to have a chunk; none of them leaves the policy unusable.
    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError>;
    /// As [`Self::infer`], and the answer begins with `committed`: whole actions that are executed while the policy
    /// thinks, as it chose them before. Everything after them is decoded with them before it.
    ///
    /// # Errors
    /// As [`Self::infer`], and [`PolicyError::CannotCommit`].
    fn infer_committed(
        &mut self,
        observation: &Observation,
        committed: &CommittedPrefix,
    ) -> Result<ActionChunk, PolicyError> {
        if committed.is_empty() {
            return self.infer(observation);
        }
        let reason = format!("policy {} takes no beginning", self.spec().id);
        Err(PolicyError::CannotCommit { tokens: committed.tokens().len(), reason })
    }
    /// Forget the episode: caches, ensembling history, previous gripper command.
    fn reset(&mut self);
}

/// A policy that takes several observations at once: for many simulators that share one accelerator.
pub trait BatchPolicy: Send {
    /// As [`Policy::spec`].
    fn spec(&self) -> &PolicySpec;
    /// Most observations of one pass.
    fn batch_max(&self) -> usize;
    /// One forward pass for all of `observations`, at most [`Self::batch_max`]: an answer for each, in their order. None of them depends on what
    /// stands beside it; one that is refused costs the others nothing.
    fn infer_batch(&mut self, observations: &[&Observation]) -> Vec<Result<ActionChunk, PolicyError>>;
}
