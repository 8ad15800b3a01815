//! Promises about a real Python worker process: what it answers, and what we say when it dies, hangs or lies.
//!
//! The toy simulator `egogrid_worker.testing` keeps this fast. No bound below is a speed claim: each is far above what
//! was measured, and only says that nothing waits for ever.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use egogrid_runtime::clock::{ControlRate, Moment};
use egogrid_runtime::endpoint::{ActionSink, EndpointError, ObservationSource};
use egogrid_runtime::grids::Action;
use egogrid_runtime::observation::Observation;
use egogrid_runtime::safety::{Asked, Gate, Origin, SafeAction, SafetyConfig, StopReason};
use egogrid_sim_bridge::codec;
use egogrid_sim_bridge::endpoint::{ActionLabel, BridgeSession, SimClient};
use egogrid_sim_bridge::message::ActionChunk;
use egogrid_sim_bridge::session::{RobotName, SessionConfig};
use egogrid_sim_bridge::worker::{Worker, WorkerConfig, WorkerError, python_path};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use zenoh::Wait;

/// Long enough for a loaded machine; nothing here waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn config(fault: &str) -> WorkerConfig {
    WorkerConfig {
        python: python_path(&repository()).expect("the tests need Python"),
        module: "egogrid_worker.testing".to_owned(),
        args: vec!["--fault".to_owned(), fault.to_owned()],
        env: vec![("PYTHONPATH".to_owned(), repository().join("sim_bridge/sim_worker/src").display().to_string())],
        robot: RobotName::new("toy").unwrap(),
        start_max: PATIENCE,
    }
}

/// A session, its worker, and a client. Fields are dropped in order: the client first.
struct Rig {
    sim: SimClient,
    worker: Worker,
    session: BridgeSession,
}

fn rig(fault: &str) -> Rig {
    let session = BridgeSession::open(&SessionConfig::loopback()).unwrap();
    let worker = Worker::start(&session, config(fault)).unwrap();
    let sim = SimClient::connect(&session, &RobotName::new("toy").unwrap(), PATIENCE).unwrap();
    Rig { sim, worker, session }
}

/// A gate that lets through what the toy can do, and more than it takes.
fn gate() -> Gate {
    let off = serde_json::json!({ "unbounded": "the toy takes any step" });
    let config: SafetyConfig = serde_json::from_value(serde_json::json!({
        "workspace_min_m": [-2.0, -2.0, -2.0], "workspace_max_m": [2.0, 2.0, 2.0],
        "speed_m_s_max": 10.0, "acceleration_m_s2_max": off, "jerk_m_s3_max": off,
        "angular_speed_rad_s_max": 20.0, "angular_acceleration_rad_s2_max": off, "angular_jerk_rad_s3_max": off,
        "orientation_cone": off, "gripper_debounce_ms": off, "confidence_min": off, "dead_man_ms_max": off,
        "observation_ms_max": 1000.0, "state_ms_max": 1000.0, "response_ms": 0.0, "command_ms_max": 50.0,
        "policy_failures_max": 3,
    }))
    .unwrap();
    Gate::new(config.checked().unwrap(), ControlRate::new(20.0).unwrap()).unwrap()
}

fn safe(observation: &Observation, translation_m: [f64; 3]) -> SafeAction {
    let mut gate = gate();
    let now = Moment::START;
    gate.observe(observation.state.as_ref(), now);
    let expires = now.plus(Duration::from_millis(50));
    let origin = Origin { sequence: observation.sequence, index: 0, exposed: now, expires, confidence: 1.0 };
    gate.tick(now, Asked::Step(Action::from_physical(translation_m, [0.0; 3], 1.0).unwrap(), origin))
}

fn signal(name: &str, worker: &Worker) {
    let done = Command::new("kill").args([name, &worker.pid().to_string()]).status().unwrap();
    assert!(done.success());
}

