//! Several observations in one pass: for many simulators that share one accelerator.
//!
//! From: up to as many observations as the batched graphs take, of any instructions. To: an answer for each. Every row has its own prompt length and
//! place in the cache; rows that are not used, refused or done go on with whatever stands there, and nobody reads them.

use super::{Answer, SpatialVla, kind};
use crate::bundle::Bundle;
use crate::failure::failed_for;
use crate::generation::Generation;
use crate::greedy;
use crate::registry::{LoadError, LoadOptions};
use crate::watch::Watch;
use egogrid_action_grids::TokenKind;
use egogrid_runtime::execution::{Environment, ExecutionError, Flavour, GraphOptions};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::perception::depth::SensorRules;
use egogrid_runtime::policy::{ActionChunk, BatchPolicy, PolicyError, PolicySpec};
use egogrid_runtime::stage::{Stage, StageTimes};

/// A loaded SpatialVLA policy with batched graphs.
#[derive(Debug)]
pub(crate) struct SpatialVlaBatch {
    policy: SpatialVla,
}

/// One observation while it is answered.
struct Row {
    answer: Answer,
    times: StageTimes,
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

    fn prepare(&mut self, row: usize, observation: &Observation) -> Result<Row, PolicyError> {
        let mut times = StageTimes::default();
        let depth = self.policy.prepare(row, observation, &mut times, &mut Watch::nobody())?;
        let (sequence, points_xyz_m) = (observation.sequence, self.policy.inputs.points.to_points());
        let answer = Answer { sequence, generation: Generation::default(), depth, points_xyz_m };
        Ok(Row { answer, times })
    }

    /// # Errors
    /// Of a pass, and so of everybody who was in it.
    fn generate(&mut self, rows: &mut [Result<Row, PolicyError>]) -> Result<(), (Stage, ExecutionError)> {
        let SpatialVla { session, tokenizer, spec, .. } = &mut self.policy;
        let (batch, table) = (session.decoder.rows(), tokenizer.table());
        let token_count = usize::from(spec.chunk_len) * TokenKind::SLOTS.len();
        let require = |token_ids: &[u32]| kind::require(table, token_count, token_ids);
        let mut spent = StageTimes::default();
        let seen = spent.measure(Stage::Vision, || session.run_vision());
        share(rows, Stage::Vision, spent);
        seen.map_err(|error| (Stage::Vision, error))?;
        for position in 0..token_count {
            if rows.iter().all(Result::is_err) {
                return Ok(());
            }
            let stage = if position == 0 { Stage::Prefill } else { Stage::Decode };
            let last = |row: &Result<Row, PolicyError>| row.as_ref().ok()?.answer.generation.token_ids.last().copied();
            // A row that is over goes on with any token.
            let mut tokens: Vec<u32> = rows.iter().map(|row| last(row).unwrap_or_default()).collect();
            tokens.resize(batch, 0);
            let mut spent = StageTimes::default();
            let chosen = spent.measure(stage, || {
                let decoder = &mut session.decoder;
                let logits = if position == 0 { decoder.run_prefill() } else { decoder.run_decode(&tokens) }?;
                let each = logits.len() / batch;
                rows.iter_mut().zip(logits.chunks(each)).for_each(|(row, logits)| choose(row, stage, logits, require));
                Ok(())
            });
            share(rows, stage, spent);
            chosen.map_err(|error| (stage, error))?;
        }
        Ok(())
    }
}

/// The next token of one row; `require` checks the last of those so far.
fn choose(
    row: &mut Result<Row, PolicyError>,
    stage: Stage,
    logits: &[f32],
    require: impl Fn(&[u32]) -> Result<(), PolicyError>,
) {
    let Ok(found) = row else { return };
    let generation = &mut found.answer.generation;
    let chosen = greedy::choose(logits).ok_or(PolicyError::NotFinite { stage, what: "logits" }).and_then(|choice| {
        generation.push(choice);
        require(&generation.token_ids)
    });
    if let Err(error) = chosen {
        *row = Err(error);
    }
}

/// Whoever is in a pass has an equal share of its time.
fn share(rows: &mut [Result<Row, PolicyError>], stage: Stage, spent: StageTimes) {
    let count = rows.iter().flatten().count().max(1) as u32;
    rows.iter_mut().flatten().for_each(|row| row.times.add(stage, spent.total() / count));
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
        if let Err((stage, error)) = self.generate(&mut rows) {
            rows.iter_mut().filter(|row| row.is_ok()).for_each(|row| *row = Err(failed_for(stage, &error)));
        }
        let decoded = |row: Row| self.policy.decoded(row.answer, row.times, &mut Watch::nobody());
        rows.into_iter().map(|row| row.and_then(decoded)).collect()
    }
}
