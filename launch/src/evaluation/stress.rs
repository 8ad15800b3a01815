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

/// Holes and noise come in squares of this share of the picture's width.
const SQUARE_SHARE: f64 = 1.0 / 16.0;

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
        let side = ((width as f64 * SQUARE_SHARE) as usize).max(1).min(width).min(height);
        if self.stress.depth_noise > 0.0 {
            // One draw for a square of pixels: noise of single pixels is gone in the mean over a patch, that of real sensors is not.
            let columns = width.div_ceil(side);
            let squares = columns * height.div_ceil(side);
            let factors: Vec<f64> = (0..squares).map(|_| 1.0 + self.stress.depth_noise * self.normal()).collect();
            for (index, value) in data_m.iter_mut().enumerate().filter(|(_, value)| **value > 0.0) {
                let square = index / width / side * columns + index % width / side;
                *value = (f64::from(*value) * factors[square]).max(0.0) as f32;
            }
        }
        let wanted = (self.stress.depth_holes * data_m.len() as f64).ceil() as usize;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use egogrid_runtime::camera::{DepthKind, RgbImage, Stamp};
    use egogrid_runtime::policy::PolicyError;

    /// Remembers what it was given.
    struct Sees {
        spec: PolicySpec,
        seen: Vec<Observation>,
    }

    impl Policy for Sees {
        fn spec(&self) -> &PolicySpec {
            &self.spec
        }

        fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
            self.seen.push(observation.clone());
            Err(PolicyError::Missing { what: "an answer", remedy: "a test" })
        }

        fn reset(&mut self) {}
    }

    /// Look `index`: every pixel has its number, every depth is 1 m.
    fn observation(index: u8) -> Observation {
        let rgb = RgbImage::new(64, 48, vec![index; 64 * 48 * 3]).unwrap();
        let depth = DepthImage::new(64, 48, DepthKind::Sensor, vec![1.0f32; 64 * 48]).unwrap();
        let frame = Frame { stamp: Stamp { ns: 0 }, rgb, depth: Some(depth), intrinsics: None, base_from_camera: None };
        Observation { sequence: u64::from(index), frame, instruction: "open it".to_owned(), state: None }
    }

    fn seen(stress: &Stress, seed: u32) -> Vec<Observation> {
        let spec = PolicySpec {
            id: "sees".to_owned(),
            image_px: [64, 48],
            chunk_len: 1,
            steps_executed: 1,
            control_hz: None,
            needs_depth: true,
            needs_extrinsics: false,
            commits: false,
        };
        let mut policy = Stressed::new(Sees { spec, seen: Vec::new() }, stress, "task", seed);
        for index in 0..40 {
            assert!(policy.infer(&observation(index)).is_err());
        }
        policy.policy.seen
    }

    fn depths(observation: &Observation) -> Vec<f32> {
        observation.frame.depth.as_ref().unwrap().data_m().to_vec()
    }

    #[test]
    fn without_stress_the_policy_sees_what_came() {
        for (index, seen) in (0u8..).zip(seen(&Stress::default(), 1)) {
            assert_eq!(
                (seen.frame.rgb.data()[0], &seen.instruction[..], depths(&seen)),
                (index, "open it", vec![1.0; 64 * 48])
            );
        }
    }

    #[test]
    fn a_lost_picture_is_the_one_before_and_the_same_episode_loses_the_same() {
        let stress = Stress { frames_dropped: 0.5, ..Stress::default() };
        let shown = |seed| seen(&stress, seed).iter().map(|seen| seen.frame.rgb.data()[0]).collect::<Vec<u8>>();
        let first = shown(1);
        let lost = (0u8..).zip(&first).filter(|(index, shown)| index != *shown).count();
        assert!((10..=30).contains(&lost), "{first:?}");
        assert!((0u8..).zip(&first).all(|(index, &shown)| shown <= index) && first.is_sorted(), "{first:?}");
        assert_eq!(first, shown(1));
        assert_ne!(first, shown(2));
    }

    #[test]
    fn noise_has_its_spread_and_holes_their_share() {
        let noisy = seen(&Stress { depth_noise: 0.1, ..Stress::default() }, 1);
        let all: Vec<f64> = noisy.iter().flat_map(depths).map(f64::from).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let spread = (all.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        assert!((mean - 1.0).abs() < 0.01 && (spread - 0.1).abs() < 0.01, "{mean} {spread}");
        for seen in seen(&Stress { depth_holes: 0.3, ..Stress::default() }, 1) {
            let empty = depths(&seen).iter().filter(|&&value| value == 0.0).count() as f64 / (64.0 * 48.0);
            assert!((0.3..0.32).contains(&empty), "{empty}");
        }
    }

    #[test]
    fn other_words_are_said_where_there_are_some() {
        let paraphrase = [("open it".to_owned(), "have it opened".to_owned())].into();
        assert_eq!(seen(&Stress { paraphrase, ..Stress::default() }, 1)[0].instruction, "have it opened");
    }
}
