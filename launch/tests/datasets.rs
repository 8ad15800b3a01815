//! `egogrid dataset` and `egogrid grid fit` on datasets, as a user calls them: a recording goes in, its numbers come out.
//!
//! Needs ONNX Runtime and the Python environment, whose ffmpeg makes films (`./launch/test` puts both there).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use egogrid_action_grids::StatisticsTable;
use egogrid_sim_bridge::codec::decode;
use egogrid_sim_bridge::dataset::Dataset;
use egogrid_sim_bridge::message::{ActionChunk, EpisodeMark, PolicyLook};
use egogrid_sim_bridge::recording::RecordingReader;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::daemon::{Daemon, drain, python, world};
use support::{egogrid, root, stderr, stdout_json, write_npy};

const BUNDLE: &str = "policies/shipped/metaworld/bundle";

fn recording() -> PathBuf {
    root().join("tests/recordings/metaworld-gate/recording.mcap")
}

fn fixture() -> String {
    root().join("tests/fixtures/lerobot/small").to_str().unwrap().to_owned()
}

/// What left after each look, as one motion; where the arm was; whether it ended well.
fn recorded() -> (Vec<[f64; 7]>, Vec<[f64; 3]>, bool) {
    let (mut actions, mut positions, mut success) = (Vec::new(), Vec::new(), false);
    for message in RecordingReader::open(&recording()).unwrap() {
        let message = message.unwrap();
        match message.topic.rsplit('/').next().unwrap() {
            "action" => {
                let chunk: ActionChunk = decode(&message.payload).unwrap();
                let mut sum = [0.0; 7];
                for step in &chunk.steps {
                    let moved = step.translation_m;
                    [moved.x, moved.y, moved.z].iter().zip(&mut sum).for_each(|(moved, sum)| *sum += moved);
                    let turned = step.rotation_rad;
                    assert_eq!([turned.x, turned.y, turned.z], [0.0; 3], "Meta-World does not turn");
                    sum[6] = step.gripper;
                }
                actions.push(sum);
            }
            "look" => {
                let look: PolicyLook = decode(&message.payload).unwrap();
                let position = look.input.unwrap().state.unwrap().base_from_ee.position;
                positions.push([position.x, position.y, position.z]);
            }
            "episode" => {
                let mark: EpisodeMark = decode(&message.payload).unwrap();
                success |= mark.outcome == "success";
            }
            _ => {}
        }
    }
    (actions, positions, success)
}

fn write(dir: &Path) -> Value {
    let output = egogrid(&["dataset", "write", recording().to_str().unwrap(), dir.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout_json(&output)
}

#[test]
fn a_dataset_of_a_recording_holds_what_was_seen_and_done() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("dataset");
    let written = write(&dir);
    let (actions, positions, success) = recorded();
    assert_eq!((&written["rows"], &written["fps"]), (&Value::from(actions.len()), &Value::from(20.0)), "{written}");
    let dataset = Dataset::open(&dir).unwrap();
    let features = ["action", "observation.state", "next.success"];
    let rows = dataset.rows(&features).unwrap().episode(&dataset.episodes()[0]).unwrap();
    assert_eq!(rows.tasks[0], "press the button from the top");
    for (row, (action, position)) in actions.iter().zip(&positions).enumerate() {
        let near = |(found, expected): (&f64, &f64)| (found - expected).abs() < 1e-7;
        assert!(rows.numbers["action"].row(row).iter().zip(action).all(near), "row {row}: {action:?}");
        assert!(rows.numbers["observation.state"].row(row).iter().zip(position).all(near), "row {row}: {position:?}");
    }
    assert_eq!(rows.numbers["next.success"].row(rows.length - 1), [f64::from(u8::from(success))]);
    let again = egogrid(&["dataset", "write", recording().to_str().unwrap(), dir.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2), "a dataset is never written over");
}

/// PyArrow, Pillow and ffmpeg read the same numbers, and hold the directory to what LeRobot's format says (`fixtures/read_dataset.py`,
/// which LeRobot's own dataset passes too).
#[test]
fn an_independent_reader_finds_a_lerobot_dataset_with_the_same_numbers() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("dataset");
    write(&dir);
    let read = |dir: &Path| {
        let script = root().join("launch/tests/fixtures/read_dataset.py");
        let output = Command::new(python()).arg(script).arg(dir).output().unwrap();
        assert!(output.status.success(), "{}: {}", dir.display(), stderr(&output));
        stdout_json(&output)
    };
    let found = read(&dir);
    let rows: Vec<Vec<f64>> = serde_json::from_value(found["actions"].clone()).unwrap();
    let (actions, _, _) = recorded();
    assert_eq!(rows.len(), actions.len());
    for (row, action) in rows.iter().flatten().zip(actions.iter().flatten()) {
        assert!((row - action).abs() < 1e-7, "{rows:?}");
    }
    let depth: Vec<f64> = serde_json::from_value(found["depth_mm"].clone()).unwrap();
    assert!(depth.len() == rows.len() && depth.iter().all(|mm| (1000.0..2500.0).contains(mm)), "{depth:?}");
    assert_eq!(read(Path::new(&fixture()))["rows"], 12);
}