#[test]
fn an_episode_runs_in_lockstep_and_stops_at_success() {
    let mut rig = rig("none");
    assert_eq!(rig.sim.info().simulator, "toy 1");
    assert_eq!(rig.sim.info().tasks, ["reach", "wait"]);
    let start = rig.sim.reset("reach", 7, PATIENCE).unwrap();
    assert_eq!(start.observation.instruction, "reach the end");
    assert_eq!((start.step.steps_total, start.step.success), (0, false));
    let state = start.observation.state.as_ref().unwrap();
    assert_eq!(state.base_from_ee.translation.vector, nalgebra::Vector3::new(0.0, 0.0, 0.007));
    let frame = &start.observation.frame;
    assert_eq!(&frame.rgb.data()[..6], [255, 128, 0, 0, 0, 0], "first pixel, then the step count");
    assert!(frame.depth.as_ref().unwrap().data_m().iter().all(|metres| *metres == 1.5));
    assert_eq!(frame.intrinsics.unwrap().focal_px(), [8.0, 8.0]);
    let camera_z = frame.base_from_camera.unwrap() * nalgebra::Vector3::z();
    assert!((camera_z - nalgebra::Vector3::new(0.0, 0.0, -1.0)).norm() < 1e-12, "it looks down");

    for _ in 0..2 {
        rig.sim.send(&safe(&start.observation, [0.01, 0.0, 0.0])).unwrap();
    }
    let next = rig.sim.observe(PATIENCE).unwrap();
    assert_eq!(next.sequence, start.observation.sequence + 1);
    assert_eq!(next.frame.stamp.ns, 100_000_000, "two steps of 1/20 s");
    assert_eq!(next.frame.rgb.data()[3], 2);
    for _ in 0..8 {
        rig.sim.send(&safe(&next, [0.01, 0.0, 0.0])).unwrap();
    }
    let last = rig.sim.observe(PATIENCE).unwrap();
    let step = rig.sim.last_step().unwrap();
    assert_eq!((step.success, step.steps_executed, step.steps_total), (true, 3, 5), "it stops at success");
    assert_eq!(last.frame.rgb.data()[3], 5);
    rig.sim.send(&safe(&last, [0.01, 0.0, 0.0])).unwrap();
    rig.sim.observe(PATIENCE).unwrap();
    assert_eq!(rig.sim.last_step().unwrap().steps_executed, 0, "an episode that has succeeded is over");
    assert!(rig.worker.stop(PATIENCE).unwrap().success(), "it ends in order when asked");
}

#[test]
fn a_step_beyond_the_simulators_limit_is_refused_and_executes_nothing() {
    let mut rig = rig("none");
    let start = rig.sim.reset("wait", 0, PATIENCE).unwrap().observation;
    rig.sim.send(&safe(&start, [0.01, 0.0, 0.0])).unwrap();
    rig.sim.send(&safe(&start, [0.0, 0.021, 0.0])).unwrap();
    let refused = rig.sim.observe(PATIENCE).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, EndpointError::OutOfRange { .. }), "{text}");
    assert!(text.contains("steps[1].translation y") && text.contains("0.02 m"), "{text}");
    assert!(
        matches!(rig.sim.send(&safe(&start, [0.0; 3])), Err(EndpointError::Transport { .. })),
        "the episode is over"
    );
    assert!(rig.sim.last_step().is_none());
    rig.sim.reset("wait", 0, PATIENCE).unwrap();
}

#[test]
fn an_unknown_task_is_refused_with_the_known_ones() {
    let mut rig = rig("none");
    let text = rig.sim.reset("fly", 0, PATIENCE).unwrap_err().to_string();
    assert!(text.contains("unknown_task") && text.contains("reach, wait"), "{text}");
}

#[test]
fn more_steps_than_the_longest_chunk_are_refused_here() {
    let mut rig = rig("none");
    let start = rig.sim.reset("wait", 0, PATIENCE).unwrap().observation;
    let still = safe(&start, [0.0; 3]);
    for _ in 0..64 {
        rig.sim.send(&still).unwrap();
    }
    assert!(matches!(rig.sim.send(&still), Err(EndpointError::Transport { .. })));
    rig.sim.observe(PATIENCE).unwrap();
    assert_eq!(rig.sim.last_step().unwrap().steps_executed, 64);
}

