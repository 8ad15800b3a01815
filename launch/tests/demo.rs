//! The main job with nothing replaced: MuJoCo renders, the shipped policy decides, zenoh carries, files are written.
//!
//! Needs the Python environment (`EGOGRID_PYTHON` or `.venv`, made by `./launch/test`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn demo(args: &[&str], out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egogrid"));
    command.arg("demo").args(args).arg("--out").arg(out).env("EGOGRID_ROOT", root());
    command
}

/// A full disk, or anything else in the way of the file.
#[test]
fn a_summary_that_cannot_be_written_is_printed_all_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    fs::create_dir(scratch.path().join("summary.json")).unwrap();
    let args = ["--tasks", "drawer-close", "--episodes", "1", "--no-recording", "--json"];
    let output = demo(&args, scratch.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && errors.contains("was not written"), "{errors}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["tasks"]["drawer-close"]["episodes"].as_u64(), Some(1));
    assert!(!scratch.path().join("summary.json.part").exists());
}

#[test]
fn one_look_at_the_main_job_from_end_to_end() {
    let scratch = tempfile::tempdir().unwrap();
    let output = demo(&["--tasks", "drawer-close", "--episodes", "2", "--json"], scratch.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let written: Value = serde_json::from_slice(&fs::read(scratch.path().join("summary.json")).unwrap()).unwrap();
    assert_eq!(printed, written, "what is printed is what is written");
    let task = &written["tasks"]["drawer-close"];
    assert_eq!((task["episodes"].as_u64(), task["harness_failures"].as_u64()), (Some(2), Some(0)), "{task}");
    // The policy closes a drawer nearly always; both failing means that something between camera and arm is wrong.
    assert!(task["successes"].as_u64().unwrap() >= 1, "{written}");
    for stage in ["preprocess", "depth", "ego3d", "vision", "prefill", "decode", "safety", "observation_to_chunk"] {
        assert!(written["latency_ms"][stage]["p50"].as_f64().unwrap() > 0.0, "{stage}");
    }
    let rrd = fs::read(scratch.path().join("demo.rrd")).unwrap();
    assert!(rrd.starts_with(b"RRF") && rrd.len() > 100_000, "{} bytes", rrd.len());
    let mp4 = fs::read(scratch.path().join("demo.mp4")).unwrap();
    assert_eq!(&mp4[4..8], b"ftyp");
}

#[test]
fn an_unknown_task_is_refused_before_anything_moves() {
    let scratch = tempfile::tempdir().unwrap();
    let output = demo(&["--tasks", "make-coffee", "--episodes", "1"], scratch.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("make-coffee") && errors.contains("drawer-open"), "{errors}");
}

/// kill -9 of the simulator in the middle of an episode: that episode is the harness's failure and not the policy's, the
/// simulator is started again, and the rest of the episodes are run.
#[test]
fn a_killed_simulator_is_a_harness_failure_and_the_demo_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = demo(&["--tasks", "drawer-close", "--episodes", "3", "--no-recording"], scratch.path());
    command.env("EGOGRID_LOG", "egogrid_launch=info").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = child.id().to_string();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line.contains("episode begins")), "no episode began");
    let worker = children(&pid).into_iter().next().expect("the simulator's process");
    assert!(Command::new("sh").args(["-c", &format!("kill -9 {worker}")]).status().unwrap().success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{rest:#?}");
    let written: Value = serde_json::from_slice(&fs::read(scratch.path().join("summary.json")).unwrap()).unwrap();
    let task = &written["tasks"]["drawer-close"];
    assert_eq!((task["episodes"].as_u64(), task["harness_failures"].as_u64()), (Some(2), Some(1)), "{written}");
    assert_eq!(written["episodes"][0]["outcome"]["kind"], "harness");
}

/// Processes whose parent is `parent`: field 4 of `/proc/PID/stat`, after the name in parentheses.
fn children(parent: &str) -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_child = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(parent)
    };
    pids.filter(is_child).collect()
}

/// Ctrl-C: exit code 130, and a summary of what was done.
#[test]
fn an_interrupted_demo_leaves_its_summary() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = demo(&["--tasks", "drawer-close", "--episodes", "500", "--no-recording"], scratch.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id().to_string();
    let patience = Instant::now() + Duration::from_secs(120);
    while children(&pid).is_empty() {
        assert!(Instant::now() < patience && child.try_wait().unwrap().is_none(), "the simulator never started");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().unwrap().success());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < patience, "still running after the interrupt");
        std::thread::park_timeout(Duration::from_millis(50));
    };
    assert_eq!(status.code(), Some(130));
    let written: Value = serde_json::from_slice(&fs::read(scratch.path().join("summary.json")).unwrap()).unwrap();
    assert!(written["tasks"]["drawer-close"]["episodes"].as_u64().unwrap() < 500);
}
