//! Strategy `chunk`: the first n actions of a chunk, then the next look. `n = 1` is `sync`.

use crate::policy::{ActionChunk, PolicyError};
use egogrid_action_grids::Action;

/// The action of one tick and where it came from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Planned {
    /// The action, not yet through the gate.
    pub action: Action,
    /// Its index in the chunk.
    pub index: u16,
    /// `sequence` of the observation it was made from.
    pub sequence: u64,
}

/// Executes a fixed number of actions of each chunk.
#[derive(Debug, Clone)]
pub struct ChunkSchedule {
    steps_executed: u16,
    actions: Vec<Action>,
    sequence: u64,
    next: u16,
}

impl ChunkSchedule {
    pub(super) fn new(steps_executed: u16) -> Self {
        Self { steps_executed, actions: Vec::new(), sequence: 0, next: 0 }
    }

    /// Actions of a chunk that are executed before the next look.
    pub fn steps_executed(&self) -> u16 {
        self.steps_executed
    }

    /// A new chunk replaces whatever was left of the old one, and so does one that is refused.
    ///
    /// # Errors
    /// One of its actions, executed or not, is no end-effector delta.
    pub fn accept(&mut self, chunk: &ActionChunk) -> Result<(), PolicyError> {
        self.reset();
        self.sequence = chunk.sequence;
        self.actions = chunk.deltas()?;
        self.actions.truncate(usize::from(self.steps_executed));
        Ok(())
    }

    /// The action of this tick; `None` when a new look is due.
    pub fn next_action(&mut self) -> Option<Planned> {
        let action = *self.actions.get(usize::from(self.next))?;
        let planned = Planned { action, index: self.next, sequence: self.sequence };
        self.next += 1;
        Some(planned)
    }

    /// Forgets the chunk: a new episode, or a policy that failed.
    pub fn reset(&mut self) {
        self.actions.clear();
        self.next = 0;
    }
}
