//! The live view on real processes: what it shows, and that it refuses in words what it cannot show.
//!
//! Needs the Python environment (`EGOGRID_PYTHON` or `.venv`) and ONNX Runtime, both put there by `./launch/test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::daemon::{Daemon, Process, count, drain, egogrid, episode_of};
use support::root;

fn bundle() -> PathBuf {
    root().join("policies/shipped/metaworld/bundle")
}

/// Entities of a recording, and how many rows each has.
fn entities(rrd: &Path) -> BTreeMap<String, u64> {
    egogrid_launch::view::entities(rrd).unwrap()
}

fn view(daemon: &Daemon, more: &[&str]) -> Command {
    let mut command = egogrid(&["view", "--connect", &daemon.endpoint, "--json"]);
    command.args(more).stdin(Stdio::null());
    command
}

/// From outside, and from inside the daemon: the same entities.
#[test]
fn a_view_shows_what_the_robot_sees_chooses_and_does() {
    let scratch = tempfile::tempdir().unwrap();
    let (outside, inside) = (scratch.path().join("outside.rrd"), scratch.path().join("inside.rrd"));
    let embedded = format!("dry_run = false\nview = \"{}\"", inside.display());
    let daemon = Daemon::start(&[("dry_run", &embedded)]);
    let shown = ["--bundle", bundle().to_str().unwrap(), "--for", "decision", "--save", outside.to_str().unwrap()]
        .map(str::to_owned);
    let mut viewer = Process::spawn(&mut view(&daemon, &shown.each_ref().map(String::as_str)));
    let mut errors = viewer.errors();
    support::daemon::after(&mut errors, "viewing sim0");
    let errors = drain(errors);
    episode_of(&daemon, "60");
    viewer.signal("TERM");
    let ended = viewer.wait();
    let said = errors.join().unwrap();
    let figures: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{said}"));
    let (code, summary, said) = daemon.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(ended.status.success() && count(&figures["pictures"]) > 5, "{figures} {said}");
    assert_eq!(count(&figures["unreadable"]), 0, "{figures}");
    assert!(!summary["remarks"].to_string().contains("view:"), "{summary}");
    for path in [outside, inside] {
        let found = entities(&path);
        for entity in [
            "/world/camera/rgb",
            "/world/camera/depth",
            "/world/camera/patches",
            "/world/cloud",
            "/world/ego3d",
            "/world/gripper/path",
            "/world/chunk/rest",
            "/world/chunk/executed",
            "/world/gate/why/text",
            "/world/workspace",
            "/tokens/chosen",
            "/tokens/runner_up",
            "/confidence",
            "/decision",
            "/progress",
            "/gripper/command",
            "/gripper/measured",
            "/command/age_ms",
            "/command/hold",
            "/time/stacked/vision",
            "/time/stacked/decode",
            "/looks/took_ms",
            "/ticks/tick_late_p99",
            "/ages/picture_age",
            "/counts/looks",
            "/view/pictures_left_out",
            "/log",
            "/run_info",
        ] {
            assert!(found.contains_key(entity), "{}: no {entity} in {:?}", path.display(), found.keys());
        }
    }
}

