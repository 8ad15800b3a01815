//! Several observations in one pass: for many simulators that share one accelerator.
//!
//! From: up to as many observations as the batched graphs take, of any instructions. To: an answer for each. Every row has its own prompt length and
//! place in the cache; rows that are not used, refused or done go on with whatever stands there, and nobody reads them.

use super::{Answer, SpatialVla, kind};
use crate::bundle::Bundle;
use crate::failure::{failed, observed};
use crate::generation::Generation;
use crate::greedy;
use crate::registry::{LoadError, LoadOptions};
use crate::watch::Watch;
use egogrid_action_grids::TokenKind;
use egogrid_runtime::execution::{Environment, Flavour, GraphOptions};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::{DepthReport, SensorRules};
use egogrid_runtime::policy::{ActionChunk, BatchPolicy, PolicyError, PolicySpec};
use egogrid_runtime::stage::{Stage, StageTimes};

/// A loaded SpatialVLA policy with batched graphs.
#[derive(Debug)]
pub(crate) struct SpatialVlaBatch {
    policy: SpatialVla,
}

/// One observation while it is answered.
struct Row {
    sequence: u64,
    depth: DepthReport,
    points_xyz_m: Vec<[f32; 3]>,
    times: StageTimes,
    generation: Generation,
}

impl SpatialVlaBatch {
    /// As [`SpatialVla::load`], of the bundle's batched graphs.
    ///
    /// # Errors
    /// As there, and a bundle without such graphs.
    pub(crate) fn load(
        environment: &Environment,
        bundle: &Bundle,
        options: &LoadOptions,
        rules: SensorRules,
    ) -> Result<Self, LoadError> {
        let graph = GraphOptions { flavour: Some(Flavour::Batched), ..options.graph.clone() };
        let options = LoadOptions { graph, ..options.clone() };
        Ok(Self { policy: SpatialVla::load(environment, bundle, &options, rules)? })
    }

    /// Fills the memory of observation `row`.
    fn prepare(&mut self, row: usize, observation: &Observation) -> Result<Row, PolicyError> {
        let SpatialVla { inputs, session, prompt, .. } = &mut self.policy;
        let (rows, frame, mut times) = (session.decoder.rows(), &observation.frame, StageTimes::default());
        let Some(depth) = inputs.depth.given(frame)? else {
            let remedy = "batched graphs have no estimator: switch the camera's depth stream on";
            return Err(PolicyError::Missing { what: "depth", remedy });
        };
        times.measure(Stage::Preprocess, || {
            let text_ids = prompt.ids(&observation.instruction).map_err(observed(Stage::Preprocess))?;
            session.decoder.set_text(row, text_ids).map_err(failed(Stage::Preprocess))?;
            let pixels = session.pixel_values_mut().map_err(failed(Stage::Preprocess))?;
            inputs.pixels.write(&frame.rgb, of_row(pixels, row, rows)).map_err(observed(Stage::Preprocess))
        })?;
        let (patch_depth, depth) = times.measure(Stage::Depth, || inputs.depth.average(depth))?;
        times.measure(Stage::Ego3d, || {
            let encoding = session.freq_encoding_mut().map_err(failed(Stage::Ego3d))?;
            inputs.points.write(frame, patch_depth, of_row(encoding, row, rows))
        })?;
        let (sequence, points_xyz_m) = (observation.sequence, inputs.points.to_points());
        Ok(Row { sequence, depth, points_xyz_m, times, generation: Generation::default() })
    }

    /// One pass of a graph for all rows; who takes part shares its time.
    fn run(
        &mut self,
        stage: Stage,
        rows: &mut [Result<Row, PolicyError>],
        pass: impl FnOnce(&mut SpatialVla) -> Result<(), PolicyError>,
    ) -> Result<(), String> {
        let mut spent = StageTimes::default();
        let done = spent.measure(stage, || pass(&mut self.policy));
        let taking_part = rows.iter().flatten().count().max(1) as u32;
        for row in rows.iter_mut().flatten() {
            row.times.add(stage, spent.total() / taking_part);
        }
        done.map_err(|error| error.to_string())
    }

