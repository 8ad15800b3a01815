//! Recordings on real processes: the daemon's own, one from outside, one that is killed, and the demo's.
//!
//! Needs the Python environment (`EGOGRID_PYTHON` or `.venv`) and ONNX Runtime, both put there by `./launch/test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use egogrid_sim_bridge::codec::{Message, decode};
use egogrid_sim_bridge::message::{Command as WireCommand, EpisodeMark, Image, PolicyLook, RunInfo};
use egogrid_sim_bridge::recording::{ReadProblem, RecordedMessage, RecordingReader};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::daemon::{Daemon, Process, count, drain, egogrid, python};
use support::root;

/// Every message, and how the file ends.
fn read(path: &Path) -> (Vec<RecordedMessage>, Option<ReadProblem>) {
    let (mut messages, mut problem) = (Vec::new(), None);
    for message in RecordingReader::open(path).unwrap() {
        match message {
            Ok(message) => messages.push(message),
            Err(error) => problem = Some(error.problem),
        }
    }
    (messages, problem)
}

fn of<'a>(messages: &'a [RecordedMessage], rest: &'a str) -> impl Iterator<Item = &'a RecordedMessage> {
    let name = format!("/egogrid/sim0/{rest}");
    messages.iter().filter(move |message| message.topic == name)
}

fn looks(messages: &[RecordedMessage]) -> Vec<PolicyLook> {
    of(messages, "look").map(|message| decode(&message.payload).unwrap()).collect()
}

/// Each look's picture is in the file, with the bytes that the policy saw.
fn require_pictures(messages: &[RecordedMessage]) {
    let pictures: Vec<Image<'_>> =
        of(messages, "camera/front/image").map(|message| decode(&message.payload).unwrap()).collect();
    let looks = looks(messages);
    assert!(looks.len() > 2, "{} looks", looks.len());
    for look in looks {
        let input = look.input.unwrap();
        let same = |picture: &&Image<'_>| {
            picture.header.stamp == input.stamp && crc32fast::hash(picture.data) == input.rgb_crc32
        };
        assert!(pictures.iter().any(|picture| same(&picture)), "look {} saw a picture that is not there", look.look);
        assert!(!look.tokens.is_empty() && !look.sketches.is_empty(), "look {}", look.look);
        assert_eq!(look.bundle_sha256.len(), 64);
    }
}

