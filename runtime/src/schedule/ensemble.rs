//! Strategy `ensemble`: look at every step, and execute the weighted mean of what the last chunks say about this tick.
//!
//! Two ways to weight, both with float64 equal to the official wrappers (`tests/fixtures/simpler`): `exponential`, of
//! SimplerEnv's `ActionEnsembler` (the i-th oldest of the chunks has `exp(-temperature * i)`), and `adaptive`, of CogACT's
//! `AdaptiveEnsembler` (`exp(alpha * cos)` of the angle between its seven numbers and the newest's). The mean is taken of all
//! seven numbers, Euler angles and gripper included, as there; that is what the figures in the papers were measured with.

use super::running::{Running, Timing};
use super::{Answered, CommittedPrefix, Due, NOTHING_COMMITTED, Schedule, Steps};
use crate::clock::Moment;
use crate::safety::Asked;
use egogrid_action_grids::Action;
use serde::Deserialize;

/// Most chunks of one ensemble.
pub const ENSEMBLE_MAX: usize = 16;
/// The official code adds this to the product of the lengths, so that a standstill has an angle to everything.
const LENGTHS_MIN: f64 = 1e-7;

/// How the chunks are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum EnsembleWeights {
    /// `exp(-temperature * i)`, i = 0 for the oldest. Below 0 the newest counts most; SimplerEnv uses -0.8.
    Exponential {
        /// Any finite number.
        temperature: f64,
    },
    /// `exp(alpha * cosine)` of the angle to the newest. CogACT uses 0.1.
    Adaptive {
        /// Any finite number.
        alpha: f64,
    },
}

/// Means of several chunks.
#[derive(Debug, Clone)]
pub struct EnsembleSchedule {
    timing: Timing,
    weights: EnsembleWeights,
    /// Oldest first; the capacity is its length at most.
    chunks: Vec<Running>,
    chunks_max: usize,
    look_begun: Option<Moment>,
    looking: bool,
}

impl EnsembleSchedule {
    pub(super) fn new(timing: Timing, chunks_max: u16, weights: EnsembleWeights) -> Self {
        let chunks_max = usize::from(chunks_max).min(ENSEMBLE_MAX);
        let chunks = Vec::with_capacity(chunks_max);
        Self { timing, weights, chunks, chunks_max, look_begun: None, looking: false }
    }

    fn asked(&self, now: Moment) -> Option<Asked> {
        let mut rows = [[0.0; 7]; ENSEMBLE_MAX];
        let (mut count, mut confidence) = (0, f32::INFINITY);
        let mut newest = None;
        for running in &self.chunks {
            let Some(step) = running.step(now, &self.timing) else { continue };
            rows[count] = running.steps.action(step)?.values();
            let origin = running.origin(step, now, &self.timing);
            confidence = if origin.confidence < confidence || origin.confidence.is_nan() {
                origin.confidence
            } else {
                confidence
            };
            newest = Some(origin);
            count += 1;
        }
        let mut origin = newest?;
        origin.confidence = confidence;
        // A mean of actions is one: finite, and the gripper between theirs.
        let action = Action::try_from(mean(&rows[..count], self.weights)).ok()?;
        Some(Asked::Step(action, origin))
    }
}

/// The weighted mean of `rows`, oldest first; at most [`ENSEMBLE_MAX`] of them.
fn mean(rows: &[[f64; 7]], weights: EnsembleWeights) -> [f64; 7] {
    let mut weighted = [0.0; ENSEMBLE_MAX];
    let newest = rows.last().copied().unwrap_or_default();
    let length = |row: &[f64; 7]| row.iter().map(|value| value * value).sum::<f64>().sqrt();
    for (place, (weight, row)) in weighted.iter_mut().zip(rows).enumerate() {
        *weight = match weights {
            EnsembleWeights::Exponential { temperature } => (-temperature * place as f64).exp(),
            EnsembleWeights::Adaptive { alpha } => {
                let product: f64 = row.iter().zip(newest).map(|(a, b)| a * b).sum();
                (alpha * (product / (length(row) * length(&newest) + LENGTHS_MIN))).exp()
            }
        };
    }
    let sum: f64 = weighted[..rows.len()].iter().sum();
    let mut mean = [0.0; 7];
    for (row, weight) in rows.iter().zip(weighted) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += weight / sum * value);
    }
    mean
}

impl Schedule for EnsembleSchedule {
    fn next(&mut self, now: Moment) -> Due {
        let asked = self.asked(now).unwrap_or(Asked::Nothing);
        let step_ticks = self.timing.of_steps(1);
        let in_time = self.look_begun.is_none_or(|begun| self.timing.ticks(begun, now) + 1 >= step_ticks);
        Due { asked, look: in_time && !self.looking }
    }

    fn begin_look(&mut self, now: Moment, _exposed: Moment) -> &CommittedPrefix {
        (self.look_begun, self.looking) = (Some(now), true);
        &NOTHING_COMMITTED
    }

    fn answer(&mut self, steps: Option<&Steps>, now: Moment) -> Answered {
        self.looking = false;
        let arrived = match Running::from_exposure(steps, now, &self.timing) {
            Ok(arrived) => arrived,
            Err(answered) => return answered,
        };
        if self.chunks.len() == self.chunks_max {
            self.chunks.remove(0);
        }
        self.chunks.push(arrived);
        Answered::Taken
    }

    fn reset(&mut self) {
        self.chunks.clear();
        (self.look_begun, self.looking) = (None, false);
    }
}