/// Recording, dataset, recording, dataset: the numbers of both datasets are the same, and so are their depths.
#[test]
fn a_dataset_becomes_a_recording_and_a_dataset_again() {
    let scratch = tempfile::tempdir().unwrap();
    let [first, again] = ["first", "again"].map(|name| scratch.path().join(name));
    let back = scratch.path().join("back.mcap");
    write(&first);
    let (first, again, back) = (first.to_str().unwrap(), again.to_str().unwrap(), back.to_str().unwrap());
    for args in [&["recording", first, back][..], &["write", back, again]] {
        let output = egogrid(&[&["dataset"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    }
    let features = ["action", "observation.state", "observation.depth.front", "next.success", "timestamp"];
    let rows = |dir: &str| {
        let dataset = Dataset::open(Path::new(dir)).unwrap();
        assert_eq!((dataset.info().fps, dataset.info().robot_type.as_deref()), (20.0, Some("metaworld-sawyer")));
        dataset.rows(&features).unwrap().episode(&dataset.episodes()[0]).unwrap()
    };
    let (first_rows, again_rows) = (rows(first), rows(again));
    assert_eq!((first_rows.length, &first_rows.tasks), (4, &again_rows.tasks));
    assert_eq!(first_rows.pictures, again_rows.pictures, "16-bit millimetres survive");
    for (name, numbers) in &first_rows.numbers {
        // The quaternion is made a unit one again, in float32.
        let near = numbers.values.iter().zip(&again_rows.numbers[name].values).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near, "{name}: {numbers:?}, then {:?}", again_rows.numbers[name]);
    }
    let cameras = |dir: &str| {
        let about: Value =
            serde_json::from_slice(&fs::read(Path::new(dir).join("meta/egogrid.json")).unwrap()).unwrap();
        about["cameras"]["observation.images.front"]["camera"]["matrix"].clone()
    };
    assert_eq!(cameras(first), cameras(again));
    let (bundle, left_out) = (root().join(BUNDLE), "made of a dataset");
    let replayed = egogrid(&["replay", back, bundle.to_str().unwrap()]);
    let said = format!("{}{}", String::from_utf8_lossy(&replayed.stdout), stderr(&replayed));
    assert!(said.contains(left_out), "{said}");
    assert_eq!(egogrid(&["dataset", "recording", first, back]).status.code(), Some(2), "a file is never written over");
}

/// The gate slowed the arm down, and nothing else: what the policy answers again is the recorded motion or more.
#[test]
fn the_open_loop_error_of_the_policy_that_was_recorded_is_what_the_gate_took_away() {
    let scratch = tempfile::tempdir().unwrap();
    let (dir, out) = (scratch.path().join("dataset"), scratch.path().join("error.json"));
    write(&dir);
    let bundle = root().join(BUNDLE);
    let (dir, bundle, file) = (dir.to_str().unwrap(), bundle.to_str().unwrap(), out.to_str().unwrap());
    let output = egogrid(&["dataset", "error", dir, bundle, "--out", file, "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = stdout_json(&output);
    assert_eq!(report, serde_json::from_slice::<Value>(&fs::read(&out).unwrap()).unwrap());
    assert_eq!((&report["looks"], &report["steps_per_row"]), (&Value::from(4), &Value::from(4)), "{report}");
    let trace = &report["traces"]["0"];
    let length = |row: &Value| {
        let moved = row.as_array().unwrap().iter().take(3).map(|value| value.as_f64().unwrap().powi(2));
        moved.sum::<f64>().sqrt()
    };
    for row in 0..4 {
        let (asked, done) = (length(&trace["predicted"][row]), length(&trace["recorded"][row]));
        // 0.9 m/s for four steps of 1/80 s.
        assert!(done <= 0.9 / 20.0 + 1e-6 && asked >= done - 2e-3, "row {row}: asked {asked}, done {done}");
    }
    for (dim, name) in ["x", "y", "z", "roll"].into_iter().enumerate() {
        let dim = &report["dims"][dim];
        assert_eq!(dim["name"], name);
        let mean = dim["first"]["mean"].as_f64().unwrap();
        assert!(mean < 0.03, "{name}: {mean}");
        assert_eq!(dim["first_normalized"]["mean"].is_null(), name == "roll", "Meta-World's roll is constant");
    }
    let svg = fs::read_to_string(out.with_extension("svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("polyline"));
}

#[test]
fn a_grid_fitted_to_a_dataset_is_the_one_of_its_normalized_actions() {
    let scratch = tempfile::tempdir().unwrap();
    let of_dataset = scratch.path().join("dataset.json");
    let shape = ["--translation", "2,3,2", "--rotation", "2,2,2", "--json", "--out"];
    let fit = |data: &str, more: &[&str], out: &Path| {
        let args: Vec<&str> =
            ["grid", "fit", data].iter().chain(more).chain(&shape).copied().chain([out.to_str().unwrap()]).collect();
        egogrid(&args)
    };
    let refused = fit(&fixture(), &[], &of_dataset);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--normalize-by"), "{}", stderr(&refused));
    let statistics = scratch.path().join("statistics.json");
    let written = ["--statistics-key", "small", "--statistics-out", statistics.to_str().unwrap()];
    let output = fit(&fixture(), &[&["--normalize-by", "dataset"], &written[..]].concat(), &of_dataset);
    assert!(output.status.success(), "{}", stderr(&output));
    let found = stdout_json(&output);
    // The fixture's formula, and the quantiles as numpy takes them.
    let rows: Vec<[f64; 7]> = (0..12)
        .map(|index: usize| {
            std::array::from_fn(|dim| match dim {
                6 => f64::from(u8::from(index.is_multiple_of(3))),
                dim => 0.01 * (index + 1) as f64 * (dim as f64 + 0.5 * index as f64).cos(),
            })
        })
        .collect();
    let quantiles = |dim: usize| {
        let mut column: Vec<f64> = rows.iter().map(|row| row[dim]).collect();
        column.sort_by(f64::total_cmp);
        (column[0] + 0.11 * (column[1] - column[0]), column[11] - 0.11 * (column[11] - column[10]))
    };
    // What a bundle that is adapted to the grid needs to undo the normalization.
    let statistics: StatisticsTable = serde_json::from_slice(&fs::read(&statistics).unwrap()).unwrap();
    let statistics = statistics.get("small").unwrap().one_arm().unwrap();
    for dim in 0..6 {
        let (low, high) = quantiles(dim);
        assert!((statistics.q01()[dim] - low).abs() < 1e-7 && (statistics.q99()[dim] - high).abs() < 1e-7, "{dim}");
    }
    assert_eq!(statistics.mask(), &[true, true, true, true, true, true, false]);
    let normalized = |dim: usize, value: f64| {
        let (low, high) = quantiles(dim);
        (2.0 * (value - low) / (high - low + 1e-8) - 1.0).clamp(-1.0, 1.0)
    };
    let values = rows.iter().flat_map(|row| {
        (0..7).map(|dim| if dim == 6 { row[6] as f32 } else { normalized(dim, row[dim]) as f32 }).collect::<Vec<f32>>()
    });
    let npy = scratch.path().join("actions.npy");
    write_npy(&npy, &[12, 7], &values.collect::<Vec<f32>>());
    let expected = stdout_json(&fit(npy.to_str().unwrap(), &[], &scratch.path().join("npy.json")));
    for (space, axis) in [("translation", "theta_rad"), ("translation", "r"), ("rotation", "roll"), ("rotation", "yaw")]
    {
        let edges = |answer: &Value| -> Vec<f64> {
            let edges = answer["grid"][space][axis].as_array().unwrap();
            edges.iter().map(|edge| edge.as_f64().unwrap()).collect()
        };
        let (found, expected) = (edges(&found), edges(&expected));
        assert_eq!(found.len(), expected.len());
        let near = found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
        assert!(near, "{space} {axis}: {found:?}, expected {expected:?}");
    }
}

#[test]
fn what_is_no_dataset_or_no_policy_for_it_is_refused_with_what_to_do() {
    let bundle = root().join(BUNDLE);
    let bundle = bundle.to_str().unwrap();
    let film = ["--picture", "observation.images.front"];
    for (args, code, named) in [
        (vec!["dataset", "show", "/nowhere"], 4, "info.json"),
        (vec!["dataset", "show", &fixture(), "--action", "actions"], 2, "observation.state"),
        (vec!["dataset", "error", &fixture(), bundle], 2, "--picture"),
        (vec!["dataset", "error", &fixture(), bundle, film[0], film[1]], 2, "10 rows per second"),
        (vec!["dataset", "write", "/nowhere.mcap", "/nowhere/dataset"], 2, "/nowhere.mcap"),
    ] {
        let output = egogrid(&args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(named), "{args:?}: {}", stderr(&output));
    }
    let shown = stdout_json(&egogrid(&["dataset", "show", &fixture(), "--json"]));
    assert_eq!((&shown["rows"], &shown["tasks"]["push the button"]), (&Value::from(12), &Value::from(1)));
}

/// Rows have an even rate, and their actions lead from where the arm was reported to where it was reported later.
#[test]
fn a_dataset_of_a_robot_in_real_time_moves_as_the_robot_did() {
    let scratch = tempfile::tempdir().unwrap();
    let (recordings, dir) = (scratch.path().join("recordings"), scratch.path().join("dataset"));
    let table = recordings.display();
    let table = format!(
        "dry_run = false\n[recording]\ndir = \"{table}\"\nfile_mb_max = 64\ndisk_mb_max = 256\nfree_mb_min = 16"
    );
    let daemon = Daemon::start(&[("dry_run", &table)]);
    let mut robot = world(&daemon, &["--tasks", "peg-insert-side", "--episodes", "1", "--steps-max", "160"]);
    let errors = drain(robot.errors());
    assert!(robot.wait().status.success(), "{}", errors.join().unwrap());
    let (code, _, errors) = daemon.end();
    assert_eq!(code, Some(0), "{errors}");
    let (recordings, dir) = (recordings.to_str().unwrap(), dir.to_str().unwrap());
    let unknown_rate = egogrid(&["dataset", "write", recordings, dir]);
    assert_eq!(unknown_rate.status.code(), Some(2));
    assert!(stderr(&unknown_rate).contains("--fps"), "{}", stderr(&unknown_rate));
    let output = egogrid(&["dataset", "write", recordings, dir, "--fps", "5", "--json"]);
    assert!(output.status.success(), "{}\n{errors}", stderr(&output));
    let written = stdout_json(&output);
    let dataset = Dataset::open(Path::new(dir)).unwrap();
    assert_eq!((&written["rows"], dataset.info().fps), (&Value::from(dataset.info().frames), 5.0));
    assert!(dataset.info().frames >= 4, "{written}");
    let mut reader = dataset.rows(&["action", "observation.state", "observation.depth.front", "timestamp"]).unwrap();
    let rows = reader.episode(&dataset.episodes()[0]).unwrap();
    let state = |row: usize| rows.numbers["observation.state"].row(row);
    let [mut both, mut asked_2, mut done_2] = [0.0; 3];
    // The first two seconds: later the arm pushes against the table.
    for row in 0..rows.length.min(11) - 1 {
        assert_eq!(rows.numbers["timestamp"].row(row), [f64::from((row as f64 / 5.0) as f32)]);
        for (axis, asked) in rows.numbers["action"].row(row).iter().enumerate().take(3) {
            let done = state(row + 1)[axis] - state(row)[axis];
            both += asked * done;
            asked_2 += asked * asked;
            done_2 += done * done;
        }
    }
    let (length, alike) = (asked_2.sqrt(), both / (asked_2 * done_2).sqrt());
    // The arm follows within some steps, and a report is up to half a row old.
    assert!(length > 0.02 && alike > 0.8, "{length} m were asked for, cosine of what was done {alike}: {written}");
}
