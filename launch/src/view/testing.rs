//! Looks for tests: a small grey world, a chunk of two actions, and what the gate made of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{Outcome, Recorder};
use egogrid_action_grids::fit::{GridShape, uniform};
use egogrid_action_grids::{Action, ActionTokenizer, NormalizedRow, TokenKind, TokenTable};
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, RgbImage, Stamp};
use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::observation::{EndEffectorState, Observation};
use egogrid_runtime::policy::{ActionChunk, PolicyError};
use egogrid_runtime::safety::{Asked, Bound, Gate, Origin, SafeAction, SafetyConfig};
use egogrid_runtime::stage::{Stage, StageTimes};
use egogrid_runtime::tick::{Look, LoopObserver};
use nalgebra::Isometry3;
use std::sync::Arc;
use std::time::Duration;

/// A run that is small and has everything.
pub(crate) struct Run {
    pub tokenizer: Arc<ActionTokenizer>,
    gate: Gate,
    now: Moment,
    sequence: u64,
    /// Whether the camera's place is known.
    pub placed: bool,
    /// Translation that the policy asks for, metres.
    pub step_m: [f64; 3],
}

impl Run {
    pub(crate) fn new() -> Self {
        let grids = uniform(&GridShape { translation: [4, 4, 2], rotation: [2, 2, 2] }).unwrap();
        let counts = [grids.translation.cell_count(), grids.rotation.cell_count(), 2];
        let table = TokenTable::contiguous(100, counts, 1).unwrap();
        let tokenizer = Arc::new(ActionTokenizer::new(grids.translation, grids.rotation, table).unwrap());
        let safety = SafetyConfig {
            workspace_min_m: [-1.0; 3],
            workspace_max_m: [1.0; 3],
            speed_m_s_max: 1.0,
            acceleration_m_s2_max: Bound::unbounded("a test"),
            jerk_m_s3_max: Bound::unbounded("a test"),
            angular_speed_rad_s_max: 5.0,
            angular_acceleration_rad_s2_max: Bound::unbounded("a test"),
            angular_jerk_rad_s3_max: Bound::unbounded("a test"),
            orientation_cone: Bound::unbounded("a test"),
            gripper_debounce_ms: Bound::unbounded("a test"),
            confidence_min: Bound::unbounded("a test"),
            observation_ms_max: 100.0,
            state_ms_max: 100.0,
            response_ms: 0.0,
            command_ms_max: 20.0,
            dead_man_ms_max: Bound::unbounded("a test"),
            policy_failures_max: 3,
        };
        let gate = Gate::new(safety.checked().unwrap(), ControlRate::new(50.0).unwrap()).unwrap();
        Self { tokenizer, gate, now: Moment::START, sequence: 0, placed: true, step_m: [0.01, 0.0, 0.0] }
    }

    pub(crate) fn observation(&mut self, side_px: u32) -> Observation {
        self.sequence += 1;
        let pixels = (side_px * side_px) as usize;
        let middle = f64::from(side_px) / 2.0;
        let lens = [60.0, 0.0, middle, 0.0, 60.0, middle, 0.0, 0.0, 1.0];
        Observation {
            sequence: self.sequence,
            frame: Frame {
                stamp: Stamp { ns: 50_000_000 * self.sequence as i64 },
                rgb: RgbImage::new(side_px, side_px, vec![128; 3 * pixels]).unwrap(),
                depth: Some(DepthImage::new(side_px, side_px, DepthKind::Sensor, vec![1.0; pixels]).unwrap()),
                intrinsics: Some(CameraIntrinsics::from_matrix(lens, [side_px; 2]).unwrap()),
                base_from_camera: self.placed.then(|| Isometry3::translation(0.0, 0.0, 1.0)),
            },
            instruction: "open the drawer".to_owned(),
            state: Some(EndEffectorState {
                base_from_ee: Isometry3::translation(0.1, 0.2, 0.3),
                gripper: 1.0,
                joints_rad: vec![],
            }),
        }
    }

    fn chunk(&self) -> ActionChunk {
        let tokens = TokenKind::SLOTS.map(|kind| self.tokenizer.table().ids(kind).start);
        let mut times = StageTimes::default();
        times.add(Stage::Decode, Duration::from_millis(9));
        ActionChunk {
            sequence: self.sequence,
            actions: vec![Action::from_physical(self.step_m, [0.0; 3], 1.0).unwrap().into(); 2],
            units: egogrid_runtime::units::ActionUnits::PHYSICAL,
            normalized: vec![NormalizedRow::new(vec![0.0; 7]).unwrap(); 2],
            token_ids: tokens.repeat(2),
            confidence: vec![0.9; 6],
            runner_up: tokens.iter().map(|token| (token + 1, 0.05)).cycle().take(6).collect(),
            times,
            depth: None,
            points_xyz_m: vec![[0.0, 0.0, 1.0]; 4],
            sketches: Vec::new(),
        }
    }

    fn tick(&mut self, action: Option<Action>) -> SafeAction {
        let (now, tick) = (self.now, self.gate.rate().tick());
        self.now = now.plus(tick);
        let origin = Origin { sequence: self.sequence, index: 0, exposed: now, expires: self.now, confidence: 0.9 };
        self.gate.tick(now, action.map_or(Asked::Nothing, |action| Asked::Step(action, origin)))
    }

    /// One look of a picture of `side_px`, shown to `observer`.
    pub(crate) fn look(&mut self, side_px: u32, observer: &mut dyn LoopObserver) {
        let observation = self.observation(side_px);
        let chunk = self.chunk();
        self.gate.observe(observation.state.as_ref(), self.now);
        let sent: Vec<SafeAction> = chunk.deltas().unwrap().iter().map(|action| self.tick(Some(*action))).collect();
        let latency = Duration::from_millis(12);
        observer.on_look(&Look {
            observation: &observation,
            chunk: Ok(&chunk),
            committed: &[],
            sent: &sent,
            times: &chunk.times,
            latency,
        });
    }

    /// A look that the policy has no answer for.
    pub(crate) fn look_without_answer(&mut self, observer: &mut dyn LoopObserver) {
        let observation = self.observation(8);
        let error = PolicyError::EarlyEnd { token_ids: vec![100, 1], expected: 6, eos_id: 1 };
        self.gate.looked(false);
        let sent = [self.tick(None)];
        let times = StageTimes::default();
        let (sent, times, latency) = (&sent, &times, Duration::ZERO);
        let look = Look { observation: &observation, chunk: Err(&error), committed: &[], sent, times, latency };
        observer.on_look(&look);
    }

    /// An episode of three looks: one changed by the gate, one without an answer, one as asked.
    pub(crate) fn episode(&mut self, recorder: &mut Recorder, outcome: Outcome) {
        recorder.episode_started("drawer-open", "open the drawer", 7, 0);
        self.step_m = [0.5, 0.0, 0.0];
        self.look(16, recorder);
        self.look_without_answer(recorder);
        self.step_m = [0.01, 0.0, 0.0];
        self.look(16, recorder);
        let last = self.observation(16);
        recorder.episode_ended(outcome, Some(&last));
    }
}

/// Runs `work` on a thread and fails when it has not returned within a time that no slow machine needs.
pub(crate) fn returns<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (send, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(work()));
    result.recv_timeout(Duration::from_secs(60)).expect("it must not wait for anybody")
}
