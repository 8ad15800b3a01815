//! Strategy `chunk`: the first n actions of a chunk, then the next look. `n = 1` is `sync`.

use crate::clock::Moment;
use crate::policy::{ActionChunk, PolicyError};
use crate::safety::{Asked, Origin};
use egogrid_action_grids::Action;
use std::time::Duration;

/// Executes a fixed number of actions of each chunk.
#[derive(Debug, Clone)]
pub struct ChunkSchedule {
    steps_executed: u16,
    actions: Vec<Action>,
    confidence: Vec<f32>,
    sequence: u64,
    exposed: Moment,
    next: u16,
}

impl ChunkSchedule {
    pub(super) fn new(steps_executed: u16) -> Self {
        let (actions, confidence) = (Vec::new(), Vec::new());
        Self { steps_executed, actions, confidence, sequence: 0, exposed: Moment::START, next: 0 }
    }

    /// Actions of a chunk that are executed before the next look.
    pub fn steps_executed(&self) -> u16 {
        self.steps_executed
    }

    /// A new chunk, of a picture that was exposed then, replaces whatever was left of the old one, and so does one that
    /// is refused.
    ///
    /// # Errors
    /// One of its actions, executed or not, is no end-effector delta.
    pub fn accept(&mut self, chunk: &ActionChunk, exposed: Moment) -> Result<(), PolicyError> {
        self.reset();
        (self.sequence, self.exposed) = (chunk.sequence, exposed);
        self.actions = chunk.deltas()?;
        self.confidence = chunk.step_confidence();
        self.actions.truncate(usize::from(self.steps_executed));
        Ok(())
    }

    /// The action of this tick; `None` when a new look is due.
    pub fn next_action(&mut self, now: Moment, tick: Duration) -> Option<Asked> {
        let place = usize::from(self.next);
        let (action, confidence) = (*self.actions.get(place)?, self.confidence.get(place).copied().unwrap_or(f32::NAN));
        let expires = now.plus(tick);
        let (sequence, index, exposed) = (self.sequence, self.next, self.exposed);
        self.next += 1;
        Some(Asked::Step(action, Origin { sequence, index, exposed, expires, confidence }))
    }

    /// Forgets the chunk: a new episode, or a policy that failed.
    pub fn reset(&mut self) {
        self.actions.clear();
        self.confidence.clear();
        self.next = 0;
    }
}
