//! The actions that an answer must begin with, as tokens. Memory of fixed size.

use super::steps::{STEPS_MAX, TOKENS_PER_STEP_MAX, Token};

const TOKENS_MAX: usize = STEPS_MAX * TOKENS_PER_STEP_MAX;

/// Forced prefix tokens of one look.
#[derive(Debug, Clone, Copy)]
pub struct CommittedPrefix {
    tokens: [Token; TOKENS_MAX],
    len: usize,
    steps: usize,
}

/// Of the strategies that commit to nothing.
pub(super) static NOTHING_COMMITTED: CommittedPrefix =
    CommittedPrefix { tokens: [Token { id: 0, confidence: 0.0 }; TOKENS_MAX], len: 0, steps: 0 };

impl Default for CommittedPrefix {
    fn default() -> Self {
        NOTHING_COMMITTED
    }
}

impl CommittedPrefix {
    /// Of tokens that were chosen before, with their probabilities: whole actions, `steps` of them.
    ///
    /// Too many for a chunk are none: [`super::Steps`] has room for every chunk there is.
    pub fn of(tokens: &[Token], steps: usize) -> Self {
        let mut prefix = Self::default();
        prefix.fill(tokens, steps);
        prefix
    }

    pub(super) fn clear(&mut self) {
        (self.len, self.steps) = (0, 0);
    }

    pub(super) fn fill(&mut self, tokens: &[Token], steps: usize) {
        self.clear();
        if let Some(places) = self.tokens.get_mut(..tokens.len()) {
            places.copy_from_slice(tokens);
            (self.len, self.steps) = (tokens.len(), steps);
        }
    }

    /// In the order of the chunk.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens[..self.len]
    }

    /// Whole actions.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Whether nothing is committed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
