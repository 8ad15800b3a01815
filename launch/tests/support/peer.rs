//! A robot, its camera and its operator in one process, without a world: pictures of a bundle's golden case at 20 Hz, a state
//! that never changes, and everything that the daemon says as lines of JSON.

use super::daemon::{Process, python};
use super::root;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than anything takes here, on a machine that is busy with other things too.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Peer {
    process: Process,
    events: Receiver<Value>,
}

impl Peer {
    /// Connects; pictures come from now on.
    pub(crate) fn connect(endpoint: &str) -> Self {
        let mut command = Command::new(python());
        command
            .args(["-u", root().join("launch/tests/support/peer.py").to_str().unwrap()])
            .args(["--connect", endpoint]);
        command
            .args(["--golden", root().join("policies/shipped/metaworld/bundle/golden.safetensors").to_str().unwrap()]);
        command.env("PYTHONPATH", root().join("sim_bridge/sim_worker/src"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut process = Process::from(child);
        let lines = BufReader::new(process.child().stdout.take().unwrap()).lines();
        let (send, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if send.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { process, events }
    }

    fn write(&mut self, line: &Value) {
        writeln!(self.process.child().stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Asks `do/<what>`; the refusal, or null. What happened meanwhile is added to `seen`.
    pub(crate) fn ask(&mut self, what: &str, text: Option<&str>, seen: &mut Vec<Value>) -> Value {
        self.write(&json!({"ask": what, "text": text}));
        self.until(seen, |event| event["event"] == "answer")["refusal"].clone()
    }

    pub(crate) fn instruct(&mut self, text: &str) {
        self.write(&json!({"instruction": text}));
    }

    /// Waits for the first event of which `found` is true; it and those before it are added to `seen`.
    pub(crate) fn until(&self, seen: &mut Vec<Value>, found: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                let newest: Vec<&Value> =
                    seen.iter().rev().filter(|event| event["event"] == "status").take(2).collect();
                panic!("{error} after {} events, the last status {newest:#?}", seen.len())
            });
            seen.push(event.clone());
            if found(&event) {
                return event;
            }
        }
    }

    /// Waits for a status of which `found` is true.
    pub(crate) fn status(&self, seen: &mut Vec<Value>, found: impl Fn(&Value) -> bool) -> Value {
        self.until(seen, |event| event["event"] == "status" && found(event))
    }
}

/// The statuses among `events`.
pub(crate) fn statuses(events: &[Value]) -> impl Iterator<Item = &Value> {
    events.iter().filter(|event| event["event"] == "status")
}

/// Numbers of the commands among `events`, as they came.
pub(crate) fn sequences(events: &[Value]) -> Vec<u64> {
    let commands = events.iter().filter(|event| event["event"] == "command");
    commands.map(|event| event["sequence"].as_u64().unwrap()).collect()
}
