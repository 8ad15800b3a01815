//! `egogrid eval compare` and `eval report` on runs that were really made (`fixtures/evaluation`); no simulator is needed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use support::{egogrid, root, stderr, stdout_json};

fn fixture(name: &str) -> PathBuf {
    root().join("launch/tests/fixtures/evaluation").join(name)
}

fn compare(a: &Path, b: &Path, more: &[&str]) -> std::process::Output {
    egogrid(&[&["eval", "compare", a.to_str().unwrap(), b.to_str().unwrap()], more].concat())
}

/// A copy of a run in which `from` is `to`.
fn changed(run: &str, file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["run.json", "episodes.jsonl"] {
        let text = fs::read_to_string(fixture(run).join(name)).unwrap();
        let text = if name == file {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        } else {
            text
        };
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn close(value: &Value, expected: f64) {
    let found = value.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found}, expected {expected}");
}

#[test]
fn runs_are_paired_by_task_and_seed() {
    let found = stdout_json(&compare(&fixture("a"), &fixture("b"), &["--json"]));
    let suite = &found["suite"];
    assert_eq!(suite["pairs"], serde_json::json!({"both": 20, "only_a": 0, "only_b": 0, "neither": 0}));
    assert_eq!((&suite["p"], &suite["difference"], &suite["more_pairs"]), (&1.0.into(), &0.0.into(), &Value::Null));
    let unpaired = found["unpaired"].as_array().unwrap();
    assert_eq!(unpaired.len(), 8);
    assert_eq!(unpaired[0], serde_json::json!({"task": "door-open", "seed": 500_000, "why": "only A ran it"}));
    let text = String::from_utf8(compare(&fixture("a"), &fixture("b"), &[]).stdout).unwrap();
    for told in ["10/10", "Not separated by these 20 pairs", "at least 6 have to differ", "8 episodes have no partner"]
    {
        assert!(text.contains(told), "{told}: {text}");
    }
}

/// Figures: statsmodels' exact McNemar test of 10, 0 and of 12, 0; Newcombe's paired interval of 12 of 12 against 2 of 12.
#[test]
fn arms_of_one_run_are_compared_with_the_right_figures() {
    let found = stdout_json(&compare(&fixture("a"), &fixture("a"), &["--arm-b", "latency_ms=75", "--json"]));
    let [drawer, door] = [0, 1].map(|task| found["tasks"][task].clone());
    assert_eq!((&drawer[0], &door[0]), (&"drawer-open".into(), &"door-open".into()));
    close(&drawer[1]["p"], 2.0 / 1024.0);
    close(&door[1]["p"], 2.0 / 4096.0);
    close(&found["suite"]["p"], 2.0 / f64::from(1 << 22));
    close(&drawer[1]["difference"], -10.0 / 12.0);
    close(&drawer[1]["b"]["interval"][0], 0.046_965_142_183_853_81);
    close(&drawer[1]["interval"][0], -0.953_034_857_816_146_3);
    close(&drawer[1]["interval"][1], -0.461_891_340_793_930_96);
    let verdict = found["suite"]["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("A solves more of these episodes: it won 22 of the 22 pairs"), "{verdict}");
    assert!(found["note"].as_str().unwrap().starts_with("2 of 2 tasks"));
}

#[test]
fn a_page_is_written_and_needs_nothing_from_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("compare.html");
    let output = compare(&fixture("a"), &fixture("a"), &["--arm-b", "latency_ms=75", "--html", page.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("drawer-open") && page.contains("A solves more") && page.contains("--arm-b latency_ms=75"));
    for outside in ["http://", "https://", "src=", "<link", "<script", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let refused = |b: &Path, more: &[&str], says: &str| {
        let output = compare(&fixture("a"), b, more);
        assert_eq!(output.status.code(), Some(2), "{says}");
        assert!(stderr(&output).contains(says), "{says}: {}", stderr(&output));
    };
    let steps = changed("b", "run.json", "\"steps_max\": 200", "\"steps_max\": 500");
    refused(steps.path(), &[], "differ in steps_max: 200 and 500");
    let simulator = changed("b", "run.json", "metaworld 3.1.1", "metaworld 2.0.0");
    refused(simulator.path(), &[], "differ in simulator: metaworld 3.1.1 and metaworld 2.0.0");
    let tasks = changed("b", "run.json", "\"door-open\"", "\"door-close\"");
    refused(tasks.path(), &[], "differ in tasks");
    let seeds = changed("b", "episodes.jsonl", "\"seed\":5000", "\"seed\":6000");
    refused(seeds.path(), &[], "share no episode");
    refused(&fixture("b"), &["--arm-b", "light=2"], "has no arm \"light=2\", only [\"base\"]");
    let damaged = changed("b", "episodes.jsonl", "\"steps\":9", "\"steps\":\"x\",\"y\":9");
    refused(damaged.path(), &[], "line ");
    refused(&fixture("none"), &[], "run.json");
}

#[test]
fn a_report_is_written_again_of_what_is_there() {
    let dir = changed("a", "run.json", "\"episodes_per_task\": 12", "\"episodes_per_task\": 20");
    let output = egogrid(&["eval", "report", dir.path().to_str().unwrap(), "--json"]);
    let report = stdout_json(&output);
    assert_eq!((&report["complete"], &report["suite"]["mean"]), (&false.into(), &1.0.into()));
    assert_eq!(report["arms"][1]["tasks"]["drawer-open"]["successes"], 2);
    assert_eq!(report["failures"].as_array().unwrap().len(), 22);
    assert_eq!(report["failures"][0]["why"], "not solved within 200 steps");
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    assert!(page.contains("Not finished") && page.contains("latency_ms"), "{page}");
    assert!(fs::read(dir.path().join("episodes.parquet")).unwrap().starts_with(b"PAR1"));
    let written: Value = serde_json::from_slice(&fs::read(dir.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(written, report);
}
