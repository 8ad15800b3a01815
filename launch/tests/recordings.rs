//! Recordings on real processes: the daemon's own, one from outside, one that is killed, and the demo's.
//!
//! Needs the Python environment (`EGOGRID_PYTHON` or `.venv`) and ONNX Runtime, both put there by `./launch/test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use egogrid_sim_bridge::codec::{Message, decode, encode};
use egogrid_sim_bridge::message::{ActionChunk, Command as WireCommand, EpisodeMark, Image, PolicyLook, RunInfo};
use egogrid_sim_bridge::recording::{
    Entry, Place, ReadProblem, RecordedMessage, RecordingReader, RecordingRules, RecordingWriter,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::daemon::{Daemon, Process, count, drain, egogrid, episode_of};
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

/// Every look says what it was; how many there are, and of how many the file has the very picture that the policy saw.
fn looks_with_pictures(messages: &[RecordedMessage]) -> (usize, usize) {
    let pictures: Vec<Image<'_>> =
        of(messages, "camera/front/image").map(|message| decode(&message.payload).unwrap()).collect();
    let looks = looks(messages);
    let seen = |look: &&PolicyLook| {
        let Some(input) = &look.input else { return false };
        let same = |picture: &Image<'_>| {
            picture.header.stamp == input.stamp && crc32fast::hash(picture.data) == input.rgb_crc32
        };
        pictures.iter().any(same)
    };
    // One that its deadline ended on a busy machine has none.
    for look in looks.iter().filter(|look| look.failure.is_empty()) {
        assert!(!look.tokens.is_empty() && !look.sketches.is_empty(), "look {}", look.look);
        assert_eq!(look.bundle_sha256.len(), 64);
    }
    (looks.len(), looks.iter().filter(seen).count())
}

/// Beside the policy nothing is missing.
fn require_pictures(messages: &[RecordedMessage]) {
    let (looks, with_pictures) = looks_with_pictures(messages);
    assert!(looks > 2 && with_pictures == looks, "{with_pictures} of {looks} looks have their picture");
}

