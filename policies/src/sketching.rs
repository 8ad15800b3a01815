//! A policy that also says what every stage put out, in few bytes each: for recordings that can be replayed stage by stage.
//!
//! From: any family. To: [`ActionChunk::sketches`]. Costs one more reading of every stage's output (see docs/recordings.md), which
//! is booked on the stage; whoever does not record loads the policy without.

use crate::watch::{StageOutput, Watch, Watched};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::schedule::{CommittedPrefix, Token};
use egogrid_runtime::sketch::StageSketch;

/// The wrapper.
pub(crate) struct Sketching {
    inner: Box<dyn Watched>,
}

impl Sketching {
    pub(crate) fn new(inner: Box<dyn Watched>) -> Self {
        Self { inner }
    }

    fn infer_sketched(&mut self, observation: &Observation, committed: &[Token]) -> Result<ActionChunk, PolicyError> {
        let mut sketches = Vec::new();
        let mut see = |output: StageOutput<'_>| sketches.extend(sketch(output));
        let mut chunk = self.inner.infer_watched_from(observation, committed, Watch::with(&mut see))?;
        chunk.sketches = sketches;
        Ok(chunk)
    }
}

/// `None` for what the chunk holds in full.
fn sketch(output: StageOutput<'_>) -> Option<StageSketch> {
    let name = output.name();
    match output {
        StageOutput::TextIds(ids) => Some(StageSketch::of_ids(name, ids)),
        StageOutput::PixelValues(values)
        | StageOutput::Estimator(_, values)
        | StageOutput::PatchDepth(values)
        | StageOutput::PointsXyz(values)
        | StageOutput::FreqEncoding(values)
        | StageOutput::Vision(_, values)
        | StageOutput::StepLogits(_, values) => Some(StageSketch::of(name, values)),
        StageOutput::TokenIds(_) | StageOutput::Normalized(_) | StageOutput::Actions(_) => None,
    }
}

impl Policy for Sketching {
    fn spec(&self) -> &PolicySpec {
        self.inner.spec()
    }

    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        self.infer_sketched(observation, &[])
    }

    fn infer_committed(
        &mut self,
        observation: &Observation,
        committed: &CommittedPrefix,
    ) -> Result<ActionChunk, PolicyError> {
        self.infer_sketched(observation, committed.tokens())
    }

    fn reset(&mut self) {
        self.inner.reset();
    }
}
