//! One look against its replay, stage by stage: the first that differs is named, and by how much.
//!
//! From: what was recorded of a look, and what the policy says now. To: rows for the report.

use egogrid_runtime::policy::{ActionChunk, PolicyError};
use egogrid_runtime::sketch::SketchDifference;
use egogrid_sim_bridge::convert::wire_to_sketch;
use egogrid_sim_bridge::message::{ActionRow, PolicyLook, PolicyToken};
use serde::Serialize;

/// One stage of one look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StageDifference {
    /// As in golden tensors; `normalized`, `actions`.
    pub(super) stage: String,
    /// Largest absolute difference of what was sampled (of all numbers for rows).
    pub(super) difference: f64,
    /// Relative to the root mean square of what was recorded.
    pub(super) relative: f64,
    /// Why it cannot be told by a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct TokenSaid {
    pub(super) id: u32,
    pub(super) confidence: f32,
    pub(super) runner_up: u32,
    pub(super) runner_up_confidence: f32,
}

impl From<&PolicyToken> for TokenSaid {
    fn from(token: &PolicyToken) -> Self {
        let PolicyToken { id, confidence, runner_up, runner_up_confidence } = *token;
        Self { id, confidence, runner_up, runner_up_confidence }
    }
}

/// The first token that is not the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct TokenDifference {
    /// Place in the chunk, from 0.
    pub(super) position: usize,
    pub(super) recorded: Option<TokenSaid>,
    pub(super) replayed: Option<TokenSaid>,
}

/// A look and its replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LookComparison {
    pub(super) look: u64,
    pub(super) episode: u32,
    pub(super) at_s: f64,
    pub(super) instruction: String,
    /// Stages that were compared, in order, and whether each is bit-equal.
    #[serde(skip)]
    pub(super) compared: Vec<(String, bool)>,
    /// Those that are not, in the order they ran.
    pub(super) stages: Vec<StageDifference>,
    /// `None`: all tokens are the same.
    pub(super) token: Option<TokenDifference>,
    /// A failure on one side only, or another one.
    pub(super) failure: Option<String>,
    /// Tokens in all, and of those the same ones at the same place.
    pub(super) tokens: usize,
    pub(super) tokens_same: usize,
}

impl LookComparison {
    pub(super) fn same_tokens(&self) -> bool {
        self.token.is_none() && self.failure.is_none()
    }

    /// The replay of `look`.
    pub(super) fn of(look: &PolicyLook, at_s: f64, replayed: Result<&ActionChunk, &PolicyError>) -> Self {
        let mut comparison = Self {
            look: look.look,
            episode: look.episode,
            at_s,
            instruction: look.instruction.clone(),
            compared: Vec::new(),
            stages: Vec::new(),
            token: None,
            failure: None,
            tokens: look.tokens.len(),
            tokens_same: 0,
        };
        let kind = replayed.err().map_or("", PolicyError::kind);
        if kind != look.failure {
            comparison.failure = Some(match (look.failure.as_str(), replayed) {
                ("", Err(error)) => format!("recorded a chunk, replayed {kind}: {error}"),
                (recorded, Ok(_)) => format!("recorded {recorded} ({}), replayed a chunk", look.failure_detail),
                (recorded, Err(error)) => format!("recorded {recorded}, replayed {kind}: {error}"),
            });
        }
        comparison.tokens(look, replayed);
        if let Ok(chunk) = replayed {
            comparison.sketches(look, chunk);
        }
        if let (Ok(chunk), None) = (replayed, &comparison.token) {
            let values = |rows: &mut dyn Iterator<Item = &[f64]>| rows.flatten().copied().collect::<Vec<f64>>();
            let normalized = values(&mut chunk.normalized.iter().map(|row| row.values()));
            let actions = values(&mut chunk.actions.iter().map(|row| row.values()));
            comparison.rows("normalized", &look.normalized, &normalized);
            comparison.rows("actions", &look.actions, &actions);
        }
        comparison
    }

