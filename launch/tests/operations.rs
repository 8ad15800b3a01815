//! Operations of the daemon on the real process: another policy, another instruction, metrics, systemd. No simulator: the
//! robot and its camera are `support/peer.py`. No test here measures time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::daemon::{Daemon, count, python};
use support::peer::{Peer, sequences, statuses};
use support::root;

/// Ten ticks a second and patience with looks: the machine is busy with other things too.
const SLOW: [(&str, &str); 5] = [
    ("deadline_ms", "deadline_ms = 5000.0"),
    ("control_hz", "control_hz = 10.0"),
    ("step_hz", "step_hz = 10.0"),
    ("age_ms_max", "age_ms_max = 5000.0"),
    ("silent_ms_max", "silent_ms_max = 5000.0"),
];
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(120);
const FIRST: &str = "spatialvla/metaworld-mt5";

fn shipped() -> String {
    root().join("policies/shipped/metaworld/bundle").to_str().unwrap().to_owned()
}

/// The shipped bundle in `dir` under another checkpoint's name.
fn bundle(dir: &Path, checkpoint: &str) {
    fs::create_dir_all(dir).unwrap();
    for entry in fs::read_dir(shipped()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let manifest = fs::read_to_string(dir.join("bundle.toml")).unwrap();
    let (_, body) = manifest.split_once('\n').unwrap();
    let body = body.replace("checkpoint = \"metaworld-mt5\"", &format!("checkpoint = \"{checkpoint}\""));
    let sum: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(dir.join("bundle.toml"), format!("# sha256 {sum}\n{body}")).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn daemon(more: &[(&str, &str)], environment: &[(&str, &str)]) -> Daemon {
    // The first that fits a line counts.
    Daemon::start_with(&[more, &SLOW].concat(), environment)
}

/// A daemon that may change to the bundles in `dir`.
fn swapping(dir: &Path) -> Daemon {
    let line = format!("deadline_ms = 5000.0\nswap_from = {:?}", dir.to_str().unwrap());
    daemon(&[("deadline_ms", &line)], &[])
}

fn answers(status: &Value) -> u64 {
    count(&status["counts"]["answers_taken"])
}

fn remarks(status: &Value) -> String {
    status["remarks"].as_array().unwrap().iter().map(|remark| remark.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Asks for an episode and waits until it is driven.
fn drive(peer: &mut Peer, seen: &mut Vec<Value>) -> Value {
    assert!(peer.ask("episode", Some("open the drawer"), seen).is_null());
    peer.status(seen, |status| status["mode"] == "running" && answers(status) > 2)
}

fn assert_no_gap(seen: &[Value]) {
    let numbers = sequences(seen);
    assert!(numbers.len() > 10 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

/// The promise: the old policy answers until the episode begins, the new one after it, and no tick notices.
#[test]
fn another_policy_takes_over_with_the_next_episode_and_no_tick_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    bundle(&dir.path().join("v2"), "metaworld-v2");
    let daemon = swapping(dir.path());
    let (mut peer, mut seen) = (Peer::connect(&daemon.endpoint), Vec::new());
    assert_eq!(drive(&mut peer, &mut seen)["policy_id"], FIRST);
    assert!(peer.ask("policy", Some("v2"), &mut seen).is_null());
    let ready = peer.status(&mut seen, |status| remarks(status).contains("is ready and begins with the next episode"));
    assert!(remarks(&ready).contains("spatialvla/metaworld-v2"), "{ready}");
    // It answers on, and its answers are executed.
    peer.status(&mut seen, |status| answers(status) > answers(&ready) + 5);
    assert!(statuses(&seen).all(|status| status["policy_id"] == FIRST), "not before the episode");
    assert!(peer.ask("episode", None, &mut seen).is_null());
    let taken = peer.status(&mut seen, |status| status["policy_id"] == "spatialvla/metaworld-v2");
    assert!(!remarks(&taken).contains("ready"), "{taken}");
    let mut after = Vec::new();
    let last = peer.status(&mut after, |status| answers(status) > answers(&taken) + 5 && status["mode"] == "running");
    assert!(statuses(&after).all(|status| status["policy_id"] == "spatialvla/metaworld-v2"));
    assert_eq!((count(&last["counts"]["swaps"]), count(&last["counts"]["ticks_missed"])), (1, 0), "{last}");
    seen.extend(after);
    assert_no_gap(&seen);
    drop(peer);
    let (code, summary, said) = daemon.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(summary["policy"], "spatialvla/metaworld-v2", "{summary}");
    assert_eq!((count(&summary["ticks_missed"]), count(&summary["counts"]["commands_skipped"])), (0, 0), "{summary}");
    assert_eq!(count(&summary["counts"]["commands_failed"]), 0, "the session outlives the last command: {said}");
    assert!(!said.contains("did not leave"), "{said}");
}

/// What cannot take over is refused in words and counted, and the policy that drives goes on.
#[test]
fn a_policy_that_does_not_fit_is_refused_in_words_and_the_old_one_drives_on() {
    let dir = tempfile::tempdir().unwrap();
    bundle(&dir.path().join("altered"), "altered");
    let weights = dir.path().join("altered/weights.bin");
    let mut bytes = fs::read(&weights).unwrap();
    bytes[1000] ^= 1;
    fs::write(weights, bytes).unwrap();
    copy(&root().join("tests/fixtures/openvla_golden_bundle/bundle"), &dir.path().join("other-robot"));
    fs::create_dir(dir.path().join("empty")).unwrap();
    let daemon = swapping(dir.path());
    let (mut peer, mut seen) = (Peer::connect(&daemon.endpoint), Vec::new());
    drive(&mut peer, &mut seen);
    // At once: what is no name in the one directory that the deployment permits.
    for (name, says) in
        [("../altered", "not a path"), (&shipped(), "not a path"), ("", "not a path"), ("v9", "no bundle")]
    {
        let refusal = peer.ask("policy", Some(name), &mut seen);
        assert!(refusal.as_str().unwrap().contains(says), "{name}: {refusal}");
    }
    let nameless = peer.ask("policy", None, &mut seen);
    assert!(nameless.as_str().unwrap().contains("std_msgs/msg/String"), "{nameless}");
    // Once it was looked at: the file that was altered, the robot that it cannot drive.
    for (name, says) in [("altered", "weights.bin"), ("other-robot", "cannot drive"), ("empty", "bundle.toml")] {
        assert!(peer.ask("policy", Some(name), &mut seen).is_null(), "{name}");
        let refused = format!("policy {name:?} cannot take over");
        let status = peer.status(&mut seen, |status| remarks(status).contains(&refused));
        assert!(remarks(&status).contains(says), "{name}: {status}");
    }
    assert!(peer.ask("episode", None, &mut seen).is_null());
    let driven = peer.status(&mut seen, |status| count(&status["counts"]["episodes"]) == 2);
    let last = peer.status(&mut seen, |status| answers(status) > answers(&driven) + 3 && status["mode"] == "running");
    assert!(statuses(&seen).all(|status| status["policy_id"] == FIRST));
    assert_eq!(count(&last["counts"]["swaps_refused"]), 3, "{last}");
    assert_eq!(count(&last["counts"]["request_policy"]), 4, "{last}");
    assert_eq!(count(&last["counts"]["request_malformed"]), 1, "{last}");
    assert_no_gap(&seen);
    drop(peer);
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn without_a_directory_to_change_to_nobody_changes_the_policy() {
    let daemon = daemon(&[], &[]);
    let (mut peer, mut seen) = (Peer::connect(&daemon.endpoint), Vec::new());
    let refusal = peer.ask("policy", Some("v2"), &mut seen);
    assert!(refusal.as_str().unwrap().contains("policy.swap_from"), "{refusal}");
}

/// The next look is told the new instruction, the status says it, and what was planned for the old one is dropped.
#[test]
fn another_instruction_is_in_force_from_the_next_look_on_and_the_arm_brakes_until_then() {
    let daemon = daemon(&[], &[]);
    let (mut peer, mut seen) = (Peer::connect(&daemon.endpoint), Vec::new());
    let before = peer.status(&mut seen, |_| true);
    assert!(remarks(&before).contains("no instruction yet"), "{before}");
    let before = drive(&mut peer, &mut seen);
    assert_eq!(before["instruction"], "open the drawer");
    let held = count(&before["counts"]["gate_nothing_planned"]);
    let replaced = count(&before["counts"]["instructions_replaced"]);
    peer.instruct("close the drawer");
    let told = peer.status(&mut seen, |status| status["instruction"] == "close the drawer");
    let after = peer.status(&mut seen, |status| answers(status) > answers(&told) + 3 && status["mode"] == "running");
    assert_eq!(count(&after["counts"]["instructions_replaced"]), replaced + 1, "{after}");
    assert!(count(&after["counts"]["gate_nothing_planned"]) > held, "{after}");
    // The same again changes nothing: whoever repeats an instruction does not stop the arm.
    let held = count(&after["counts"]["gate_nothing_planned"]);
    peer.instruct("close the drawer");
    let same = peer.status(&mut seen, |status| answers(status) > answers(&after) + 3);
    assert_eq!(count(&same["counts"]["instructions_replaced"]), replaced + 1, "{same}");
    assert_eq!(count(&same["counts"]["gate_nothing_planned"]), held, "{same}");
    assert_no_gap(&seen);
}

/// `GET /metrics`, the body.
fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/openmetrics-text"), "{head}");
    body.to_owned()
}

/// Every sample, as the parser of Prometheus' own Python library reads the text: name, labels, value.
fn parsed(text: &str) -> Vec<(String, Value, f64)> {
    const PARSE: &str = "import json,sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        print(json.dumps([[s.name, s.labels, s.value] for f in parse(sys.stdin.read()) for s in f.samples]))";
    let mut parser = Command::new(python());
    let mut parser = parser.args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "Prometheus would refuse this: {text}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The text is what Prometheus reads, and says the same as `status`.
#[test]
fn metrics_are_read_by_prometheus_own_parser_and_count_what_the_status_counts() {
    let dry_run = ("dry_run", "dry_run = false\nmetrics = \"127.0.0.1:0\"");
    let daemon = daemon(&[dry_run], &[]);
    let address = daemon.said("metrics on http://").trim_end_matches("/metrics").to_owned();
    let before = parsed(&scrape(&address));
    let value = |samples: &[(String, Value, f64)], name: &str, labels: &[(&str, &str)]| {
        let fits = |found: &Value| labels.iter().all(|(label, value)| found[label] == *value);
        samples.iter().find(|(found, of, _)| found == name && fits(of)).map(|(_, _, value)| *value)
    };
    assert_eq!(value(&before, "egogrid_state_age_seconds", &[]), None, "what never came has no age");
    assert_eq!(value(&before, "egogrid_answers_total", &[("outcome", "taken")]), Some(0.0), "and counters begin at 0");
    let (mut peer, mut seen) = (Peer::connect(&daemon.endpoint), Vec::new());
    drive(&mut peer, &mut seen);
    assert!(peer.ask("policy", Some("v2"), &mut seen).is_string());
    let status = peer.status(&mut seen, |status| count(&status["counts"]["request_policy"]) == 1);
    peer.status(&mut seen, |later| answers(later) > answers(&status)); // the figures are shown after the status
    let samples = parsed(&scrape(&address));
    let get = |name: &str, labels: &[(&str, &str)]| {
        value(&samples, name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {samples:#?}"))
    };
    assert_eq!(get("egogrid_refusals_total", &[("source", "request"), ("kind", "policy")]), 1.0);
    assert!(get("egogrid_answers_total", &[("outcome", "taken")]) >= answers(&status) as f64);
    assert_eq!(get("egogrid_policy_info", &[("policy_id", FIRST)]), 1.0);
    assert_eq!(get("egogrid_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert_eq!((get("egogrid_episode", &[]), get("egogrid_episodes_total", &[])), (1.0, 1.0));
    assert_eq!(get("egogrid_stopped", &[("reason", "operator")]), 0.0);
    let modes: f64 =
        ["running", "holding", "stopped", "ending"].map(|mode| get("egogrid_mode", &[("mode", mode)])).iter().sum();
    assert_eq!(modes, 1.0);
    for age in ["egogrid_observation_age_seconds", "egogrid_picture_age_seconds", "egogrid_state_age_seconds"] {
        assert!((0.0..60.0).contains(&get(age, &[])), "{age}");
    }
    let histograms = ["tick_lateness", "look_duration", "answer_age", "outside_onnx_duration"];
    for name in histograms.map(|name| format!("egogrid_{name}_seconds")) {
        let counted = get(&format!("{name}_count"), &[]);
        assert_eq!(get(&format!("{name}_bucket"), &[("le", "+Inf")]), counted, "{name}");
        assert!(counted > 0.0 && get(&format!("{name}_sum"), &[]) > 0.0, "{name}");
    }
    for stage in ["preprocess", "depth", "ego3d", "vision", "prefill", "decode", "grid", "unnormalize"] {
        assert!(get("egogrid_stage_duration_seconds_count", &[("stage", stage)]) > 0.0, "{stage}");
    }
    assert!(get("egogrid_resident_memory_bytes", &[]) > 1e6);
    // Nothing that the status counts is missing.
    let counters: f64 = samples.iter().filter(|(name, ..)| name.ends_with("_total")).map(|(.., value)| value).sum();
    let told: u64 = status["counts"].as_object().unwrap().values().map(count).sum();
    assert!(counters >= told as f64, "{counters} {told}");
    drop(peer);
    assert_eq!(daemon.end().0, Some(0));
}

/// Stands in for systemd: what the process tells it, in order. It always listens: the process would wait otherwise.
struct Manager {
    messages: Receiver<String>,
    _dir: tempfile::TempDir,
    path: String,
}

impl Manager {
    fn listen() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (send, messages) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = socket.recv(&mut bytes) {
                if send.send(String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned()).is_err() {
                    break;
                }
            }
        });
        Self { messages, _dir: dir, path }
    }

    /// The first message of which `found` is true; it and those before it are added to `seen`.
    fn until(&self, seen: &mut Vec<String>, found: impl Fn(&str) -> bool) -> String {
        loop {
            let message = self.messages.recv_timeout(PATIENCE).unwrap();
            seen.push(message.clone());
            if found(&message) {
                return message;
            }
        }
    }
}

#[test]
fn systemd_learns_that_the_daemon_is_ready_alive_and_stopping_in_this_order() {
    let manager = Manager::listen();
    let daemon = daemon(&[], &[("NOTIFY_SOCKET", &manager.path), ("WATCHDOG_USEC", "1000000")]);
    let mut seen = Vec::new();
    assert_eq!(manager.until(&mut seen, |_| true), "READY=1", "nothing before it");
    // The ears are open: a request that comes right now is answered.
    let (mut peer, mut events) = (Peer::connect(&daemon.endpoint), Vec::new());
    assert!(peer.ask("rearm", None, &mut events).is_null());
    for _ in 0..3 {
        manager.until(&mut seen, |message| message == "WATCHDOG=1");
    }
    drive(&mut peer, &mut events);
    let status = manager.until(&mut seen, |message| message.starts_with("STATUS=running"));
    assert!(status.contains(FIRST), "{status}");
    assert!(!seen.iter().any(|message| message == "STOPPING=1"), "{seen:?}");
    drop(peer);
    let (code, ..) = daemon.end();
    assert_eq!(code, Some(0));
    seen.extend(manager.messages.try_iter());
    let stopping: Vec<usize> = (0..seen.len()).filter(|at| seen[*at] == "STOPPING=1").collect();
    assert_eq!(stopping.len(), 1, "{seen:?}");
    assert!(seen.iter().filter(|message| *message == "READY=1").count() == 1 && seen[0] == "READY=1", "{seen:?}");
    assert!(!seen[stopping[0]..].iter().any(|message| message.starts_with("STATUS=running")), "{seen:?}");
}