fn world(daemon: &Daemon, steps: &str) -> Value {
    let bridge = root().join("sim_bridge");
    let path = [bridge.join("sim_worker/src"), bridge.join("simulators/metaworld/src")];
    let path = path.map(|path| path.to_str().unwrap().to_owned()).join(":");
    let mut command = Command::new(python());
    let args = ["--tasks", "peg-insert-side", "--episodes", "1", "--steps-max", steps];
    command.args(["-u", "-m", "egogrid_metaworld.realtime", "--connect", &daemon.endpoint]).args(args);
    command.env("PYTHONPATH", path).env("MUJOCO_GL", std::env::var("MUJOCO_GL").unwrap_or_else(|_| "egl".to_owned()));
    let mut world = Process::spawn(&mut command);
    let errors = drain(world.errors());
    let output = world.wait();
    assert!(output.status.success(), "{}", errors.join().unwrap());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn recording_table(dir: &Path) -> String {
    let dir = dir.display();
    format!("dry_run = false\n[recording]\ndir = \"{dir}\"\nfile_mb_max = 64\ndisk_mb_max = 256\nfree_mb_min = 16")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn recorder(daemon: &Daemon, out: &Path) -> Process {
    let mut command = egogrid(&["record", out.to_str().unwrap(), "--connect", &daemon.endpoint, "--json"]);
    command.args(["--free-mb-min", "16"]);
    Process::spawn(command.stdin(Stdio::null()))
}

/// One run, two recorders: both have everything that a replay needs, and the commands that the robot got.
#[test]
fn a_run_is_recorded_by_the_daemon_and_from_outside() {
    let scratch = tempfile::tempdir().unwrap();
    let (own, outside) = (scratch.path().join("own"), scratch.path().join("outside.mcap"));
    let daemon = Daemon::start(&[("dry_run", &recording_table(&own))]);
    let mut from_outside = recorder(&daemon, &outside);
    support::daemon::after(&mut from_outside.errors(), "recording sim0");
    let robot = world(&daemon, "60");
    from_outside.signal("TERM");
    let ended = from_outside.wait();
    assert!(ended.status.success(), "{:?} {}", ended.status, String::from_utf8_lossy(&ended.stdout));
    let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let (code, daemon_summary, said) = daemon.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(summary["problem"], Value::Null, "{summary}");
    assert!(count(&daemon_summary["counts"]["recording_written"]) > 100, "{daemon_summary}");
    assert_eq!(count(&daemon_summary["counts"]["recording_lost"]), 0, "{daemon_summary}");
    let [path] = files(&own).try_into().unwrap();
    for path in [path, outside] {
        let (messages, problem) = read(&path);
        assert!(problem.is_none(), "{}: {problem:?}", path.display());
        require_pictures(&messages);
        let info: RunInfo<'_> = decode(&of(&messages, "run_info").next().unwrap().payload).unwrap();
        assert!(str::from_utf8(info.deployment).unwrap().contains("[[cameras]]"));
        assert!(str::from_utf8(info.embodiment).unwrap().contains("stats"));
        let commands: Vec<WireCommand> =
            of(&messages, "command").map(|message| decode(&message.payload).unwrap()).collect();
        assert!(commands.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "each command once, in order");
        let executed = count(&robot["commands"]["followed"]).max(1);
        assert!(commands.len() as u64 >= executed / 2, "{} commands, {robot}", commands.len());
        for topic in ["status", "state", "episode", "camera/front/depth", "camera/front/camera_info"] {
            assert!(of(&messages, topic).next().is_some(), "{}: no {topic}", path.display());
        }
    }
}

/// The file of a recorder that was killed is read to its last whole chunk.
#[test]
fn a_killed_recorder_leaves_a_file_that_can_be_read() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("killed.mcap");
    let daemon = Daemon::start(&[]);
    let mut from_outside = recorder(&daemon, &out);
    support::daemon::after(&mut from_outside.errors(), "recording sim0");
    world(&daemon, "60");
    // Two chunks at least are on the disk by now: one a second.
    from_outside.signal("KILL");
    from_outside.wait();
    let (code, _, said) = daemon.end();
    assert_eq!(code, Some(0), "the daemon does not notice: {said}");
    let (messages, problem) = read(&out);
    assert!(matches!(problem, Some(ReadProblem::Cut { .. })), "{problem:?}");
    assert!(messages.len() > 50, "{} messages", messages.len());
    require_pictures(&messages);
}

/// The main job's own recording: lockstep, with the task, the seed and what came of it.
#[test]
fn the_demo_records_what_it_did() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().to_str().unwrap();
    let mut command = egogrid(&["demo", "--tasks", "drawer-close", "--episodes", "1", "--json", "--out", out]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (messages, problem) = read(&scratch.path().join("demo.mcap"));
    assert!(problem.is_none(), "{problem:?}");
    require_pictures(&messages);
    let marks: Vec<EpisodeMark> = of(&messages, "episode").map(|message| decode(&message.payload).unwrap()).collect();
    assert_eq!(marks.iter().map(|mark| mark.outcome.as_str()).collect::<Vec<_>>(), ["", "success"]);
    assert!(marks.iter().all(|mark| mark.task == "drawer-close" && mark.seed == 100_000));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(looks(&messages).len() as u64, count(&summary["recording"]["looks_recorded"]), "{summary}");
    assert!(messages.iter().all(|message| !message.ros_type.is_empty() && message.encoding == "cdr"));
    assert_eq!(EpisodeMark::ROS_TYPE, of(&messages, "episode").next().unwrap().ros_type);
}

/// A place that cannot be used is said before anything runs.
#[test]
fn a_wrong_place_is_refused_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let taken = scratch.path().join("a.mcap");
    fs::write(&taken, "mine").unwrap();
    let daemon = Daemon::start(&[]);
    for (out, says) in [
        (taken.clone(), "exists and is not overwritten"),
        (scratch.path().join("none/a.mcap"), "in a directory that exists"),
        (scratch.path().join("a.bag"), "expected F.mcap"),
    ] {
        let ended = recorder(&daemon, &out).wait();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code() == Some(2) && said.contains(says), "{}: {said}", out.display());
    }
    assert_eq!(fs::read(&taken).unwrap(), b"mine");
}