    /// Logits behind the first other token are those of another sentence: they are not compared.
    fn sketches(&mut self, look: &PolicyLook, chunk: &ActionChunk) {
        let last_step = self.token.map_or(usize::MAX, |token| token.position);
        for recorded in &look.sketches {
            let recorded = wire_to_sketch(recorded);
            if step_of(&recorded.stage).is_some_and(|step| step > last_step) {
                continue;
            }
            let stage = recorded.stage.clone();
            let difference = match chunk.sketches.iter().find(|now| now.stage == stage) {
                None => Some((0.0, 0.0, Some("this policy has no such stage".to_owned()))),
                Some(now) => match recorded.difference(now) {
                    SketchDifference::Same => None,
                    SketchDifference::Differs { sample_max, relative } => Some((sample_max, relative, None)),
                    SketchDifference::Shape { first, second } => {
                        Some((0.0, 0.0, Some(format!("{first} values recorded, {second} now"))))
                    }
                },
            };
            self.compared.push((stage.clone(), difference.is_none()));
            if let Some((difference, relative, note)) = difference {
                self.stages.push(StageDifference { stage, difference, relative, note });
            }
        }
    }

    fn tokens(&mut self, look: &PolicyLook, replayed: Result<&ActionChunk, &PolicyError>) {
        let now = match replayed {
            Ok(chunk) => tokens_of(chunk),
            Err(error) => error.token_ids().iter().map(|id| said(*id)).collect(),
        };
        let before: Vec<TokenSaid> = look.tokens.iter().map(TokenSaid::from).collect();
        let places = before.len().max(now.len());
        let at = |tokens: &[TokenSaid], position: usize| tokens.get(position).copied();
        let same = |position: &usize| at(&before, *position).map(|t| t.id) == at(&now, *position).map(|t| t.id);
        self.tokens_same = (0..places).filter(same).count();
        self.token = (0..places).find(|position| !same(position)).map(|position| TokenDifference {
            position,
            recorded: at(&before, position),
            replayed: at(&now, position),
        });
    }

    fn rows(&mut self, stage: &str, recorded: &[ActionRow], now: &[f64]) {
        let recorded: Vec<f64> = recorded.iter().flat_map(|row| row.values.iter().copied()).collect();
        let same = recorded.len() == now.len() && recorded.iter().zip(now).all(|(a, b)| a.to_bits() == b.to_bits());
        self.compared.push((stage.to_owned(), same));
        if same {
            return;
        }
        let note =
            (recorded.len() != now.len()).then(|| format!("{} numbers recorded, {} now", recorded.len(), now.len()));
        let pairs = recorded.iter().zip(now);
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let rms = (recorded.iter().map(|value| value * value).sum::<f64>() / recorded.len().max(1) as f64).sqrt();
        let relative = if rms > 0.0 { difference / rms } else { 0.0 };
        self.stages.push(StageDifference { stage: stage.to_owned(), difference, relative, note });
    }
}

/// `stepK_logits`.
pub(super) fn step_of(stage: &str) -> Option<usize> {
    stage.strip_prefix("step")?.strip_suffix("_logits")?.parse().ok()
}

fn said(id: u32) -> TokenSaid {
    TokenSaid { id, confidence: 0.0, runner_up: 0, runner_up_confidence: 0.0 }
}

fn tokens_of(chunk: &ActionChunk) -> Vec<TokenSaid> {
    let token = |(position, id): (usize, &u32)| {
        let (runner_up, runner_up_confidence) = chunk.runner_up.get(position).copied().unwrap_or_default();
        let confidence = chunk.confidence.get(position).copied().unwrap_or_default();
        TokenSaid { id: *id, confidence, runner_up, runner_up_confidence }
    };
    chunk.token_ids.iter().enumerate().map(token).collect()
}
