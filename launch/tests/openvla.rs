//! OpenVLA through the built binary: the golden cases from picture files, and what the family refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::process::Output;
use support::{egogrid, root, stderr, stdout_json, write_npy};

fn bundle() -> String {
    root().join("tests/fixtures/openvla_golden_bundle/bundle").to_str().unwrap().to_owned()
}

/// What the official code did with a golden case, and its picture.
fn golden_case(case: usize) -> (Value, String) {
    let cases = root().join("tests/fixtures/openvla_golden/cases");
    let described = serde_json::from_slice(&fs::read(cases.join(format!("case{case}.json"))).unwrap()).unwrap();
    (described, cases.join(format!("case{case}.png")).to_str().unwrap().to_owned())
}

/// Case `case` through `infer --json`, with more options.
fn infer(bundle: &str, case: usize, more: &[&str]) -> (Value, Output) {
    let (described, image) = golden_case(case);
    let (instruction, key) = (described["instruction"].as_str().unwrap(), described["unnorm_key"].as_str().unwrap());
    let mut args = vec!["infer", bundle, "--image", &image, "--instruction", instruction, "--stats", key, "--json"];
    args.extend(more);
    let output = egogrid(&args);
    (described, output)
}

#[test]
fn infer_prints_the_official_ids_and_numbers_of_every_case() {
    for case in 0..5 {
        let (described, output) = infer(&bundle(), case, &[]);
        assert!(output.status.success(), "case {case}: {}", stderr(&output));
        let answer = stdout_json(&output);
        assert_eq!(answer["token_ids"], described["generated_ids"], "case {case}");
        assert_eq!(answer["normalized"][0], described["normalized_action"], "case {case}");
        assert_eq!(answer["actions"][0], described["action"], "case {case}");
        let ids = answer["token_ids"].as_array().unwrap().len();
        assert_eq!(answer["confidence"].as_array().unwrap().len(), ids);
        assert_eq!(answer["depth_source"], "none");
        assert!(answer["stages_ms"]["vision"].as_f64().unwrap() > 0.0, "{answer}");
        // A gripper of -0.79 and five numbers are answers of the model, and no commands.
        assert_eq!(answer["not_a_delta"].is_string(), [2, 3].contains(&case), "case {case}: {answer}");
        let said = ["", "", "", "alpha", "gray"][case];
        assert!(stderr(&output).contains(said), "case {case}: {}", stderr(&output));
    }
}

#[test]
fn the_table_has_as_many_columns_as_the_action_has_numbers() {
    for (case, column, dims) in [(0, "gripper", 7), (3, "[4]", 5)] {
        let (described, image) = golden_case(case);
        let (text, key) = (described["instruction"].as_str().unwrap(), described["unnorm_key"].as_str().unwrap());
        let output = egogrid(&["infer", &bundle(), "--image", &image, "--instruction", text, "--stats", key]);
        let printed = String::from_utf8(output.stdout).unwrap();
        let (header, row) = (printed.lines().next().unwrap(), printed.lines().nth(1).unwrap());
        assert!(header.contains(column), "{printed}");
        let numbers = row.split_whitespace().skip(1).take_while(|word| word.parse::<f64>().is_ok()).count();
        assert_eq!(numbers, dims, "{printed}");
        assert_eq!(printed.contains("no robot command"), case == 3, "{printed}");
    }
}

