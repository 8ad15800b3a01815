//! One look of the loop: what the policy cannot say safely becomes a hold, and the observer is told why.
#![allow(clippy::unwrap_used)]

mod safety_support;

use egogrid_runtime::camera::{Frame, RgbImage, Stamp};
use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::endpoint::{ActionSink, EndpointError, ObservationSource};
use egogrid_runtime::grids::{ActionRow, NormalizedRow};
use egogrid_runtime::observation::{EndEffectorState, Observation};
use egogrid_runtime::policy::{ActionChunk, Policy, PolicyError, PolicySpec};
use egogrid_runtime::safety::{Gate, SafeAction, SafetyConfig, StopReason};
use egogrid_runtime::schedule::{ScheduleConfig, StrategyConfig};
use egogrid_runtime::stage::StageTimes;
use egogrid_runtime::tick::{LockstepLoop, Look, LoopObserver};
use nalgebra::Isometry3;
use safety_support::teleported;
use std::time::Duration;

fn observation() -> Observation {
    Observation {
        sequence: 4,
        frame: Frame {
            stamp: Stamp { ns: 0 },
            rgb: RgbImage::new(1, 1, vec![0; 3]).unwrap(),
            depth: None,
            intrinsics: None,
            base_from_camera: None,
        },
        instruction: "go".to_owned(),
        state: Some(EndEffectorState { base_from_ee: Isometry3::identity(), gripper: 1.0, joints_rad: vec![] }),
    }
}

/// Answers with the same rows each time.
struct Rows(PolicySpec, Vec<Vec<f64>>);

impl Policy for Rows {
    fn spec(&self) -> &PolicySpec {
        &self.0
    }

    fn infer(&mut self, observation: &Observation) -> Result<ActionChunk, PolicyError> {
        Ok(ActionChunk {
            sequence: observation.sequence,
            actions: self.1.iter().map(|row| ActionRow::new(row.clone()).unwrap()).collect(),
            units: egogrid_runtime::units::ActionUnits::PHYSICAL,
            normalized: self.1.iter().map(|row| NormalizedRow::new(row.clone()).unwrap()).collect(),
            token_ids: vec![11, 12],
            confidence: vec![0.5; 2],
            runner_up: vec![(1, 0.1); 2],
            times: StageTimes::default(),
            depth: None,
            points_xyz_m: vec![],
            sketches: Vec::new(),
        })
    }

    fn reset(&mut self) {}
}

/// Keeps what it was sent.
struct World(Vec<SafeAction>);

impl ObservationSource for World {
    fn observe(&mut self, _wait_max: Duration) -> Result<Observation, EndpointError> {
        Ok(observation())
    }
}

impl ActionSink for World {
    fn send(&mut self, action: &SafeAction) -> Result<(), EndpointError> {
        self.0.push(*action);
        Ok(())
    }
}

/// Keeps why there was no chunk.
#[derive(Default)]
struct Reasons(Vec<(&'static str, Vec<u32>, String)>);

impl LoopObserver for Reasons {
    fn on_look(&mut self, look: &Look<'_>) {
        if let Err(error) = look.chunk {
            self.0.push((error.kind(), error.token_ids().to_vec(), error.to_string()));
        }
    }
}

/// Looks `count` times with a policy that always answers `rows`.
fn looks(rows: &[&[f64]], count: usize) -> (World, Reasons, Gate) {
    let spec = PolicySpec {
        id: "test/rows".to_owned(),
        image_px: [1, 1],
        chunk_len: rows.len() as u16,
        steps_executed: 1,
        control_hz: None,
        needs_depth: false,
        needs_extrinsics: false,
        commits: false,
    };
    let rate = ControlRate::new(20.0).unwrap();
    let strategy = StrategyConfig::Chunk { steps_executed: None };
    let mut planner = ScheduleConfig { step_hz: Some(20.0), strategy }.checked(&spec, rate).unwrap();
    let config = SafetyConfig {
        workspace_min_m: [-1.0; 3],
        workspace_max_m: [1.0; 3],
        speed_m_s_max: 1.0,
        angular_speed_rad_s_max: 4.0,
        command_ms_max: 50.0,
        ..teleported()
    };
    let mut gate = Gate::new(config.checked().unwrap(), rate).unwrap();
    let mut policy = Rows(spec, rows.iter().map(|row| row.to_vec()).collect());
    let (mut world, mut reasons) = (World(vec![]), Reasons::default());
    let mut control = LockstepLoop {
        policy: &mut policy,
        world: &mut world,
        planner: &mut planner,
        gate: &mut gate,
        wait_max: Duration::ZERO,
        now: Moment::START,
        latency_ticks: 0,
    };
    for _ in 0..count {
        control.look(&observation(), &mut reasons).unwrap();
    }
    (world, reasons, gate)
}

#[test]
fn an_end_effector_delta_reaches_the_world_as_it_is() {
    let delta = [0.01, 0.0, -0.02, 0.1, 0.0, 0.0, 1.0];
    let (world, reasons, _) = looks(&[&delta], 2);
    assert_eq!(world.0.len(), 2);
    assert!(world.0.iter().all(|sent| !sent.is_hold() && sent.action().values() == delta));
    assert!(reasons.0.is_empty());
}

/// The second step would never be executed here; a chunk that is not one of deltas is refused whole all the same.
#[test]
fn a_chunk_that_is_no_delta_is_a_hold_with_its_reason_and_latches_after_a_few() {
    let delta = [0.01, 0.0, -0.02, 0.1, 0.0, 0.0, 1.0];
    let closed = [0.01, 0.0, -0.02, 0.1, 0.0, 0.0, -0.79];
    for (rows, words) in [
        (&[&delta[..5]][..], "5 dimensions"),
        (&[&[0.0; 14][..]][..], "14 dimensions"),
        (&[&closed[..]][..], "gripper is -0.79"),
        (&[&delta[..], &closed[..]][..], "action 1"),
    ] {
        let (world, reasons, gate) = looks(rows, 3);
        assert!(world.0.len() == 3 && world.0.iter().all(SafeAction::is_hold), "{words}");
        assert!(world.0.iter().all(|sent| sent.action().values() == [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), "{words}");
        for (kind, token_ids, message) in &reasons.0 {
            assert_eq!((*kind, token_ids.as_slice()), ("not_a_delta", &[11, 12][..]));
            assert!(message.contains(words), "{message}");
        }
        assert_eq!(reasons.0.len(), 3);
        assert_eq!(gate.stopped(), Some(StopReason::PolicyFailed));
    }
}
