//! A chunk as schedules take it: robot actions with their tokens, in memory of fixed size.
//!
//! From: [`ActionChunk`], on the thread of the policy. To: [`super::Schedule::answer`], on the thread of the control loop,
//! which must not allocate: so this is copied, not boxed.

use crate::clock::Moment;
use crate::policy::{ActionChunk, PolicyError};
use crate::rotation;
use egogrid_action_grids::Action;

/// Longest chunk.
pub const STEPS_MAX: usize = 64;
/// Most tokens that one action has: 3 of SpatialVLA, 7 of OpenVLA.
pub const TOKENS_PER_STEP_MAX: usize = 8;
const TOKENS_MAX: usize = STEPS_MAX * TOKENS_PER_STEP_MAX;

/// The actions of one chunk, each for one control tick, or stretched over several.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    pub(super) sequence: u64,
    pub(super) exposed: Moment,
    len: u16,
    tokens_per_step: u16,
    actions: [Action; STEPS_MAX],
    tokens: [Token; TOKENS_MAX],
}

/// A vocabulary id and the probability that it had when it was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Token {
    /// Vocabulary id.
    pub id: u32,
    /// Softmax probability.
    pub confidence: f32,
}

impl Steps {
    /// `exposed`: when the picture was taken, on the control loop's clock. `ticks_per_step`: ticks that one action of the
    /// policy lasts; each of them does an equal part of it.
    ///
    /// # Errors
    /// An action that is no end-effector delta, or tokens that do not belong to the actions.
    pub fn of(chunk: &ActionChunk, exposed: Moment, ticks_per_step: u16) -> Result<Self, PolicyError> {
        let deltas = chunk.deltas()?;
        let shape = |what, found, expected: String| Err(PolicyError::Shape { what, found, expected });
        if !(1..=STEPS_MAX).contains(&deltas.len()) {
            return shape("actions", deltas.len(), format!("1 to {STEPS_MAX}"));
        }
        let (tokens_per_step, rest) = (chunk.token_ids.len() / deltas.len(), chunk.token_ids.len() % deltas.len());
        if rest != 0 || !(1..=TOKENS_PER_STEP_MAX).contains(&tokens_per_step) {
            return shape(
                "tokens",
                chunk.token_ids.len(),
                format!("1 to {TOKENS_PER_STEP_MAX} for each of {} actions", deltas.len()),
            );
        }
        if chunk.confidence.len() != chunk.token_ids.len() {
            return shape(
                "probabilities",
                chunk.confidence.len(),
                format!("one for each of {} tokens", chunk.token_ids.len()),
            );
        }
        let mut steps = Self {
            sequence: chunk.sequence,
            exposed,
            len: deltas.len() as u16,
            tokens_per_step: tokens_per_step as u16,
            actions: [Action::STANDSTILL_OPEN; STEPS_MAX],
            tokens: [Token::default(); TOKENS_MAX],
        };
        for (place, delta) in steps.actions.iter_mut().zip(deltas) {
            *place = part(&delta, ticks_per_step);
        }
        let chosen = chunk.token_ids.iter().zip(&chunk.confidence);
        for (place, (id, confidence)) in steps.tokens.iter_mut().zip(chosen) {
            *place = Token { id: *id, confidence: *confidence };
        }
        Ok(steps)
    }

    /// Actions of the policy.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Never: a chunk has at least one action.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What each tick of action `step` does; `None` after the last.
    pub fn action(&self, step: usize) -> Option<&Action> {
        self.actions.get(..self.len())?.get(step)
    }

    /// Tokens of the actions `steps`; none where there are no such actions.
    pub fn tokens(&self, steps: std::ops::Range<usize>) -> &[Token] {
        let per_step = usize::from(self.tokens_per_step);
        let all = &self.tokens[..self.len() * per_step];
        all.get(steps.start * per_step..steps.end * per_step).unwrap_or(&[])
    }

    /// Smallest probability of the tokens of action `step`; NaN if one is no number.
    pub fn confidence(&self, step: usize) -> f32 {
        let least = |least: f32, token: &Token| {
            if token.confidence < least || token.confidence.is_nan() { token.confidence } else { least }
        };
        self.tokens(step..step + 1).iter().fold(f32::INFINITY, least)
    }
}

/// The part of `delta` that one of `ticks` does; composed, they are the whole.
fn part(delta: &Action, ticks: u16) -> Action {
    if ticks <= 1 {
        return *delta;
    }
    let share = 1.0 / f64::from(ticks);
    let rotation_rad = rotation::rpy_rad(&(rotation::vector(delta.rotation_rad()) * share));
    let translation_m = delta.translation_m().map(|value| value * share);
    // Parts of finite numbers are finite; a whole step that is refused would be refused as a whole.
    Action::from_physical(translation_m, rotation_rad, delta.gripper()).unwrap_or(*delta)
}
