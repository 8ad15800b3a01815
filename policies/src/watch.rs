//! What every stage put out, for those who compare or show it. Costs nothing where nobody watches.

use egogrid_action_grids::{ActionRow, NormalizedRow};
use egogrid_runtime::execution::ExecutionError;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError};
use egogrid_runtime::schedule::Token;

/// A loaded policy of any family, to be looked at.
pub(crate) trait Watched: Policy {
    /// One inference, showing every stage's output to `watch`.
    fn infer_watched(&mut self, observation: &Observation, watch: Watch<'_>) -> Result<ActionChunk, PolicyError> {
        self.infer_watched_from(observation, &[], watch)
    }
    /// The same, beginning with ids that are chosen already; empty = none.
    fn infer_watched_from(
        &mut self,
        observation: &Observation,
        committed: &[Token],
        watch: Watch<'_>,
    ) -> Result<ActionChunk, PolicyError>;
}

/// Output of one stage, valid during the call. Names and shapes are those of `golden.safetensors`.
#[derive(Debug, Clone, Copy)]
pub enum StageOutput<'a> {
    /// `[text_tokens]`.
    TextIds(&'a [i64]),
    /// `[channels, height, width]`.
    PixelValues(&'a [f32]),
    /// An output of the depth estimator's graph by its name.
    Estimator(&'a str, &'a [f32]),
    /// `[rows, columns]` of sub-cells, metres.
    PatchDepth(&'a [f32]),
    /// `[patches, samples, 3]`, metres.
    PointsXyz(&'a [f32]),
    /// `[patches, numbers]`.
    FreqEncoding(&'a [f32]),
    /// An output of the vision graph by its name.
    Vision(&'static str, &'a [f32]),
    /// Of the token at this position, `[vocabulary]`.
    StepLogits(usize, &'a [f32]),
    /// Everything generated.
    TokenIds(&'a [u32]),
    /// One per control step.
    Normalized(&'a [NormalizedRow]),
    /// One per control step.
    Actions(&'a [ActionRow]),
}

impl StageOutput<'_> {
    /// The name in `golden.safetensors`.
    pub fn name(&self) -> String {
        match self {
            Self::TextIds(_) => "text_ids".to_owned(),
            Self::PixelValues(_) => "pixel_values".to_owned(),
            // `depth_m` is what a case may bring.
            Self::Estimator("depth_m", _) => "estimated_depth_m".to_owned(),
            Self::Estimator(name, _) => (*name).to_owned(),
            Self::PatchDepth(_) => "patch_depth_m".to_owned(),
            Self::PointsXyz(_) => "points_xyz".to_owned(),
            Self::FreqEncoding(_) => "freq_encoding".to_owned(),
            Self::Vision(name, _) => (*name).to_owned(),
            Self::StepLogits(step, _) => format!("step{step}_logits"),
            Self::TokenIds(_) => "token_ids".to_owned(),
            Self::Normalized(_) => "normalized".to_owned(),
            Self::Actions(_) => "actions".to_owned(),
        }
    }
}

/// Somebody who looks at stage outputs, or nobody.
pub struct Watch<'a>(Option<&'a mut dyn FnMut(StageOutput<'_>)>);

impl<'a> Watch<'a> {
    /// Calls `see` with every stage's output.
    pub fn with(see: &'a mut dyn FnMut(StageOutput<'_>)) -> Self {
        Self(Some(see))
    }

    /// Nobody looks.
    pub fn nobody() -> Self {
        Self(None)
    }

    pub(crate) fn show(&mut self, output: StageOutput<'_>) {
        if let Some(see) = &mut self.0 {
            see(output);
        }
    }

    /// As [`Self::vision`], for the depth estimator.
    pub(crate) fn estimator(
        &mut self,
        outputs: impl FnOnce() -> Result<Vec<(String, Vec<f32>)>, ExecutionError>,
    ) -> Result<(), ExecutionError> {
        if self.0.is_some() {
            for (name, values) in outputs()? {
                self.show(StageOutput::Estimator(&name, &values));
            }
        }
        Ok(())
    }

    /// The outputs of the vision graph are copied from wherever they lie, so only for somebody.
    pub(crate) fn vision<const N: usize>(
        &mut self,
        outputs: impl FnOnce() -> Result<[(&'static str, Vec<f32>); N], ExecutionError>,
    ) -> Result<(), ExecutionError> {
        if self.0.is_some() {
            for (name, values) in outputs()? {
                self.show(StageOutput::Vision(name, &values));
            }
        }
        Ok(())
    }
}
