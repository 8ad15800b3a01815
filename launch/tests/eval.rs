//! `egogrid eval` on the real simulator: an episode is the same each time it runs, whoever runs it and whatever is killed meanwhile.
//!
//! Needs the Python environment (`EGOGRID_PYTHON` or `.venv`) and ONNX Runtime, both put there by `./launch/test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)] // it waits for other processes

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{egogrid, root, stderr, stdout_json};

/// Two tasks, two seeds; `more` goes behind.
fn plan(dir: &Path, more: &str) -> PathBuf {
    let bundle = root().join("policies/shipped/metaworld/bundle");
    let path = dir.join("eval.toml");
    let text = format!(
        "simulator = \"metaworld\"\ntasks = [\"drawer-close\", \"window-open\"]\nepisodes = 2\nseed = 400000\n\
         {more}\n[policy]\nbundle = \"{}\"\n",
        bundle.display()
    );
    fs::write(&path, text).unwrap();
    path
}

fn eval(config: &Path, out: &Path, workers: &str) -> std::process::Output {
    egogrid(&["eval", config.to_str().unwrap(), "--out", out.to_str().unwrap(), "--workers", workers, "--json"])
}

/// By arm, task and seed: what was done, to the last bit, and how it ended.
fn episodes(out: &Path) -> BTreeMap<String, (u64, u64, String)> {
    let text = fs::read_to_string(out.join("episodes.jsonl")).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: BTreeMap<String, (u64, u64, String)> = records
        .iter()
        .map(|record| {
            let name = format!("{} {} {}", record["arm"], record["task"], record["seed"]);
            let number = |key: &str| record[key].as_u64().unwrap();
            (name, (number("actions_crc32"), number("steps"), record["outcome"]["kind"].to_string()))
        })
        .collect();
    assert_eq!(found.len(), records.len(), "an episode twice: {text}");
    found
}

