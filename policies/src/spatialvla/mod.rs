//! SpatialVLA, arXiv:2501.15830: picture, depth and instruction to a chunk of end-effector deltas.
//!
//! From: [`Observation`]. To: [`ActionChunk`]. [`SpatialVla::infer_watched`] is the family on one screen; each stage
//! writes straight into the memory that the next one reads. Checked stage by stage against `golden.safetensors`.

mod greedy;
mod inputs;
mod kind;
mod prompt;
mod replay;
mod session;
mod tables;
mod watch;

pub use prompt::{INSTRUCTION_BYTES_MAX, PromptError};
pub(crate) use replay::replay;
pub(crate) use tables::check_tables;
pub use watch::{StageOutput, Watch};

use crate::bundle::manifest::{PointFrame, SpatialVlaTables};
use crate::bundle::{Bundle, Manifest};
use crate::registry::{LoadError, LoadOptions};
use egogrid_action_grids::{ActionRow, ActionTokenizer, NormStats, NormalizedRow, StatsError, TokenKind};
use egogrid_runtime::execution::{Environment, ExecutionError};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::stage::{Stage, StageTimes};
use inputs::Inputs;
use prompt::Prompt;
use session::Session;

/// A loaded SpatialVLA policy.
#[derive(Debug)]
pub struct SpatialVla {
    spec: PolicySpec,
    inputs: Inputs,
    prompt: Prompt,
    session: Session,
    tokenizer: ActionTokenizer,
    statistics: NormStats,
}

/// Tokens of one chunk and what is known about each.
#[derive(Debug, Default)]
struct Generation {
    token_ids: Vec<u32>,
    confidence: Vec<f32>,
    runner_up: Vec<(u32, f32)>,
}

impl SpatialVla {
    /// Loads everything; nothing large is allocated after that. `rules` decide which pixels of a depth sensor count.
    ///
    /// # Errors
    /// Unknown statistics, a provider that cannot start, a tokenizer or graph that is not the one of the manifest.
    pub fn load(
        environment: &Environment,
        bundle: &Bundle,
        options: &LoadOptions,
        rules: SensorRules,
    ) -> Result<Self, LoadError> {
        let statistics = bundle.statistics().get(&options.stats_key)?.one_arm()?;
        let inputs = Inputs::new(bundle.manifest(), rules)?;
        let prompt = Prompt::load(bundle)?;
        let session = Session::load(environment, bundle, &options.graph)?;
        let tokenizer = bundle.action_tokenizer().clone();
        let spec = spec(bundle.id(), bundle.manifest(), bundle.manifest().spatialvla()?);
        Ok(Self { spec, inputs, prompt, session, tokenizer, statistics })
    }

    /// Goes on with other statistics of the same bundle.
    ///
    /// # Errors
    /// An unknown key; the old statistics stay.
    pub fn use_statistics(&mut self, bundle: &Bundle, stats_key: &str) -> Result<(), StatsError> {
        self.statistics = bundle.statistics().get(stats_key)?.one_arm()?;
        Ok(())
    }

