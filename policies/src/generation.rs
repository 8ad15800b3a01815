//! Greedy generation over the whole vocabulary, one token at a time, exactly as many as the family needs.
//!
//! From: a prompt that [`Decoder`] holds. To: ids with what is known about each. The family judges every id as it comes:
//! the first that does not belong there ends the generation, with everything that was generated.

use crate::decoder::Decoder;
use crate::failure::failed;
use crate::greedy::{self, Choice};
use crate::watch::{StageOutput, Watch};
use egogrid_runtime::policy::PolicyError;
use egogrid_runtime::schedule::Token;
use egogrid_runtime::stage::{Stage, StageTimes};

/// Tokens of one chunk and what is known about each.
#[derive(Debug, Default)]
pub(crate) struct Generation {
    pub(crate) token_ids: Vec<u32>,
    pub(crate) confidence: Vec<f32>,
    pub(crate) runner_up: Vec<(u32, f32)>,
}

impl Generation {
    pub(crate) fn push(&mut self, choice: Choice) {
        self.token_ids.push(choice.id);
        self.confidence.push(choice.probability);
        self.runner_up.push(choice.runner_up);
    }
}

/// Generates `token_count` ids; `require` checks the last of those so far.
pub(crate) fn generate(
    decoder: &mut Decoder,
    token_count: usize,
    require: impl Fn(&[u32]) -> Result<(), PolicyError>,
    times: &mut StageTimes,
    watch: &mut Watch<'_>,
) -> Result<Generation, PolicyError> {
    generate_from(decoder, &[], token_count, require, times, watch)
}

/// [`generate`], beginning with ids that are chosen already. Their probabilities are those that they have here.
pub(crate) fn generate_from(
    decoder: &mut Decoder,
    committed: &[Token],
    token_count: usize,
    require: impl Fn(&[u32]) -> Result<(), PolicyError>,
    times: &mut StageTimes,
    watch: &mut Watch<'_>,
) -> Result<Generation, PolicyError> {
    let refused = |reason: String| PolicyError::CannotCommit { tokens: committed.len(), reason };
    if committed.len() >= token_count && !committed.is_empty() {
        return Err(refused(format!("a whole answer has {token_count}, and at least one is left to decide")));
    }
    let mut generation = Generation::default();
    for position in 0..token_count {
        let stage = if position == 0 { Stage::Prefill } else { Stage::Decode };
        let choice = times.measure(stage, || {
            let logits = match generation.token_ids.last() {
                None => decoder.run_prefill(),
                Some(token) => decoder.run_decode(&[*token]),
            };
            let logits = logits.map_err(failed(stage))?;
            watch.show(StageOutput::StepLogits(position, logits));
            match committed.get(position) {
                None => greedy::choose(logits).ok_or(PolicyError::NotFinite { stage, what: "logits" }),
                Some(token) if token.id as usize >= logits.len() => {
                    Err(refused(format!("id {} is not in the vocabulary of {}", token.id, logits.len())))
                }
                Some(token) => greedy::weigh(logits, token.id).ok_or(PolicyError::NotFinite { stage, what: "logits" }),
            }
        })?;
        generation.push(choice);
        if let Err(error) = require(&generation.token_ids) {
            watch.show(StageOutput::TokenIds(&generation.token_ids));
            return Err(if position < committed.len() { refused(error.to_string()) } else { error });
        }
    }
    watch.show(StageOutput::TokenIds(&generation.token_ids));
    Ok(generation)
}