#[test]
fn an_episode_is_the_same_on_one_worker_and_on_two_and_says_what_it_should() {
    let scratch = tempfile::tempdir().unwrap();
    let config = plan(scratch.path(), "");
    let [one, two] = ["one", "two"].map(|name| scratch.path().join(name));
    let output = eval(&config, &one, "1");
    assert!(output.status.success(), "{}", stderr(&output));
    let report = stdout_json(&output);
    assert_eq!(stdout_json(&eval(&config, &two, "2"))["complete"], true);
    assert_eq!(episodes(&one), episodes(&two));
    assert_eq!(episodes(&one).len(), 4);

    let written: Value = serde_json::from_slice(&fs::read(one.join("report.json")).unwrap()).unwrap();
    assert_eq!(written, report);
    let task = &report["tasks"]["drawer-close"];
    assert_eq!((&task["successes"], &task["episodes"], &task["harness_failures"]), (&2.into(), &2.into(), &0.into()));
    // Wilson at 2 of 2.
    assert!((task["interval"][0].as_f64().unwrap() - 0.342_380).abs() < 1e-5, "{task}");
    assert_eq!(report["suite"]["mean"], 1.0);
    assert!(report["suite"]["interval"][0].as_f64().unwrap() < 0.9 && report["suite"]["interval"][1] == 1.0);
    assert!(!task["warnings"].as_array().unwrap().is_empty(), "two episodes are few: {task}");
    let parts = report["time"]["parts"].as_array().unwrap();
    let shares: f64 = parts.iter().map(|part| part["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    let page = fs::read_to_string(one.join("report.html")).unwrap();
    assert!(page.contains("drawer-close") && page.contains("4 of 4"), "{page}");

    assert!(fs::read(one.join("episodes.parquet")).unwrap().starts_with(b"PAR1"));

    // Nothing is left to do, and another plan has no place there.
    let again = eval(&config, &one, "2");
    assert!(again.status.success() && stderr(&again).contains("4 episodes were done already"), "{}", stderr(&again));
    let other = eval(&plan(scratch.path(), "steps_max = 100"), &one, "1");
    assert!(other.status.code() == Some(2) && stderr(&other).contains("another evaluation"), "{}", stderr(&other));

    let compared = egogrid(&["eval", "compare", one.to_str().unwrap(), two.to_str().unwrap(), "--json"]);
    let compared = stdout_json(&compared);
    assert_eq!((&compared["same_actions"], &compared["suite"]["p"]), (&4.into(), &1.0.into()), "{compared}");
    assert_eq!(compared["suite"]["more_pairs"], Value::Null, "nothing differs, so nothing would tell");
}

/// Pids of the workers that belong to `parent`.
fn workers_of(parent: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let of_threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    of_threads
        .chain([children])
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Workers are killed and stopped, then the harness itself in the middle of it; started again, it ends with the same episodes as if
/// nothing had happened.
#[test]
fn killing_anything_changes_no_number() {
    let scratch = tempfile::tempdir().unwrap();
    let config = plan(scratch.path(), "run = { sim_s_max = 10 }");
    let [calm, chaos] = ["calm", "chaos"].map(|name| scratch.path().join(name));
    assert!(eval(&config, &calm, "1").status.success());
    let done = |out: &Path| fs::read_to_string(out.join("episodes.jsonl")).map_or(0, |text| text.lines().count());
    let mut killed = 0;
    for round in 0..3 {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_egogrid"))
            .args(["eval", config.to_str().unwrap(), "--out", chaos.to_str().unwrap(), "--workers", "2"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // In the middle of an episode: after its worker is there, and at the latest when the first one is done.
        let (before, begun) = (done(&chaos), Instant::now());
        while workers_of(harness.id()).is_empty() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(1500 + 700 * round));
        let workers = workers_of(harness.id());
        for pid in &workers {
            // One that is stopped says nothing and does not end either.
            signal(*pid, if round == 1 { "STOP" } else { "KILL" });
            killed += 1;
        }
        while done(&chaos) <= before
            && harness.try_wait().unwrap().is_none()
            && begun.elapsed() < Duration::from_secs(90)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        harness.kill().unwrap(); // SIGKILL
        harness.wait().unwrap();
        // Going on, they see that nobody is there any more.
        workers.iter().for_each(|pid| signal(*pid, "CONT"));
    }
    assert!(killed > 0, "nothing was killed");
    let output = eval(&config, &chaos, "2");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(episodes(&calm), episodes(&chaos));
}

#[test]
fn a_clear_answer_ends_the_run_at_the_same_round_however_many_work() {
    let scratch = tempfile::tempdir().unwrap();
    let config = plan(scratch.path(), "stop = { bar = 0.3 }");
    let text = fs::read_to_string(&config).unwrap().replace("episodes = 2", "episodes = 6");
    fs::write(&config, text).unwrap();
    let [one, two] = ["one", "two"].map(|name| scratch.path().join(name));
    let [report, other] = [(&one, "1"), (&two, "2")].map(|(out, workers)| stdout_json(&eval(&config, out, workers)));
    // Four of four are the first to be clear of 30 %: 1 / 5 of the mixture against 0.3^4, above 20.
    let stop = &report["arms"][0]["stop"];
    assert_eq!((&stop["verdict"], &stop["rounds"], &stop["last_seed"]), (&"above".into(), &2.into(), &400_001.into()));
    assert_eq!((&report["complete"], &report["suite"]["episodes"]), (&true.into(), &4.into()));
    assert_eq!(
        (stop, &report["suite"], &report["tasks"]),
        (&other["arms"][0]["stop"], &other["suite"], &other["tasks"])
    );
    let page = fs::read_to_string(one.join("report.html")).unwrap();
    assert!(page.contains("Stopped after 2 of 6 rounds"), "{page}");
    // Done is done.
    assert!(stderr(&eval(&config, &one, "1")).contains("episodes were done already"));

    // Against that run nothing differs: all rounds that both have, and no answer.
    let config = plan(scratch.path(), &format!("stop = {{ against = \"{}\" }}", one.display()));
    let report = stdout_json(&eval(&config, &scratch.path().join("three"), "2"));
    let stop = &report["arms"][0]["stop"];
    assert_eq!((&stop["verdict"], &stop["rounds"], &report["complete"]), (&"open".into(), &2.into(), &true.into()));
}

#[test]
fn stress_and_the_expert_are_arms_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("stress");
    let path = plan(scratch.path(), "steps_max = 40");
    let sweep = "[sweep]\nlatency_ms = [50.0]\nframes_dropped = [0.5]\ndepth_noise = [0.1]\nlight = [0.4]\ncamera_shift_m = [[0.03, 0.0, 0.0]]\n\
                 paraphrase = [{ \"close the drawer\" = \"shut the drawer\" }]\n";
    let text = fs::read_to_string(&path).unwrap().replace("episodes = 2", "episodes = 1");
    fs::write(&path, format!("{text}{sweep}")).unwrap();
    let report = stdout_json(&eval(&path, &out, "2"));
    let names: Vec<&str> = report["arms"].as_array().unwrap().iter().map(|arm| arm["arm"].as_str().unwrap()).collect();
    let arms = [
        "base",
        "latency_ms=50",
        "frames_dropped=0.5",
        "depth_noise=0.1",
        "light=0.4",
        "camera_shift_m=0.03,0,0",
        "paraphrase=1",
    ];
    assert_eq!(names, arms);
    let found = episodes(&out);
    let actions = |arm: &str, task: &str| found[&format!("\"{arm}\" \"{task}\" 400000")].0;
    for arm in &arms[1..] {
        assert_ne!(actions(arm, "drawer-close"), actions("base", "drawer-close"), "{arm} changed nothing");
    }
    assert_eq!(actions("paraphrase=1", "window-open"), actions("base", "window-open"), "nothing else was said there");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("Under stress") && page.contains("camera_shift_m"), "no picture of the sweep");

    let expert = scratch.path().join("expert.toml");
    fs::write(
        &expert,
        "simulator = \"metaworld\"\ntasks = [\"drawer-close\"]\nepisodes = 2\nseed = 7\npolicy = \"expert\"\n",
    )
    .unwrap();
    let report = stdout_json(&eval(&expert, &scratch.path().join("expert"), "1"));
    assert_eq!(
        (&report["suite"]["mean"], &report["run"]["policies"][0]["policy"]),
        (&1.0.into(), &"expert".into()),
        "{report}"
    );
}

#[test]
fn what_cannot_be_evaluated_is_refused_before_anything_runs() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let path = scratch.path().join("wrong.toml");
    let bundle = root().join("policies/shipped/metaworld/bundle");
    let base = format!(
        "simulator = \"metaworld\"\nsuite = \"mt5\"\nepisodes = 1\nseed = 0\npolicy = {{ bundle = \"{}\" }}\n",
        bundle.display()
    );
    for (from, to, says) in [
        ("metaworld\"", "nowhere\"", "expected one of"),
        ("\"metaworld\"", "\"../metaworld\"", "a plain name"),
        ("mt5", "mt7", "mt10"),
        ("suite = \"mt5\"", "tasks = [\"fly\"]", "no \"fly\""),
        ("suite = \"mt5\"", "tasks = [\"reach\", \"reach\"]", "none of them twice"),
        ("episodes = 1", "episodes = 0", "episodes is 0"),
        ("episodes = 1", "episode = 1", "episode"),
        ("seed = 0\n", "seed = 0\nsweep = { light = [-1.0] }\n", "light is -1"),
        ("seed = 0\n", "seed = 0\nsweep = { light = [0.5, 0.5] }\n", "none of them twice"),
        ("seed = 0\n", "seed = 0\nschedule = { steps_executed = 99 }\n", "99"),
        ("seed = 0\n", "seed = 0\nstop = { bar = 1.0 }\n", "between 0 and 1"),
        ("seed = 0\n", "seed = 0\nstop = { error = 0.05 }\n", "stop.against"),
        ("seed = 0\n", "seed = 0\nstop = { against = \"nowhere\" }\n", "no run.json"),
        ("seed = 0\n", "seed = 0\nrun = { batch_delay_ms = 2.0 }\n", "--batch N"),
        ("/bundle\"", "/none\"", "no bundle at"),
    ] {
        assert!(base.contains(from), "{from}");
        fs::write(&path, base.replace(from, to)).unwrap();
        let output = eval(&path, &out, "1");
        assert!(
            matches!(output.status.code(), Some(2 | 4)) && stderr(&output).contains(says),
            "{to}: {}",
            stderr(&output)
        );
    }
    assert!(!out.exists(), "nothing was begun");
    let nothing = egogrid(&["eval", "compare", "none", "none"]);
    assert!(nothing.status.code() == Some(2) && stderr(&nothing).contains("run.json"), "{}", stderr(&nothing));
}

#[test]
fn looks_that_share_a_pass_are_the_same_episodes() {
    let scratch = tempfile::tempdir().unwrap();
    let bundle = scratch.path().join("batched");
    let python = std::env::var_os("EGOGRID_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    let exported = Command::new(python)
        .args(["-m", "egogrid_export", "--batch", "3", "--quiet"])
        .arg(root().join("policies/shipped/metaworld/metaworld-mt5"))
        .arg(&bundle)
        .env("PYTHONPATH", root().join("policies/export/src"))
        .output()
        .unwrap();
    assert!(exported.status.success(), "{}", stderr(&exported));
    let run = |name: &str, more: &str| {
        let config = plan(scratch.path(), more);
        let shipped = root().join("policies/shipped/metaworld/bundle");
        let text = fs::read_to_string(&config).unwrap().replace(shipped.to_str().unwrap(), bundle.to_str().unwrap());
        fs::write(&config, text).unwrap();
        let out = scratch.path().join(name);
        let output = eval(&config, &out, "3");
        assert!(output.status.success(), "{}", stderr(&output));
        episodes(&out)
    };
    let alone = run("alone", "");
    assert_eq!(run("together", "run = { batch_delay_ms = 5.0 }"), alone);
}