    /// [`Policy::infer`], showing every stage's output to `watch`.
    ///
    /// # Errors
    /// As [`Policy::infer`].
    pub fn infer_watched(&mut self, observation: &Observation, watch: Watch<'_>) -> Result<ActionChunk, PolicyError> {
        let (frame, mut watch, mut times) = (&observation.frame, watch, StageTimes::default());
        let (inputs, session) = (&mut self.inputs, &mut self.session);

        times.measure(Stage::Preprocess, || -> Result<(), PolicyError> {
            let text_ids = self.prompt.ids(&observation.instruction).map_err(observed(Stage::Preprocess))?;
            session.decoder.set_text(text_ids).map_err(failed(Stage::Preprocess))?;
            let pixels = session.pixel_values_mut().map_err(failed(Stage::Preprocess))?;
            inputs.pixels.write(&frame.rgb, pixels).map_err(observed(Stage::Preprocess))?;
            watch.show(StageOutput::TextIds(text_ids));
            watch.show(StageOutput::PixelValues(pixels));
            Ok(())
        })?;
        let (patch_depth, depth) = times.measure(Stage::Depth, || inputs.depth.average(frame))?;
        watch.show(StageOutput::PatchDepth(patch_depth.depth_m));
        times.measure(Stage::Ego3d, || {
            let encoding = session.freq_encoding_mut().map_err(failed(Stage::Ego3d))?;
            inputs.points.write(frame, patch_depth, encoding)?;
            watch.show(StageOutput::PointsXyz(inputs.points.points_m()));
            watch.show(StageOutput::FreqEncoding(encoding));
            Ok(())
        })?;
        times.measure(Stage::Vision, || session.run_vision()).map_err(failed(Stage::Vision))?;
        watch.vision(session).map_err(failed(Stage::Vision))?;

        let generation = self.generate(&mut times, &mut watch)?;

        let chunk_len = usize::from(self.spec.chunk_len);
        let normalized = times.measure(Stage::Grid, || self.tokenizer.decode_chunk(&generation.token_ids, chunk_len));
        let normalized = normalized.map_err(observed(Stage::Grid))?;
        watch.show(StageOutput::Normalized(&normalized));
        let actions = times.measure(Stage::Unnormalize, || {
            normalized.iter().map(|action| self.statistics.unnormalize(action)).collect::<Result<Vec<_>, _>>()
        });
        let actions = actions.map_err(observed(Stage::Unnormalize))?;
        watch.show(StageOutput::Actions(&actions));

        let actions = actions.into_iter().map(ActionRow::from).collect();
        let normalized = normalized.into_iter().map(NormalizedRow::from).collect();
        let Generation { token_ids, confidence, runner_up } = generation;
        let (sequence, depth, points_xyz_m) = (observation.sequence, Some(depth), self.inputs.points.to_points());
        Ok(ActionChunk { sequence, actions, normalized, token_ids, confidence, runner_up, times, depth, points_xyz_m })
    }

    /// Greedy, over the whole vocabulary, exactly one chunk: the first token that does not belong there ends it.
    fn generate(&mut self, times: &mut StageTimes, watch: &mut Watch<'_>) -> Result<Generation, PolicyError> {
        let mut generation = Generation::default();
        let token_count = usize::from(self.spec.chunk_len) * TokenKind::SLOTS.len();
        for position in 0..token_count {
            let stage = if position == 0 { Stage::Prefill } else { Stage::Decode };
            let choice = times.measure(stage, || {
                let logits = match generation.token_ids.last() {
                    None => self.session.decoder.run_prefill(),
                    Some(token) => self.session.decoder.run_decode(*token),
                };
                let logits = logits.map_err(failed(stage))?;
                watch.show(StageOutput::StepLogits(position, logits));
                greedy::choose(logits).ok_or(PolicyError::NotFinite { stage, what: "logits" })
            })?;
            generation.token_ids.push(choice.id);
            generation.confidence.push(choice.probability);
            generation.runner_up.push(choice.runner_up);
            if let Err(error) = kind::require(self.tokenizer.table(), token_count, &generation.token_ids) {
                watch.show(StageOutput::TokenIds(&generation.token_ids));
                return Err(error);
            }
        }
        watch.show(StageOutput::TokenIds(&generation.token_ids));
        Ok(generation)
    }
}

impl Policy for SpatialVla {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        self.infer_watched(observation, Watch::nobody())
    }

    /// Nothing outlives an inference but the tokenized instruction, which depends on nothing else.
    fn reset(&mut self) {}
}

fn spec(id: String, manifest: &Manifest, tables: &SpatialVlaTables) -> PolicySpec {
    PolicySpec {
        id,
        image_px: [manifest.image.width_px, manifest.image.height_px],
        chunk_len: manifest.chunk.length,
        steps_executed: manifest.chunk.steps_executed,
        control_hz: manifest.chunk.control_hz,
        needs_depth: true,
        needs_extrinsics: tables.ego3d.frame == PointFrame::Base,
    }
}

fn failed(stage: Stage) -> impl Fn(ExecutionError) -> PolicyError {
    move |error| PolicyError::Execution { stage, message: error.to_string() }
}

fn observed<E: std::error::Error + Send + Sync + 'static>(stage: Stage) -> impl Fn(E) -> PolicyError {
    move |error| PolicyError::Observation { stage, source: Box::new(error) }
}