#[test]
fn a_killed_worker_is_noticed_at_once_and_a_restarted_one_works() {
    let mut rig = rig("slow");
    let start = rig.sim.reset("wait", 0, PATIENCE).unwrap().observation;
    for _ in 0..20 {
        rig.sim.send(&safe(&start, [0.0; 3])).unwrap();
    }
    let kill = format!("sleep 0.3; kill -KILL {}", rig.worker.pid()); // the 20 slow steps take 6 s
    let killer = std::thread::spawn(move || {
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        Instant::now()
    });
    let lost = rig.sim.observe(PATIENCE).unwrap_err();
    let noticed = Instant::now().duration_since(killer.join().unwrap());
    eprintln!("kill -9 noticed after {noticed:?}: {lost}");
    assert!(matches!(lost, EndpointError::PeerLost { .. }), "{lost}");
    assert!(noticed < Duration::from_secs(3), "long before the patience is over: {noticed:?}");
    // Its connection goes a moment before the process itself.
    let ended = |_| {
        std::thread::park_timeout(Duration::from_millis(20));
        rig.worker.exited().is_some()
    };
    assert!((0..250).any(ended));
    let gone = rig.sim.reset("wait", 0, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(gone, EndpointError::Timeout { .. }), "{gone}");

    rig.worker.restart().unwrap();
    rig.sim.reset("wait", 1, PATIENCE).unwrap();
    let still = rig.sim.observe(PATIENCE).unwrap();
    assert_eq!(still.instruction, "wait the end");
}

#[test]
fn a_hung_worker_is_a_timeout_and_its_late_work_cannot_reach_a_new_episode() {
    let mut rig = rig("none");
    let start = rig.sim.reset("wait", 0, PATIENCE).unwrap().observation;
    signal("-STOP", &rig.worker);
    rig.sim.send(&safe(&start, [0.01, 0.0, 0.0])).unwrap();
    let asked = Instant::now();
    let hung = rig.sim.observe(Duration::from_millis(300)).unwrap_err();
    eprintln!("SIGSTOP noticed after {:?}: {hung}", asked.elapsed());
    assert!(matches!(hung, EndpointError::Timeout { waited_ms: 300, .. }), "{hung}");
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert!(
        matches!(rig.sim.observe(PATIENCE), Err(EndpointError::Transport { .. })),
        "no guess about what it executed"
    );
    signal("-CONT", &rig.worker);
    let again = rig.sim.reset("wait", 0, PATIENCE).unwrap().observation;
    assert_eq!(again.state, start.state, "the late step moved the old episode, not this one");
    rig.sim.send(&safe(&again, [0.01, 0.0, 0.0])).unwrap();
    let moved = rig.sim.observe(PATIENCE).unwrap();
    assert_eq!(moved.state.unwrap().base_from_ee.translation.x, 0.01);
}

#[test]
fn a_worker_that_hangs_for_good_can_be_replaced() {
    let mut rig = rig("none");
    rig.sim.reset("wait", 0, PATIENCE).unwrap();
    signal("-STOP", &rig.worker);
    assert!(matches!(rig.sim.observe(Duration::from_millis(100)), Err(EndpointError::Timeout { .. })));
    rig.worker.restart().unwrap();
    rig.sim.reset("wait", 0, PATIENCE).unwrap();
}

