//! What has arrived, ready for both threads: sets of pictures on a shelf, and the newest state and set in slots.
//!
//! From: messages, already decoded. To: [`super::Looker`], which takes an [`Observation`] off the shelf, and
//! [`super::Control`], which only learns that there is a new one and when it was exposed.

use super::slot::SlotWriter;
use crate::camera::CameraIntrinsics;
use crate::clock::Moment;
use crate::observation::{EndEffectorState, Observation};
use crate::observation_set::{Arrival, Condition, ObservationSets};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Observations that are kept: the policy's thread takes one a moment after the tick has chosen it.
const SHELF_MAX: usize = 4;

/// The robot's report of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct StateReport {
    /// As measured.
    pub state: EndEffectorState,
    /// When, on the loop's clock.
    pub measured: Moment,
}

/// That there is a set of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewestSet {
    /// `sequence` of the observation.
    pub sequence: u64,
    /// The oldest exposure in it.
    pub exposed: Moment,
}

/// The newest observations, between whoever receives and the policy's thread. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shelf(Arc<Mutex<VecDeque<Arc<Observation>>>>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Observation>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, observation: Observation) {
        let mut shelf = self.lock();
        if shelf.len() == SHELF_MAX {
            shelf.pop_front();
        }
        shelf.push_back(Arc::new(observation));
    }

    /// The one with this number, if it is still there.
    pub fn get(&self, sequence: u64) -> Option<Arc<Observation>> {
        self.lock().iter().find(|observation| observation.sequence == sequence).cloned()
    }

    /// The newest.
    pub fn newest(&self) -> Option<Arc<Observation>> {
        self.lock().back().cloned()
    }
}

/// Puts together what arrives. One caller at a time.
#[derive(Debug)]
pub struct Assembler {
    sets: ObservationSets,
    instruction: Option<String>,
    state: Option<StateReport>,
    seen: Option<Moment>,
    shelf: Shelf,
    newest: SlotWriter<Option<NewestSet>>,
    states: SlotWriter<Option<StateReport>>,
}

impl Assembler {
    /// Knows no instruction yet, unless one is given: without one there is nothing to look at.
    pub fn new(
        sets: ObservationSets,
        instruction: Option<String>,
        shelf: Shelf,
        newest: SlotWriter<Option<NewestSet>>,
        states: SlotWriter<Option<StateReport>>,
    ) -> Self {
        Self { sets, instruction, state: None, seen: None, shelf, newest, states }
    }

    /// A picture, or its depth.
    ///
    /// # Errors
    /// Why it is not used.
    pub fn arrive(&mut self, arrival: Arrival) -> Result<(), Condition> {
        let Some(set) = self.sets.arrive(arrival)? else { return Ok(()) };
        self.seen = Some(set.exposed);
        let (Some(instruction), Some(frame)) = (&self.instruction, set.frames.into_iter().next()) else {
            return Ok(());
        };
        let state = self.state.as_ref().map(|report| report.state.clone());
        let (sequence, exposed) = (set.sequence, set.exposed);
        self.shelf.put(Observation { sequence, frame, instruction: instruction.clone(), state });
        self.newest.put(Some(NewestSet { sequence, exposed }));
        Ok(())
    }

    /// Intrinsics of a camera.
    pub fn calibrate(&mut self, camera: usize, intrinsics: CameraIntrinsics) {
        self.sets.calibrate(camera, intrinsics);
    }

    /// The robot's newest report.
    pub fn state(&mut self, report: StateReport) {
        self.state = Some(report.clone());
        self.states.put(Some(report));
    }

    /// What to do from the next picture on. Those that are there belong to the old instruction: they are not looked at.
    pub fn instruct(&mut self, instruction: String) {
        self.instruction = Some(instruction);
        self.newest.put(None);
    }

    /// What to do.
    pub fn instruction(&self) -> Option<&str> {
        self.instruction.as_deref()
    }

    /// When the robot reported last.
    pub fn state_measured(&self) -> Option<Moment> {
        self.state.as_ref().map(|report| report.measured)
    }

    /// When the newest set of pictures was exposed, whether there was anything to do with it or not.
    pub fn exposed(&self) -> Option<Moment> {
        self.seen
    }

    /// The joiner, for its counters.
    pub fn sets(&self) -> &ObservationSets {
        &self.sets
    }
}
