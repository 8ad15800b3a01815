//! The onboard daemon on real processes: `egogrid run`, Meta-World in real time, and its camera, which is a third one.
//!
//! Needs the Python environment (`EGOGRID_PYTHON` or `.venv`) and ONNX Runtime, both put there by `./launch/test`. No test
//! here measures time: what is promised is what the robot did, as the robot itself counts it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::Value;
use std::process::Command;
use support::daemon::{Daemon, Process, after, count, deployment, drain, egogrid, python, signal, world};
use support::root;
/// What the robot did, as it writes it down (`--trace`).
struct Trace {
    dir: tempfile::TempDir,
}

impl Trace {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> String {
        self.dir.path().join("trace").to_str().unwrap().to_owned()
    }

    /// Whole lines of one kind of event.
    fn events(&self, event: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &Value| line["event"] == event)
            .collect()
    }

    /// Waits for the arm to move: so many commands that do.
    fn wait_moving(&self, commands: usize) {
        while self.events("command").iter().filter(|one| one["moving"] == true).count() < commands {
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
    }
}

/// What the robot says of itself.
fn outcome(world: Process) -> Value {
    let output = world.wait();
    assert!(output.status.success(), "{:?}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn check_loads_everything_and_a_wrong_line_is_named_with_file_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let good = deployment(dir.path(), &[]);
    let output = egogrid(&["run", good.to_str().unwrap(), "--check"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (begins, instead, says) in [
        ("control_hz", "control_hz = 1000.0", "deployment.toml:"),
        ("depth", "depth = false", "needs depth"),
        ("step_hz", "step_hz = 7.0", "whole ticks"),
    ] {
        let bad = deployment(dir.path(), &[(begins, instead)]);
        let output = egogrid(&["run", bad.to_str().unwrap(), "--check"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && errors.contains(says), "{instead}: {errors}");
    }
}

/// The main promise: the shipped policy drives a world that does not wait, and SIGTERM ends it in order.
#[test]
fn the_daemon_drives_metaworld_in_real_time_and_ends_when_it_is_told_to() {
    let daemon = Daemon::start(&[]);
    let mut world = world(&daemon, &["--tasks", "drawer-close", "--episodes", "2", "--steps-max", "120"]);
    let errors = drain(world.errors());
    let robot = outcome(world);
    let (code, summary, said) = daemon.end();
    assert_eq!(code, Some(0), "{said}");
    let errors = errors.join().unwrap();
    assert_eq!(robot["episodes"].as_array().unwrap().len(), 2, "{errors}");
    let moved: u64 =
        robot["episodes"].as_array().unwrap().iter().map(|e| count(&e["steps"]) - count(&e["held_steps"])).sum();
    assert!(moved > 0, "{robot} {summary}\n{said}\n{errors}");
    let counts = &summary["counts"];
    assert_eq!(count(&counts["episodes"]), 2, "{summary}");
    assert!(count(&counts["answers_taken"]) > 0, "{summary}");
    assert_eq!(count(&robot["commands"]["not_newer"]) + count(&robot["commands"]["out_of_range"]), 0, "{robot}");
}

/// Nobody tells the robot that the daemon is dead: it holds because nothing valid is left, and executes nothing after.
#[test]
fn a_killed_daemon_leaves_a_robot_that_holds_by_itself() {
    let (mut daemon, trace) = (Daemon::start(&[]), Trace::new());
    let mut world = world(&daemon, &["--tasks", "peg-insert-side", "--steps-max", "120", "--trace", &trace.path()]);
    let errors = drain(world.errors());
    trace.wait_moving(20);
    daemon.process.signal("KILL");
    let robot = outcome(world);
    assert_eq!(robot["episodes"][0]["success"], false, "it must have gone on without a daemon: {robot}");
    let last = trace.events("command").pop().unwrap();
    let until_ns = last["until_ns"].as_u64().unwrap();
    let after: Vec<Value> =
        trace.events("step").into_iter().filter(|step| step["at_ns"].as_u64().unwrap() > until_ns).collect();
    assert!(after.len() > 10, "the daemon was killed too late: {robot} {}", errors.join().unwrap());
    assert!(after.iter().all(|step| step["sequence"].is_null()), "a step followed a command that was no longer valid");
}

#[test]
fn a_killed_camera_makes_the_arm_hold_and_a_new_one_is_taken_without_a_word() {
    let (daemon, trace) = (Daemon::start(&[]), Trace::new());
    let mut world = world(&daemon, &["--tasks", "peg-insert-side", "--steps-max", "140", "--trace", &trace.path()]);
    let mut errors = world.errors();
    let camera: u32 = after(&mut errors, "camera: process ").parse().unwrap();
    trace.wait_moving(20);
    signal("KILL", camera);
    after(&mut errors, "camera: process ");
    let errors = drain(errors);
    let robot = outcome(world);
    let (_, summary, said) = daemon.end();
    assert_eq!(count(&robot["camera_starts"]), 2, "{robot} {}", errors.join().unwrap());
    assert!(count(&summary["counts"]["gate_nothing_planned"]) > 5, "{summary} {said}");
}

/// Each fault of the camera by its own name, and nothing planned from it.
#[test]
fn every_fault_of_a_camera_is_named() {
    for (fault, line, name) in [
        ("frozen", ("frozen_frames", "frozen_frames = 4"), "picture_frozen"),
        ("dark", ("", ""), "picture_dark"),
        ("future", ("", ""), "picture_future_stamped"),
        ("no_depth", ("", ""), "picture_missing_depth"),
    ] {
        let lines = [line];
        let daemon = Daemon::start(if line.0.is_empty() { &[] } else { &lines });
        let args = ["--episodes", "1", "--steps-max", "110", "--camera-fault", fault, "--camera-fault-after", "5"];
        let mut world = world(&daemon, &args);
        let errors = drain(world.errors());
        let robot = outcome(world);
        let (_, summary, said) = daemon.end();
        assert!(count(&summary["counts"][name]) > 0, "{fault}: {summary} {robot} {said} {}", errors.join().unwrap());
        assert!(count(&summary["counts"]["gate_nothing_planned"]) > 5, "{fault}: {summary}");
    }
}

/// Bytes of every kind on every key: counted, told, and nothing else.
#[test]
fn a_hostile_peer_ends_nothing() {
    let daemon = Daemon::start(&[]);
    let script = format!(
        "import os,random,sys\nsys.path[:0]=[{:?}]\nfrom egogrid_worker.session import open_session\nfrom zenoh import CongestionControl\nwait=CongestionControl.BLOCK\n\
         session=open_session({:?})\nrandom.seed(1)\n\
         for n in range(400):\n for rest in ('camera/front/image','camera/front/depth','camera/front/camera_info','state','instruction','operator'):\n  \
         size=random.choice((0,3,4,5,20,100,5000))\n  session.put('egogrid/sim0/'+rest, b'\\0\\1\\0\\0'+random.randbytes(size) if n%2 else random.randbytes(size), congestion_control=wait)\n\
         session.put('egogrid/sim0/camera/front/image', bytes(70<<20), congestion_control=wait)\n\
         for what in ('rearm','episode','stop'):\n list(session.get('egogrid/sim0/do/'+what, payload=b'\\xff'*50, timeout=5))\n\
         session.close()",
        root().join("sim_bridge/sim_worker/src").to_str().unwrap(),
        daemon.endpoint
    );
    let hostile = Command::new(python()).args(["-c", &script]).output().unwrap();
    assert!(hostile.status.success(), "{}", String::from_utf8_lossy(&hostile.stderr));
    let (code, summary, said) = daemon.end();
    assert!(count(&summary["counts"]["picture_malformed"]) > 500, "{summary} {said}");
    assert_eq!(code, Some(5), "its request to stop is obeyed whatever came with it: {said}");
}