#[test]
fn another_protocol_version_is_named_on_both_sides() {
    let session = BridgeSession::open(&SessionConfig::loopback()).unwrap();
    let error = Worker::start(&session, config("version")).unwrap_err();
    let WorkerError::Handshake { source: EndpointError::Version { found, expected, .. }, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((found.as_str(), expected.as_str()), ("1000", "2"));
}

#[test]
fn answers_that_are_no_answers_are_malformed_and_the_next_episode_is_unaffected() {
    for (fault, says) in [
        ("oversized", "at most 67108864 are read"),
        ("broken", "byte 20 (success): 255 is not a boolean"),
        ("cut", "cut short"),
        ("error_bytes", "header"),
    ] {
        let mut rig = rig(fault);
        rig.sim.reset("wait", 0, PATIENCE).unwrap();
        let asked = Instant::now();
        let error = rig.sim.observe(PATIENCE).unwrap_err();
        eprintln!("{fault}: noticed after {:?}: {error}", asked.elapsed());
        assert!(matches!(error, EndpointError::Malformed { .. }), "{fault}: {error}");
        assert!(error.to_string().contains(says), "{fault}: {error}");
        rig.sim.reset("wait", 0, PATIENCE).unwrap();
    }
}

#[test]
fn a_query_that_ends_without_an_answer_is_a_lost_peer_long_before_the_timeout() {
    let mut rig = rig("silent");
    rig.sim.reset("wait", 0, PATIENCE).unwrap();
    let asked = Instant::now();
    let error = rig.sim.observe(PATIENCE).unwrap_err();
    eprintln!("silent: noticed after {:?}: {error}", asked.elapsed());
    assert!(matches!(error, EndpointError::PeerLost { .. }), "{error}");
    assert!(asked.elapsed() < PATIENCE / 2);
}

#[test]
fn an_exception_in_the_simulator_is_a_refusal_that_names_it() {
    let mut rig = rig("raise");
    let start = rig.sim.reset("wait", 0, PATIENCE).unwrap().observation;
    rig.sim.send(&safe(&start, [0.0; 3])).unwrap();
    let text = rig.sim.observe(PATIENCE).unwrap_err().to_string();
    assert!(text.contains("simulator: RuntimeError: the toy broke"), "{text}");
    assert!(rig.worker.log_tail().contains("Traceback"), "{}", rig.worker.log_tail());
    rig.sim.reset("wait", 0, PATIENCE).unwrap();
}

#[test]
fn a_worker_that_ends_or_never_gets_ready_is_reported_with_its_own_words() {
    let session = BridgeSession::open(&SessionConfig::loopback()).unwrap();
    let error = Worker::start(&session, config("exit_at_start")).unwrap_err();
    assert!(matches!(&error, WorkerError::Exited { log_tail, .. } if log_tail.contains("refuses to start")), "{error}");
    let impatient = WorkerConfig { start_max: Duration::from_secs(2), ..config("never_ready") };
    let error = Worker::start(&session, impatient).unwrap_err();
    assert!(matches!(&error, WorkerError::NotReady { waited_ms: 2000, .. }), "{error}");
}

#[test]
fn a_simulator_that_does_not_come_back_is_ended_hard() {
    let mut rig = rig("slow");
    let start = rig.sim.reset("wait", 0, PATIENCE).unwrap().observation;
    for _ in 0..64 {
        rig.sim.send(&safe(&start, [0.0; 3])).unwrap(); // 19 s of work
    }
    assert!(matches!(rig.sim.observe(Duration::from_millis(100)), Err(EndpointError::Timeout { .. })));
    let asked = Instant::now();
    let status = rig.worker.stop(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(1), "ended hard by itself, not killed");
    assert!(asked.elapsed() < Duration::from_secs(15));
}

#[test]
fn listeners_get_what_was_sent_with_the_gates_reasons() {
    let mut rig = rig("none");
    let heard = rig.session.zenoh().declare_subscriber("egogrid/toy/action").wait().unwrap();
    let start = rig.sim.reset("wait", 0, PATIENCE).unwrap().observation;
    rig.sim.set_label(ActionLabel { policy_id: "test/policy".to_owned() });
    rig.sim.send(&safe(&start, [0.01, 0.0, 0.0])).unwrap();
    let mut stopped = gate();
    stopped.stop(StopReason::Operator);
    rig.sim.send(&stopped.tick(Moment::START, Asked::Nothing)).unwrap();
    rig.sim.observe(PATIENCE).unwrap();
    let sample = heard.recv_timeout(PATIENCE).unwrap().unwrap();
    let payload = sample.payload().to_bytes();
    let chunk: ActionChunk = codec::decode(&payload).unwrap();
    assert_eq!((chunk.policy_id.as_str(), chunk.control_hz, chunk.sequence), ("test/policy", 20.0, start.sequence));
    assert_eq!(chunk.steps.iter().map(|step| step.translation_m.x).collect::<Vec<_>>(), [0.01, 0.0]);
    let reasons: Vec<_> = chunk.reasons.iter().map(|reason| (reason.step, reason.kind.as_str())).collect();
    assert_eq!(reasons, [(1, "stopped")]);
}

#[test]
fn two_workers_under_one_name_are_refused() {
    let rig = rig("none");
    let second = Worker::start(&rig.session, config("none"));
    assert!(second.unwrap_err().to_string().contains("stop all but one"));
}
