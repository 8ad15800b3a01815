//! `egogrid eval` on several processes that share nothing but a connection: the same episodes, whoever runs them and whatever is killed meanwhile.
//!
//! Needs the Python environment (`EGOGRID_PYTHON` or `.venv`) and ONNX Runtime, both put there by `./launch/test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)] // it waits for other processes

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{egogrid, root, stderr};

fn plan(dir: &Path, seed: u32) -> PathBuf {
    let bundle = root().join("policies/shipped/metaworld/bundle");
    let path = dir.join(format!("{seed}.toml"));
    let text = format!(
        "simulator = \"metaworld\"\ntasks = [\"drawer-close\", \"window-open\"]\nepisodes = 3\nseed = {seed}\n\
         policy = {{ bundle = \"{}\" }}\n",
        bundle.display()
    );
    fs::write(&path, text).unwrap();
    path
}

/// By task and seed: what was done, to the last bit; and who did it.
fn episodes(out: &Path) -> (BTreeMap<String, u64>, BTreeSet<String>) {
    let text = fs::read_to_string(out.join("episodes.jsonl")).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let name = |record: &Value| format!("{} {}", record["task"], record["seed"]);
    let found: BTreeMap<String, u64> =
        records.iter().map(|record| (name(record), record["actions_crc32"].as_u64().unwrap())).collect();
    assert_eq!(found.len(), records.len(), "an episode twice: {text}");
    (found, records.iter().map(|record| record["node"].as_str().unwrap_or("").to_owned()).collect())
}

fn done(out: &Path) -> usize {
    fs::read_to_string(out.join("episodes.jsonl")).map_or(0, |text| text.lines().count())
}

fn free_endpoint() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("tcp/127.0.0.1:{port}")
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_egogrid"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn counter(config: &Path, out: &Path, endpoint: &str, workers: &str) -> Child {
    let [config, out] = [config, out].map(|path| path.to_str().unwrap());
    spawn(&["eval", config, "--out", out, "--serve", endpoint, "--workers", workers, "--json"])
}

fn node(config: &Path, endpoint: &str, name: &str) -> Child {
    let arguments = ["--workers", "1", "--node", name, "--patience-s", "60"];
    spawn(&[&["eval", "join", config.to_str().unwrap(), "--connect", endpoint], arguments.as_slice()].concat())
}

/// A node started before its counter listens ends at once, as any command to which nobody answers; a cluster starts it again.
fn joined(config: &Path, endpoint: &str, name: &str) -> Child {
    let begun = Instant::now();
    let place = endpoint.trim_start_matches("tcp/");
    while std::net::TcpStream::connect(place).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(120), "nobody listens on {endpoint}");
        std::thread::sleep(Duration::from_millis(50));
    }
    node(config, endpoint, name)
}

fn ended(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(180), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nodes_and_the_counter_itself_are_killed_and_no_number_changes() {
    let scratch = tempfile::tempdir().unwrap();
    let config = plan(scratch.path(), 410_000);
    let [alone, together] = ["alone", "together"].map(|name| scratch.path().join(name));
    let output = egogrid(&["eval", config.to_str().unwrap(), "--out", alone.to_str().unwrap(), "--workers", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));

    let endpoint = free_endpoint();
    let mut first = counter(&config, &together, &endpoint, "0");
    let mut doomed = joined(&config, &endpoint, "doomed");
    let survivor = node(&config, &endpoint, "survivor");
    wait_until("nobody brought anything", || done(&together) >= 1);
    doomed.kill().unwrap(); // SIGKILL, with episodes in its hands
    doomed.wait().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    // What was found meanwhile is brought to the next one; what the other node held is run again.
    let output = ended(counter(&config, &together, &endpoint, "1"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["complete"], &report["suite"]["episodes"]), (&true.into(), &6.into()));
    let said = ended(survivor);
    assert!(stderr(&said).contains("node survivor: "), "{}", stderr(&said));

    let (found, nodes) = episodes(&together);
    assert_eq!(found, episodes(&alone).0);
    assert!(nodes.contains("survivor"), "{nodes:?}");
}

#[test]
fn a_node_with_another_plan_is_sent_away_and_one_without_a_counter_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let config = plan(scratch.path(), 410_000);
    let endpoint = free_endpoint();
    let output = node(&config, &endpoint, "lonely").wait_with_output().unwrap();
    assert!(output.status.code() == Some(4) && stderr(&output).contains("127.0.0.1"), "{}", stderr(&output));

    let mut counter = counter(&config, &scratch.path().join("run"), &endpoint, "0");
    let output = joined(&plan(scratch.path(), 7), &endpoint, "stranger").wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("must be the same on both sides"), "{}", stderr(&output));
    counter.kill().unwrap();
    counter.wait().unwrap();

    let nobody = egogrid(&["eval", config.to_str().unwrap(), "--out", "nowhere", "--workers", "0"]);
    assert!(nobody.status.code() == Some(2) && stderr(&nobody).contains("--serve"), "{}", stderr(&nobody));
}
