//! SpatialVLA, arXiv:2501.15830: picture, depth and instruction to a chunk of end-effector deltas.
//!
//! From: [`Observation`]. To: [`ActionChunk`]. [`SpatialVla::infer_watched`] is the family on one screen; each stage
//! writes straight into the memory that the next one reads. Checked stage by stage against `golden.safetensors`.

pub(crate) mod batch;
mod inputs;
mod kind;
mod prompt;
mod replay;
mod session;
mod tables;

pub(crate) use replay::{over_cases, replay};
pub(crate) use tables::check_tables;

use crate::bundle::Bundle;
use crate::bundle::manifest::{DepthSource, PointFrame};
use crate::failure::{failed, observed};
use crate::generation::{Generation, generate_from};
use crate::prompt::Prompt;
use crate::registry::{self, LoadError, LoadOptions};
use crate::watch::{StageOutput, Watch, Watched};
use egogrid_action_grids::{ActionRow, ActionTokenizer, NormStats, NormalizedRow, StatsError, TokenKind};
use egogrid_runtime::execution::Environment;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::{DepthReport, SensorRules};
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::schedule::{CommittedPrefix, Token};
use egogrid_runtime::stage::{Stage, StageTimes};
use egogrid_runtime::units::ActionUnits;
use inputs::Inputs;
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
        if let Some(asked) = options.preprocessing {
            return Err(LoadError::Preprocessing { family: bundle.family(), asked });
        }
        let statistics = bundle.statistics().get(&options.stats_key)?.one_arm()?;
        let inputs = Inputs::new(bundle.manifest(), rules)?;
        let prompt = prompt::load(bundle)?;
        let session = Session::load(environment, bundle, &options.graph)?;
        let tokenizer = bundle.action_tokenizer()?.clone();
        let tables = bundle.manifest().spatialvla()?;
        let needs_depth = !tables.depth.sources.contains(&DepthSource::Estimated);
        let spec = registry::spec(bundle, needs_depth, tables.ego3d.frame == PointFrame::Base);
        let spec = PolicySpec { commits: true, ..spec };
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
        self.infer_from(observation, &[], watch)
    }

    /// [`Policy::infer_committed`], showing every stage's output to `watch`.
    ///
    /// # Errors
    /// As [`Policy::infer_committed`].
    pub fn infer_from(
        &mut self,
        observation: &Observation,
        committed: &[Token],
        mut watch: Watch<'_>,
    ) -> Result<ActionChunk, PolicyError> {
        let mut times = StageTimes::default();
        let depth = self.prepare(0, observation, &mut times, &mut watch)?;
        let session = &mut self.session;
        times.measure(Stage::Vision, || session.run_vision()).map_err(failed(Stage::Vision))?;
        watch.vision(|| session.vision_outputs()).map_err(failed(Stage::Vision))?;

        let chunk_len = usize::from(self.spec.chunk_len);
        let (token_count, table) = (chunk_len * TokenKind::SLOTS.len(), self.tokenizer.table());
        let require = |token_ids: &[u32]| kind::require(table, token_count, token_ids);
        let generation = generate_from(&mut session.decoder, committed, token_count, require, &mut times, &mut watch)?;

        let chunk =
            Answer { sequence: observation.sequence, generation, depth, points_xyz_m: self.inputs.points.to_points() };
        self.decoded(chunk, times, &mut watch)
    }

    /// Everything before the vision graph, into the memory of observation `row`; one of one without a batch.
    fn prepare(
        &mut self,
        row: usize,
        observation: &Observation,
        times: &mut StageTimes,
        watch: &mut Watch<'_>,
    ) -> Result<DepthReport, PolicyError> {
        let (inputs, session, frame) = (&mut self.inputs, &mut self.session, &observation.frame);
        let rows = session.decoder.rows();
        let given_depth = inputs.depth.given(frame)?;

        times.measure(Stage::Preprocess, || -> Result<(), PolicyError> {
            let text_ids = self.prompt.ids(&observation.instruction).map_err(observed(Stage::Preprocess))?;
            session.decoder.set_text(row, text_ids).map_err(failed(Stage::Preprocess))?;
            let pixels = of_row(session.pixel_values_mut().map_err(failed(Stage::Preprocess))?, row, rows);
            inputs.pixels.write(&frame.rgb, pixels).map_err(observed(Stage::Preprocess))?;
            watch.show(StageOutput::TextIds(text_ids));
            watch.show(StageOutput::PixelValues(pixels));
            Ok(())
        })?;
        if given_depth.is_none() {
            times.measure(Stage::Estimate, || session.run_estimator()).map_err(failed(Stage::Estimate))?;
            watch.estimator(|| session.estimator_outputs()).map_err(failed(Stage::Estimate))?;
        }
        let (patch_depth, depth) = times.measure(Stage::Depth, || match given_depth {
            Some(depth) => inputs.depth.average(depth),
            None => inputs.depth.average_estimated(session.estimated_depth_m().map_err(failed(Stage::Depth))?),
        })?;
        watch.show(StageOutput::PatchDepth(patch_depth.depth_m));
        times.measure(Stage::Ego3d, || -> Result<(), PolicyError> {
            let encoding = of_row(session.freq_encoding_mut().map_err(failed(Stage::Ego3d))?, row, rows);
            inputs.points.write(frame, patch_depth, encoding)?;
            watch.show(StageOutput::PointsXyz(inputs.points.points_m()));
            watch.show(StageOutput::FreqEncoding(encoding));
            Ok(())
        })?;
        Ok(depth)
    }

    /// Tokens to actions: grid, then statistics.
    fn decoded(
        &self,
        answer: Answer,
        mut times: StageTimes,
        watch: &mut Watch<'_>,
    ) -> Result<ActionChunk, PolicyError> {
        let Answer { sequence, generation, depth, points_xyz_m } = answer;
        let chunk_len = usize::from(self.spec.chunk_len);
        let cells = times.measure(Stage::Grid, || self.tokenizer.decode_chunk(&generation.token_ids, chunk_len));
        let cells = cells.map_err(observed(Stage::Grid))?;
        let normalized: Vec<NormalizedRow> = cells.iter().map(|action| (*action).into()).collect();
        watch.show(StageOutput::Normalized(&normalized));
        let actions = times.measure(Stage::Unnormalize, || {
            let physical = |action| self.statistics.unnormalize(action).map(ActionRow::from);
            cells.iter().map(physical).collect::<Result<Vec<_>, _>>()
        });
        let actions = actions.map_err(observed(Stage::Unnormalize))?;
        watch.show(StageOutput::Actions(&actions));

        let Generation { token_ids, confidence, runner_up } = generation;
        let sketches = Vec::new(); // a sketching policy adds them
        Ok(ActionChunk {
            sequence,
            actions,
            units: ActionUnits::PHYSICAL, // a robot with others says so, `runtime::units`
            normalized,
            token_ids,
            confidence,
            runner_up,
            times,
            depth: Some(depth),
            points_xyz_m,
            sketches,
        })
    }
}

/// The part of `memory` that belongs to observation `row` of `rows`.
fn of_row(memory: &mut [f32], row: usize, rows: usize) -> &mut [f32] {
    let each = memory.len() / rows;
    &mut memory[row * each..][..each]
}

/// What was generated for one observation, and what it was generated from.
struct Answer {
    sequence: u64,
    generation: Generation,
    depth: DepthReport,
    points_xyz_m: Vec<[f32; 3]>,
}

impl Watched for SpatialVla {
    fn infer_watched_from(
        &mut self,
        observation: &Observation,
        committed: &[Token],
        watch: Watch<'_>,
    ) -> Result<ActionChunk, PolicyError> {
        self.infer_from(observation, committed, watch)
    }
}

impl Policy for SpatialVla {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        self.infer_watched(observation, Watch::nobody())
    }

    fn infer_committed(
        &mut self,
        observation: &Observation,
        committed: &CommittedPrefix,
    ) -> Result<ActionChunk, PolicyError> {
        self.infer_from(observation, committed.tokens(), Watch::nobody())
    }

    /// Nothing outlives an inference but the tokenized instruction, which depends on nothing else.
    fn reset(&mut self) {}
}