    /// Chooses the next token of each row, of the logits `[rows, vocabulary]` of `stage`.
    fn choose(&self, stage: Stage, logits: &[f32], rows: &mut [Result<Row, PolicyError>], token_count: usize) {
        let (vocabulary, table) = (logits.len() / self.batch_max(), self.policy.tokenizer.table());
        for (row, logits) in rows.iter_mut().zip(logits.chunks(vocabulary)) {
            let Ok(answered) = row else { continue };
            let chosen = match greedy::choose(logits) {
                None => Err(PolicyError::NotFinite { stage, what: "logits" }),
                Some(choice) => {
                    answered.generation.token_ids.push(choice.id);
                    answered.generation.confidence.push(choice.probability);
                    answered.generation.runner_up.push(choice.runner_up);
                    kind::require(table, token_count, &answered.generation.token_ids)
                }
            };
            if let Err(error) = chosen {
                *row = Err(error);
            }
        }
    }

    fn generate(&mut self, rows: &mut [Result<Row, PolicyError>]) -> Result<(), (Stage, String)> {
        let token_count = usize::from(self.policy.spec.chunk_len) * TokenKind::SLOTS.len();
        let vision = |policy: &mut SpatialVla| policy.session.run_vision().map_err(failed(Stage::Vision));
        self.run(Stage::Vision, rows, vision).map_err(|said| (Stage::Vision, said))?;
        let mut logits = Vec::new();
        for position in 0..token_count {
            let stage = if position == 0 { Stage::Prefill } else { Stage::Decode };
            let last = |row: &Result<Row, PolicyError>| row.as_ref().ok()?.generation.token_ids.last().copied();
            // A row that is over goes on with any token.
            let mut tokens: Vec<u32> = rows.iter().map(|row| last(row).unwrap_or_default()).collect();
            tokens.resize(self.batch_max(), 0);
            if rows.iter().all(Result::is_err) {
                return Ok(());
            }
            let pass = |policy: &mut SpatialVla| {
                let decoder = &mut policy.session.decoder;
                let found = if position == 0 { decoder.run_prefill() } else { decoder.run_decode(&tokens) };
                logits.clear();
                logits.extend_from_slice(found.map_err(failed(stage))?);
                Ok(())
            };
            self.run(stage, rows, pass).map_err(|said| (stage, said))?;
            self.choose(stage, &logits, rows, token_count);
        }
        Ok(())
    }
}

/// The part of `memory` that belongs to `row` of `rows`.
fn of_row(memory: &mut [f32], row: usize, rows: usize) -> &mut [f32] {
    let each = memory.len() / rows;
    &mut memory[row * each..][..each]
}

impl BatchPolicy for SpatialVlaBatch {
    fn spec(&self) -> &PolicySpec {
        &self.policy.spec
    }

    fn batch_max(&self) -> usize {
        self.policy.session.decoder.rows()
    }

    fn infer_batch(&mut self, observations: &[&Observation]) -> Vec<Result<ActionChunk, PolicyError>> {
        let (batch_max, found) = (self.batch_max(), observations.len());
        if found > batch_max {
            let message = format!("{found} observations at once, at most {batch_max}; please report this");
            let too_many = || PolicyError::Execution { stage: Stage::Preprocess, message: message.clone() };
            return observations.iter().map(|_| Err(too_many())).collect();
        }
        let mut rows: Vec<Result<Row, PolicyError>> =
            observations.iter().enumerate().map(|(row, observation)| self.prepare(row, observation)).collect();
        if let Err((stage, message)) = self.generate(&mut rows) {
            // Of the pass, and so of everybody who was in it.
            rows.iter_mut().filter(|row| row.is_ok()).for_each(|row| {
                *row = Err(PolicyError::Execution { stage, message: message.clone() });
            });
        }
        let decoded = |row: Row| {
            let Row { sequence, depth, points_xyz_m, times, generation } = row;
            self.policy.decoded(Answer { sequence, generation, depth, points_xyz_m }, times, &mut Watch::nobody())
        };
        rows.into_iter().map(|row| row.and_then(decoded)).collect()
    }
}
