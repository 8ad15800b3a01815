//! Every recording below `tests/recordings/` is replayed: `egogrid replay F.mcap BUNDLE --freeze tests/recordings/NAME` adds one.
//!
//! A promise of each: the same pictures give the same tokens and the gate lets the same actions through, on every machine that the
//! tests run on. Stages are not asked to be bit-equal: another processor rounds otherwise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use egogrid_launch::commands::replay::FrozenReplay;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_frozen_recording_is_replayed_to_the_same_tokens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found: Vec<PathBuf> =
        fs::read_dir(root.join("tests/recordings")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.is_dir());
    assert!(!found.is_empty(), "tests/recordings holds none");
    for dir in found {
        let text = fs::read_to_string(dir.join("replay.toml")).unwrap();
        let frozen: FrozenReplay = toml::from_str(&text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_egogrid"))
            .arg("replay")
            .args([dir.join("recording.mcap"), root.join(&frozen.bundle)])
            .args(["--json", "--threads", "1"])
            .env("EGOGRID_ROOT", root)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}: {errors}", dir.display()));
        let name = dir.display();
        assert_eq!(
            report["replayed"]["bundle_sha256"].as_str(),
            Some(frozen.bundle_sha256.as_str()),
            "{name}: the bundle is another one; freeze the recording again"
        );
        assert!(output.status.success(), "{name}: {report}\n{errors}");
        assert_eq!(report["looks_replayed"].as_u64(), Some(frozen.looks), "{name}: {report}");
    }
}