/// A recording is shown like a running robot, with every picture; a damaged one up to its damage, which has a byte.
#[test]
fn a_view_of_a_recording_shows_every_look_of_it() {
    let scratch = tempfile::tempdir().unwrap();
    let rrd = scratch.path().join("played.rrd");
    let recording = root().join("tests/recordings/metaworld-gate/recording.mcap");
    let played = |recording: &Path, rrd: &Path| {
        let bundle = bundle();
        let shown = ["--bundle", bundle.to_str().unwrap(), "--save", rrd.to_str().unwrap(), "--json"];
        egogrid(&["view", "--recording", recording.to_str().unwrap()]).args(shown).output().unwrap()
    };
    let output = played(&recording, &rrd);
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && count(&figures["unreadable"]) == 0, "{figures}");
    assert_eq!(count(&figures["pictures_left_out"]) + count(&figures["messages_left_out"]), 0);
    let found = entities(&rrd);
    for (entity, rows) in [
        ("/world/camera/rgb", 4),
        ("/world/camera/depth", 4),
        ("/world/cloud", 4),
        ("/decision", 4),
        ("/tokens/chosen", 4),
    ] {
        assert!(found.get(entity).is_some_and(|found| *found >= rows), "{entity}: {found:?}");
    }
    for entity in ["/world/gripper/path", "/world/chunk/rest", "/world/workspace", "/log", "/run_info"] {
        assert!(found.contains_key(entity), "no {entity} in {:?}", found.keys());
    }
    let mut bytes = std::fs::read(&recording).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    let damaged = scratch.path().join("damaged.mcap");
    std::fs::write(&damaged, bytes).unwrap();
    for (recording, code, says) in
        [(damaged.as_path(), 3, "damaged.mcap, byte "), (Path::new("none.mcap"), 2, "No such file")]
    {
        let output = played(recording, &scratch.path().join("other.rrd"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && errors.contains(says), "{:?} {errors}", output.status);
    }
}

/// With a policy of the view's own: the daemon's looks are explained, and it computes nothing for that.
#[test]
fn a_view_says_how_probable_every_cell_was_and_what_each_patch_is_worth() {
    let scratch = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[]);
    for (why, patches_shown) in [("occlusion", true), ("cells", false)] {
        let rrd = scratch.path().join(format!("{why}.rrd"));
        let bundle = bundle();
        let shown = ["--bundle", bundle.to_str().unwrap(), "--explain", why, "--occlusion-patches", "4"];
        let saved = ["--for", "decision", "--save", rrd.to_str().unwrap()];
        let mut viewer = Process::spawn(&mut view(&daemon, &[&shown[..], &saved[..]].concat()));
        let mut errors = viewer.errors();
        support::daemon::after(&mut errors, "viewing sim0");
        let errors = drain(errors);
        episode_of(&daemon, "60");
        viewer.signal("TERM");
        let ended = viewer.wait();
        let said = errors.join().unwrap();
        let figures: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{said}"));
        assert!(ended.status.success() && count(&figures["explained"]) > 0, "{why}: {figures} {said}");
        let found = entities(&rrd);
        let rows = |entity: &str| found.get(entity).copied().unwrap_or_default();
        assert!(rows("/tokens/cells_probability") > 0, "{why}: {found:?}");
        for entity in ["/world/camera/weights", "/world/explained"] {
            assert_eq!(rows(entity) > 0, patches_shown, "{why}, {entity}: {found:?}");
        }
    }
    let (code, _, said) = daemon.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_view_that_cannot_be_is_refused_with_what_to_do() {
    let scratch = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[]);
    let nowhere = scratch.path().join("none/a.rrd");
    let wrong = |command: &mut Command, code: i32, says: &str| {
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && errors.contains(says), "{says}: {:?} {errors}", output.status);
    };
    // No viewer on this path.
    wrong(view(&daemon, &[]).env("PATH", scratch.path()), 4, "pip install rerun-sdk");
    wrong(&mut view(&daemon, &["--viewer", "rerun+http://127.0.0.1:1/proxy"]), 4, "nothing answers there");
    wrong(&mut view(&daemon, &["--save", nowhere.to_str().unwrap()]), 4, "cannot open the view");
    // Nothing to explain with, and blocks larger than the picture.
    wrong(&mut view(&daemon, &["--explain", "cells", "--save", "a.rrd"]), 2, "--bundle");
    let bundle = bundle();
    let coarse = ["--bundle", bundle.to_str().unwrap(), "--explain", "occlusion", "--occlusion-patches", "9"];
    wrong(&mut view(&daemon, &coarse), 2, "expected 1 to 8");
    wrong(&mut egogrid(&["view", "--connect", "tcp/127.0.0.1:1", "--save", "a.rrd"]), 4, "127.0.0.1:1");
    wrong(&mut egogrid(&["view", "--connect", &daemon.endpoint, "--robot", "Arm 1", "--save", "a.rrd"]), 2, "a-z");
}