/// From outside pictures may be missing on a busy machine: nobody waits for a listener that is behind.
fn require_some_pictures(messages: &[RecordedMessage]) {
    let (looks, with_pictures) = looks_with_pictures(messages);
    assert!(looks > 2 && with_pictures > 2, "{with_pictures} of {looks} looks have their picture");
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
    let robot = episode_of(&daemon, "60");
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
        // In real time with `overlap`: the same pictures, the same tokens, bit for bit.
        let replayed = replay(&path, &shipped(), &["--exact"]);
        assert_eq!(replayed["ok"], true, "{replayed}");
        assert!(count(&replayed["looks_replayed"]) > 2, "{replayed}");
        assert!(replayed["safety"]["left_out"].as_str().unwrap().contains("real time"), "{replayed}");
        let (messages, problem) = read(&path);
        assert!(problem.is_none(), "{}: {problem:?}", path.display());
        if path.ends_with("outside.mcap") {
            require_some_pictures(&messages);
        } else {
            require_pictures(&messages);
        }
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
    episode_of(&daemon, "60");
    // Two chunks at least are on the disk by now: one a second.
    from_outside.signal("KILL");
    from_outside.wait();
    let (code, _, said) = daemon.end();
    assert_eq!(code, Some(0), "the daemon does not notice: {said}");
    let (messages, problem) = read(&out);
    assert!(matches!(problem, Some(ReadProblem::Cut { .. })), "{problem:?}");
    assert!(messages.len() > 50, "{} messages", messages.len());
    require_some_pictures(&messages);
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

fn shipped() -> PathBuf {
    root().join("policies/shipped/metaworld/bundle")
}

/// `egogrid replay`, whatever comes of it: exit code 0 exactly if it says `ok`.
fn replay(recording: &Path, bundle: &Path, more: &[&str]) -> Value {
    let args = ["replay", recording.to_str().unwrap(), bundle.to_str().unwrap(), "--json"];
    let output = egogrid(&args).args(more).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"));
    let code = if report["ok"] == true { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(code), "{report} {errors}");
    report
}

/// A short episode in lockstep whose steps the gate shortens.
fn episode(dir: &Path, more: &[&str]) -> PathBuf {
    let embodiment = fs::read_to_string(root().join("launch/embodiments/metaworld.toml")).unwrap();
    let slow = dir.join("slow.toml");
    fs::write(&slow, embodiment.replace("speed_m_s_max = 1.3864 ", "speed_m_s_max = 0.3 ")).unwrap();
    let out = dir.join("demo");
    let mut command = egogrid(&["demo", "--tasks", "drawer-close", "--episodes", "1", "--steps-max", "24"]);
    command.args(["--embodiment", slow.to_str().unwrap(), "--out", out.to_str().unwrap()]).args(more);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    out.join("demo.mcap")
}

/// The same recording with every message of one topic changed by `change`.
fn altered(path: &Path, rest: &str, change: impl Fn(&[u8]) -> Vec<u8>) -> PathBuf {
    let to = path.with_file_name(format!(
        "altered-{}-{}.mcap",
        rest.replace('/', "-"),
        fs::read_dir(path.parent().unwrap()).unwrap().count()
    ));
    let rules = RecordingRules { free_bytes_min: 0, ..RecordingRules::default() };
    let mut writer = RecordingWriter::create(Place::File(to.clone()), rules, BTreeMap::new()).unwrap();
    for message in RecordingReader::open(path).unwrap() {
        let RecordedMessage { topic, ros_type, log_ns, publish_ns, payload, .. } = message.unwrap();
        let payload = if topic.ends_with(&format!("/{rest}")) { change(&payload) } else { payload };
        let (topic, ros_type, payload) = (&topic, &ros_type, &payload);
        writer.write(&Entry { topic, ros_type, log_ns, publish_ns, payload, latched: false }).unwrap();
    }
    writer.finish();
    to
}

fn altered_looks(path: &Path, change: impl Fn(&mut PolicyLook)) -> PathBuf {
    altered(path, "look", |payload| {
        let mut look: PolicyLook = decode(payload).unwrap();
        change(&mut look);
        encode(&look).unwrap()
    })
}

/// Lockstep with an intervening gate: everything is the same to the last bit, what left through the gate too.
#[test]
fn a_replay_is_the_same_to_the_last_bit_and_names_what_is_not() {
    let scratch = tempfile::tempdir().unwrap();
    let path = episode(scratch.path(), &[]);
    let (messages, _) = read(&path);
    let sent: Vec<ActionChunk> = of(&messages, "action").map(|message| decode(&message.payload).unwrap()).collect();
    assert!(sent.iter().any(|chunk| !chunk.reasons.is_empty()), "the gate was to intervene");
    let report = replay(&path, &shipped(), &["--exact"]);
    assert_eq!((&report["ok"], &report["first_not_bit_equal"]), (&Value::Bool(true), &Value::Null), "{report}");
    assert_eq!(count(&report["safety"]["looks"]), sent.len() as u64, "{report}");
    assert_eq!(report["safety"]["looks"], report["safety"]["same"], "{report}");
    assert_eq!(report["recorded"], report["replayed"], "{report}");

    // Another token: the look, the place and both tokens are named.
    let other = altered_looks(&path, |look| look.tokens[4].id += u32::from(look.look == 1));
    let report = replay(&other, &shipped(), &[]);
    let first = &report["first_difference"];
    assert_eq!((first["look"].as_u64(), first["token"]["position"].as_u64()), (Some(1), Some(4)), "{report}");
    assert_eq!(count(&report["looks"]) - count(&report["looks_same"]), 1, "{report}");

    // Another output of one stage, the same tokens: only `--exact` minds.
    let stage = |look: &mut PolicyLook| {
        if look.look == 2 {
            let sketch = look.sketches.iter_mut().find(|sketch| sketch.stage == "points_xyz").unwrap();
            sketch.crc32 ^= 1;
            sketch.samples[3] += 0.25;
        }
    };
    let other = altered_looks(&path, stage);
    assert_eq!(replay(&other, &shipped(), &[])["ok"], true);
    let first = &replay(&other, &shipped(), &["--exact"])["first_not_bit_equal"];
    assert_eq!((first["look"].as_u64(), first["stage"].as_str()), (Some(2), Some("points_xyz")), "{first}");
    assert!((first["difference"].as_f64().unwrap() - 0.25).abs() < 1e-6, "{first}");

    // Another action behind the gate.
    let other = altered(&path, "action", |payload| {
        let mut sent: ActionChunk = decode(payload).unwrap();
        sent.steps[0].gripper = 1.0 - sent.steps[0].gripper;
        encode(&sent).unwrap()
    });
    let report = replay(&other, &shipped(), &[]);
    assert!(report["safety"]["first"][1].as_str().unwrap().contains("action 0"), "{report}");

    // Another picture: left out, and a replay of nothing is none.
    let other = altered(&path, "camera/front/image", |payload| {
        let mut payload = payload.to_vec();
        *payload.last_mut().unwrap() ^= 1;
        payload
    });
    let report = replay(&other, &shipped(), &[]);
    assert_eq!((count(&report["looks_replayed"]), &report["ok"]), (0, &Value::Bool(false)), "{report}");
}

/// What the answer had to begin with is recorded too.
#[test]
fn a_committed_run_is_replayed_with_its_commitments() {
    let scratch = tempfile::tempdir().unwrap();
    let path = episode(scratch.path(), &["--strategy", "committed", "--latency-ms", "20"]);
    let (messages, _) = read(&path);
    assert!(looks(&messages).iter().any(|look| !look.committed.is_empty()), "nothing was committed");
    let report = replay(&path, &shipped(), &["--exact"]);
    assert_eq!(report["ok"], true, "{report}");
}

/// From the field to a test in one command; what is frozen is enough, and only what is the same can be frozen.
#[test]
fn a_recording_becomes_a_test() {
    let scratch = tempfile::tempdir().unwrap();
    let path = episode(scratch.path(), &[]);
    let frozen = scratch.path().join("frozen");
    let freeze = ["--looks", "2", "--freeze", frozen.to_str().unwrap()];
    assert_eq!(replay(&path, &shipped(), &freeze)["ok"], true);
    let report = replay(&frozen.join("recording.mcap"), &shipped(), &["--exact"]);
    assert_eq!((&report["ok"], count(&report["looks_replayed"])), (&Value::Bool(true), 2), "{report}");
    assert_eq!(count(&report["safety"]["looks"]), 2, "{report}");
    let says: toml::Table = fs::read_to_string(frozen.join("replay.toml")).unwrap().parse().unwrap();
    assert_eq!(says["bundle"].as_str(), Some("policies/shipped/metaworld/bundle"));
    let wrong = altered_looks(&path, |look| look.tokens[0].id += 1);
    let refused = scratch.path().join("refused");
    let args = ["replay", wrong.to_str().unwrap(), shipped().to_str().unwrap()].map(str::to_owned);
    let output = egogrid(&args.each_ref().map(String::as_str)).args(["--freeze", refused.to_str().unwrap()]).output();
    let output = output.unwrap();
    assert!(output.status.code() == Some(2) && !refused.exists(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_no_recording_is_refused_with_the_byte() {
    let scratch = tempfile::tempdir().unwrap();
    let path = episode(scratch.path(), &[]);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    let damaged = scratch.path().join("damaged.mcap");
    fs::write(&damaged, &bytes).unwrap();
    fs::write(scratch.path().join("text.mcap"), "no recording").unwrap();
    for (file, says) in [("damaged.mcap", "byte "), ("text.mcap", "no MCAP file"), ("none.mcap", "none.mcap")] {
        let file = scratch.path().join(file);
        let output = egogrid(&["replay", file.to_str().unwrap(), shipped().to_str().unwrap()]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && errors.contains(says), "{}: {errors}", file.display());
    }
}

/// Writing fails in the middle of a chunk: what is whole stays readable, and the recording goes on with another file.
#[test]
fn a_write_that_fails_costs_its_chunk_and_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("limited");
    let daemon = Daemon::start(&[]);
    // Files of 1 MiB at most, for this process: the write that would go beyond fails.
    let limited = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_egogrid"), "record", out.to_str().unwrap()]);
    command.args(["--connect", &daemon.endpoint, "--free-mb-min", "16", "--json"]).env("EGOGRID_ROOT", root());
    let mut from_outside = Process::spawn(command.stdin(Stdio::null()));
    let mut errors = from_outside.errors();
    support::daemon::after(&mut errors, "recording sim0");
    let errors = drain(errors);
    episode_of(&daemon, "160");
    from_outside.signal("TERM");
    let ended = from_outside.wait();
    let said = errors.join().unwrap();
    let (code, _, _) = daemon.end();
    assert_eq!(code, Some(0));
    let summary: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert!(ended.status.code() == Some(3) && count(&summary["lost"]) > 0, "{summary} {said}");
    assert!(said.contains("nothing is recorded until that works again"), "{said}");
    let files = files(&out);
    assert!(files.len() > 1, "{summary}: it did not go on");
    let mut messages = 0;
    for path in files {
        let (read, problem) = read(&path);
        assert!(matches!(problem, None | Some(ReadProblem::Cut { left: 0 })), "{}: {problem:?}", path.display());
        messages += read.len() as u64;
    }
    assert!(messages >= count(&summary["messages"]), "{messages} of {summary}");
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
