//! Stress that the runtime adds itself: what the policy sees is older, noisier or said otherwise than what the simulator sent.
//!
//! From: an observation. To: the one that the policy gets. Every draw comes from a generator that task and seed of the episode begin, so the
//! same episode is stressed the same way each time it runs. What the simulator adds is in its worker's arguments (`plan.rs`).

use super::arms::Stress;
use egogrid_runtime::camera::{DepthImage, Frame};
use egogrid_runtime::observation::Observation;
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::schedule::CommittedPrefix;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;

/// Holes are squares of this share of the picture's width.
const HOLE_SHARE: f64 = 1.0 / 16.0;

/// A policy that is given something worse than what was seen.
pub(super) struct Stressed<'a, P> {
    policy: P,
    stress: &'a Stress,
    random: ChaCha8Rng,
    before: Option<Frame>,
}

/// The generator of an episode.
pub(super) fn random_of(task: &str, seed: u32) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(u64::from(crc32fast::hash(task.as_bytes())) << 32 | u64::from(seed))
}

impl<'a, P: Policy> Stressed<'a, P> {
    pub(super) fn new(policy: P, stress: &'a Stress, task: &str, seed: u32) -> Self {
        Self { policy, stress, random: random_of(task, seed), before: None }
    }

    pub(super) fn policy(&self) -> &P {
        &self.policy
    }

    /// What the policy gets for `observation`; `None` where that is the observation itself.
    fn seen(&mut self, observation: &Observation) -> Option<Observation> {
        let stress = self.stress;
        let mut seen = observation.clone();
        let dropped = stress.frames_dropped > 0.0 && self.random.random::<f64>() < stress.frames_dropped;
        if let Some(before) = self.before.take().filter(|_| dropped) {
            // The picture before stays the newest until one arrives.
            seen.frame = before;
        }
        if stress.frames_dropped > 0.0 {
            self.before = Some(seen.frame.clone());
        }
        if stress.depth_noise > 0.0 || stress.depth_holes > 0.0 {
            seen.frame.depth = seen.frame.depth.as_ref().map(|depth| self.worse(depth));
        }
        if let Some(words) = stress.paraphrase.get(&seen.instruction) {
            seen.instruction.clone_from(words);
        }
        (*stress != Stress::default()).then_some(seen)
    }

    fn worse(&mut self, depth: &DepthImage) -> DepthImage {
        let (width, height) = (depth.width_px() as usize, depth.height_px() as usize);
        let mut data_m = depth.data_m().to_vec();
        if self.stress.depth_noise > 0.0 {
            for value in data_m.iter_mut().filter(|value| **value > 0.0) {
                *value = (f64::from(*value) * (1.0 + self.stress.depth_noise * self.normal())).max(0.0) as f32;
            }
        }
        let side = ((width as f64 * HOLE_SHARE) as usize).max(1).min(width).min(height);
        let wanted = (self.stress.depth_holes * data_m.len() as f64) as usize;
        // Squares overlap: a few more than would be needed side by side, then it is enough.
        let (mut empty, squares_max) = (0, 4 * data_m.len() / (side * side) + 4);
        for _ in 0..squares_max {
            if empty >= wanted {
                break;
            }
            let [left, top] = [width - side, height - side].map(|last| self.random.random_range(0..=last));
            for row in top..top + side {
                let hole = &mut data_m[row * width + left..row * width + left + side];
                empty += hole.iter().filter(|value| **value > 0.0).count();
                hole.fill(0.0);
            }
        }
        // As many numbers as before.
        DepthImage::new(depth.width_px(), depth.height_px(), depth.kind(), data_m).unwrap_or_else(|_| depth.clone())
    }

    /// Standard normal, after Box and Muller.
    fn normal(&mut self) -> f64 {
        let (u, v): (f64, f64) = (1.0 - self.random.random::<f64>(), self.random.random());
        (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
    }
}

impl<P: Policy> Policy for Stressed<'_, P> {
    fn spec(&self) -> &PolicySpec {
        self.policy.spec()
    }

    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        self.infer_committed(observation, &CommittedPrefix::default())
    }

    fn infer_committed(
        &mut self,
        observation: &Observation,
        committed: &CommittedPrefix,
    ) -> Result<ActionChunk, PolicyError> {
        match self.seen(observation) {
            Some(seen) => self.policy.infer_committed(&seen, committed),
            None => self.policy.infer_committed(observation, committed),
        }
    }

    fn reset(&mut self) {
        self.before = None;
        self.policy.reset();
    }
}