#[test]
fn a_token_that_is_no_action_is_exit_code_3_with_its_ids() {
    let scratch = tempfile::tempdir().unwrap();
    // With 200 bins, ids start at 31800: the second id of case 0, 31749, is none of them.
    copy_with(Path::new(&bundle()), scratch.path(), "bins = 256", "bins = 200");
    let (described, output) = infer(scratch.path().to_str().unwrap(), 0, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let answer = stdout_json(&output);
    assert_eq!(answer["error"]["kind"], "wrong_kind");
    assert_eq!(
        answer["error"]["token_ids"].as_array().unwrap()[..],
        described["generated_ids"].as_array().unwrap()[..2]
    );
}

#[test]
fn several_statistics_and_none_chosen_are_listed() {
    let (_, image) = golden_case(0);
    let output = egogrid(&["infer", &bundle(), "--image", &image, "--instruction", "go"]);
    assert_eq!(output.status.code(), Some(2));
    for key in ["bridge_orig", "libero_spatial_no_noops", "no_mask_5dof", "--stats"] {
        assert!(stderr(&output).contains(key), "{}", stderr(&output));
    }
}

#[test]
fn depth_and_camera_are_refused_because_nothing_looks_at_them() {
    let scratch = tempfile::tempdir().unwrap();
    let (npy, camera) = (scratch.path().join("depth.npy"), scratch.path().join("camera.toml"));
    write_npy(&npy, &[224, 224], &vec![1.0; 224 * 224]);
    fs::write(&camera, "width_px = 224\nheight_px = 224\nmatrix = [[200, 0, 112], [0, 200, 112], [0, 0, 1]]\n")
        .unwrap();
    for (option, value) in [
        ("--depth", npy.to_str().unwrap()),
        ("--camera", camera.to_str().unwrap()),
        ("--depth-kind", "sensor"),
        ("--depth-range-m", "0.2,4"),
        ("--empty-share-max", "0.1"),
    ] {
        let (_, output) = infer(&bundle(), 0, &[option, value]);
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(stderr(&output).contains(option) && stderr(&output).contains("picture only"), "{}", stderr(&output));
    }
}

#[test]
fn another_preprocessing_is_used_and_one_that_is_none_is_refused() {
    let answers = ["processor", "evaluation", "evaluation_center_crop"].map(|name| {
        let (_, output) = infer(&bundle(), 2, &["--preprocessing", name]);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{name}: {}", stderr(&output));
        let answer = stdout_json(&output);
        (answer["confidence"].clone(), answer["error"]["token_ids"].clone())
    });
    assert_ne!(answers[0], answers[1]);
    assert_ne!(answers[1], answers[2]);
    let (described, output) = infer(&bundle(), 2, &["--preprocessing", "processor"]);
    assert_eq!(stdout_json(&output)["actions"][0], described["action"], "the bundle's own");
    let (_, output) = infer(&bundle(), 2, &["--preprocessing", "training"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("evaluation_center_crop"), "{}", stderr(&output));
}

#[test]
fn check_and_bench_take_the_bundle() {
    let checked = egogrid(&["check", &bundle(), "--json"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    let report = stdout_json(&checked);
    assert_eq!((&report["bundle"], &report["ok"]), (&"openvla/ckpt".into(), &true.into()));
    let timed = egogrid(&["bench", &bundle(), "--runs", "10", "--json"]);
    assert!(timed.status.success(), "{}", stderr(&timed));
    let stages = &stdout_json(&timed)["warm"][0]["stages_ms"];
    for stage in ["preprocess", "vision", "prefill", "decode"] {
        assert!(stages[stage]["p50"].as_f64().unwrap() > 0.0, "{stage}: {stages}");
    }
    assert!(
        stages["depth"].is_null() && stages["ego3d"].is_null(),
        "what this family does not do is not zero: {stages}"
    );
}

#[test]
fn there_is_no_grid_to_show() {
    let output = egogrid(&["grid", "show", &bundle()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("255 fixed bins"), "{}", stderr(&output));
}

/// Before the simulator is started.
#[test]
fn demo_refuses_a_policy_that_cannot_drive_its_robot() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let out = out.to_str().unwrap();
    let other = egogrid(&["demo", "--bundle", &bundle(), "--out", out]);
    assert_eq!(other.status.code(), Some(2), "{}", stderr(&other));
    let text = stderr(&other);
    assert!(text.contains("cannot drive this robot") && text.contains("bridge_orig"), "{text}");

    let robot = fs::read_to_string(root().join("launch/embodiments/metaworld.toml")).unwrap();
    let robot = robot.replace("metaworld_mt5/1.0.0", "no_mask_5dof");
    let file = scratch.path().join("robot.toml");
    fs::write(&file, robot).unwrap();
    let five = egogrid(&["demo", "--bundle", &bundle(), "--embodiment", file.to_str().unwrap(), "--out", out]);
    assert_eq!(five.status.code(), Some(2), "{}", stderr(&five));
    assert!(stderr(&five).contains("5 dimensions"), "{}", stderr(&five));
}

/// Copies bundle `from` to `to` with text of its manifest replaced.
fn copy_with(from: &Path, to: &Path, old: &str, new: &str) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let manifest = fs::read_to_string(from.join("bundle.toml")).unwrap();
    let body = manifest.split_once('\n').unwrap().1;
    assert!(body.contains(old), "{old}");
    let body = body.replacen(old, new, 1);
    let digest: String = Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(to.join("bundle.toml"), format!("# sha256 {digest}\n{body}")).unwrap();
}
