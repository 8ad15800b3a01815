//! The built binary as a user calls it: exit codes, JSON on stdout, errors that say what to do.
//!
//! Needs the ONNX Runtime library (`EGOGRID_ORT_LIB` or `third_party/`, put there by `./launch/test`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{egogrid, root, stderr, stdout_json, write_npy};

fn golden_bundle() -> String {
    root().join("tests/fixtures/spatialvla_golden_bundle/bundle").to_str().unwrap().to_owned()
}

/// A golden case: its description, and its depth as a .npy file in `scratch`.
fn golden_case(case: usize, scratch: &Path) -> (Value, String, String) {
    let cases = root().join("tests/fixtures/spatialvla_golden/cases");
    let described: Value = serde_json::from_slice(&fs::read(cases.join(format!("case{case}.json"))).unwrap()).unwrap();
    let bytes = fs::read(cases.join(format!("case{case}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let depth = tensors.tensor("depth_224").unwrap();
    let values: Vec<f32> = depth.data().as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect();
    let npy = scratch.join(format!("depth{case}.npy"));
    write_npy(&npy, depth.shape(), &values);
    let image = cases.join(format!("case{case}.png")).to_str().unwrap().to_owned();
    (described, image, npy.to_str().unwrap().to_owned())
}

fn infer(case: usize, depth_kind: &str) -> (Value, Output) {
    let scratch = tempfile::tempdir().unwrap();
    let (described, image, depth) = golden_case(case, scratch.path());
    let bundle = golden_bundle();
    let (prompt, key) = (described["prompt"].as_str().unwrap(), described["unnorm_key"].as_str().unwrap());
    let mut args = vec!["infer", &bundle, "--image", &image, "--instruction", prompt, "--depth", &depth];
    args.extend(["--depth-kind", depth_kind, "--stats", key, "--json"]);
    let output = egogrid(&args);
    (described, output)
}

#[test]
fn infer_prints_the_official_tokens_and_actions() {
    for case in 1..=4 {
        let (described, output) = infer(case, if case % 2 == 0 { "auto" } else { "dense" });
        assert!(output.status.success(), "case {case}: {}", stderr(&output));
        let answer = stdout_json(&output);
        let ids: Vec<u64> = answer["token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        let expected: Vec<u64> =
            described["generated_ids"].as_array().unwrap().iter().take(12).map(|id| id.as_u64().unwrap()).collect();
        assert_eq!(ids, expected, "case {case}");
        for (step, expected) in described["actions"].as_array().unwrap().iter().enumerate() {
            for (dim, expected) in expected.as_array().unwrap().iter().enumerate() {
                let found = answer["actions"][step][dim].as_f64().unwrap();
                assert!(
                    (found - expected.as_f64().unwrap()).abs() < 1e-6,
                    "case {case} step {step} dimension {dim}: {found} {expected}"
                );
            }
        }
        assert_eq!(answer["depth_source"], "dense");
        assert_eq!(answer["confidence"].as_array().unwrap().len(), 12);
    }
}

/// A picture and an instruction, nothing else: the bundle's own estimator makes the depth.
fn infer_from_picture(case: usize, image: Option<&Path>) -> (Value, Output) {
    let scratch = tempfile::tempdir().unwrap();
    let (described, own, _) = golden_case(case, scratch.path());
    let image = image.map_or(own, |path| path.to_str().unwrap().to_owned());
    let (prompt, key) = (described["prompt"].as_str().unwrap(), described["unnorm_key"].as_str().unwrap());
    let bundle = golden_bundle();
    let mut args = vec!["infer", &bundle, "--image", &image, "--stats", key, "--json"];
    // The official processor takes a leading <image> for its own; our instructions are plain text.
    args.extend(["--instruction", prompt.trim_start_matches("<image>")]);
    let output = egogrid(&args);
    (described, output)
}

#[test]
fn a_picture_alone_prints_the_official_tokens_and_actions() {
    for case in 1..=4 {
        let (described, output) = infer_from_picture(case, None);
        assert!(output.status.success(), "case {case}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "an RGB picture needs no comment");
        let answer = stdout_json(&output);
        assert_eq!(
            answer["token_ids"].as_array().unwrap()[..],
            described["generated_ids"].as_array().unwrap()[..12],
            "case {case}"
        );
        for (step, expected) in described["actions"].as_array().unwrap().iter().enumerate() {
            for (dim, expected) in expected.as_array().unwrap().iter().enumerate() {
                let found = answer["actions"][step][dim].as_f64().unwrap();
                assert!((found - expected.as_f64().unwrap()).abs() < 1e-6, "case {case} step {step} dimension {dim}");
            }
        }
        assert_eq!(answer["depth_source"], "estimated");
        assert!(answer["stages_ms"]["estimate"].as_f64().unwrap() > answer["stages_ms"]["depth"].as_f64().unwrap());
    }
    let (described, output) = infer_from_picture(0, None);
    assert_eq!(output.status.code(), Some(3));
    let answer = stdout_json(&output);
    assert_eq!(
        (&answer["error"]["kind"], &answer["error"]["token_ids"]),
        (&"early_end".into(), &described["generated_ids"])
    );
}

/// As the official code's caller does it with Pillow: `convert("RGB")`.
#[test]
fn pictures_that_are_not_rgb_become_it_as_in_the_official_code_and_the_user_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, image, _) = golden_case(1, scratch.path());
    let rgb = image::open(&image).unwrap().into_rgb8();
    // Alpha that would hide half of the picture if it were composited.
    let alpha = image::RgbaImage::from_fn(rgb.width(), rgb.height(), |x, y| {
        let [r, g, b] = rgb.get_pixel(x, y).0;
        image::Rgba([r, g, b, if x % 2 == 0 { 0 } else { 200 }])
    });
    let path = scratch.path().join("alpha.png");
    alpha.save(&path).unwrap();
    let (described, output) = infer_from_picture(1, Some(&path));
    assert!(output.status.success() && stderr(&output).contains("alpha"), "{}", stderr(&output));
    assert_eq!(
        stdout_json(&output)["token_ids"].as_array().unwrap()[..],
        described["generated_ids"].as_array().unwrap()[..12]
    );

    let gray = image::imageops::grayscale(&rgb);
    let replicated =
        image::RgbImage::from_fn(rgb.width(), rgb.height(), |x, y| image::Rgb([gray.get_pixel(x, y).0[0]; 3]));
    let (one, three) = (scratch.path().join("gray.png"), scratch.path().join("three.png"));
    gray.save(&one).unwrap();
    replicated.save(&three).unwrap();
    let [(_, one), (_, three)] = [infer_from_picture(1, Some(&one)), infer_from_picture(1, Some(&three))];
    assert!(stderr(&one).contains("gray") && !stderr(&three).contains("gray"), "{}", stderr(&one));
    assert_eq!(one.status.code(), three.status.code());
    let ids = |output: &Output| {
        let answer = stdout_json(output);
        if answer["error"].is_null() { answer["token_ids"].clone() } else { answer["error"]["token_ids"].clone() }
    };
    assert_eq!(ids(&one), ids(&three));

    let deep = scratch.path().join("deep.png");
    image::ImageBuffer::<image::Luma<u16>, _>::from_pixel(8, 8, image::Luma([9000])).save(&deep).unwrap();
    let (_, output) = infer_from_picture(1, Some(&deep));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("8 bits per channel"), "{}", stderr(&output));
}

#[test]
fn a_generation_that_ends_early_is_exit_code_3_with_its_ids() {
    let (described, output) = infer(0, "dense");
    assert_eq!(output.status.code(), Some(3));
    let answer = stdout_json(&output);
    assert_eq!(answer["error"]["kind"], "early_end");
    assert_eq!(answer["error"]["token_ids"], described["generated_ids"]);
}

#[test]
fn an_unknown_statistics_key_lists_the_known_ones() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, image, _) = golden_case(1, scratch.path());
    let output =
        egogrid(&["infer", &golden_bundle(), "--image", &image, "--instruction", "go", "--stats", "nowhere/1.0.0"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("nowhere/1.0.0") && text.contains("bridge_orig/1.0.0"), "{text}");
}

#[test]
fn a_sensor_depth_with_negative_values_is_refused_with_the_remedy() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, image, depth) = golden_case(1, scratch.path());
    let bundle = golden_bundle();
    let mut args = vec!["infer", &bundle, "--image", &image, "--depth", &depth, "--instruction", "go"];
    args.extend(["--stats", "bridge_orig/1.0.0", "--depth-kind", "sensor"]);
    let output = egogrid(&args);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--depth-kind dense"), "{}", stderr(&output));
}

#[test]
fn a_hole_in_the_depth_is_refused_until_the_user_allows_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (_, image, _) = golden_case(1, scratch.path());
    let (bundle, npy) = (golden_bundle(), scratch.path().join("holes.npy"));
    // Sub-cells are 7x7 pixels: this one is a hole.
    let depth: Vec<f32> = (0..224 * 224).map(|i| if i % 224 < 7 && i / 224 < 7 { 0.0 } else { 1.5 }).collect();
    write_npy(&npy, &[224, 224], &depth);
    let mut args = vec!["infer", &bundle, "--image", &image, "--depth", npy.to_str().unwrap(), "--instruction", "go"];
    args.extend(["--stats", "bridge_orig/1.0.0", "--json"]);
    let refused = egogrid(&args);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert_eq!(stdout_json(&refused)["error"]["kind"], "observation");
    args.extend(["--empty-share-max", "0.01"]);
    let allowed = egogrid(&args);
    // Whether the tiny checkpoint then makes a whole chunk is not the promise; that it was let in is.
    assert_ne!(allowed.status.code(), Some(2), "{}", stderr(&allowed));
    if allowed.status.success() {
        assert_eq!(stdout_json(&allowed)["depth"]["cells_filled"], 1);
    }
}

#[test]
fn check_replays_the_golden_tensors() {
    let output = egogrid(&["check", &golden_bundle(), "--json"]);
    let report = stdout_json(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["ok"], true);
    let stages: Vec<&str> =
        report["rows"].as_array().unwrap().iter().map(|row| row["stage"].as_str().unwrap()).collect();
    for stage in ["pixel_values", "points_xyz", "freq_encoding", "image_features", "token_ids", "actions"] {
        assert!(stages.contains(&stage), "{stage} is not checked: {stages:?}");
    }
}

#[test]
fn a_bundle_that_is_not_there_is_exit_code_4() {
    let output = egogrid(&["check", "no/such/bundle"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("egogrid_export"), "{}", stderr(&output));
}

#[test]
fn a_library_that_is_not_there_is_exit_code_4() {
    let output = egogrid(&["check", &golden_bundle(), "--ort-lib", "no/such/libonnxruntime.so"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

#[test]
fn wrong_use_is_exit_code_2() {
    for args in [
        &["demo", "--episodes", "0"][..],
        &["no-such-command"],
        &["check"],
        &["check", &golden_bundle(), "--provider", "abacus"],
    ] {
        assert_eq!(egogrid(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_provider_that_cannot_start_is_an_error_and_not_the_processor() {
    for (provider, lacks) in
        [("cuda:63", "NVIDIA device 63"), ("tensorrt:63", "NVIDIA device 63"), ("openvino:NPU", "openvino_plugin.so")]
    {
        let output = egogrid(&["check", &golden_bundle(), "--provider", provider, "--json"]);
        assert_eq!(output.status.code(), Some(4), "{provider}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{provider}: a result without the provider");
        let error = stderr(&output);
        assert!(error.contains(lacks) && error.contains("provider = \"cpu\""), "{provider}: {error}");
    }
}

#[test]
fn settings_of_a_provider_come_from_a_file_and_from_the_command_line() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("provider.toml");
    fs::write(&file, "provider = \"cuda:63\"\n[cuda]\nmemory_limit_mib = 4096\n").unwrap();
    let file = file.to_str().unwrap();
    let run = |args: &[&str]| egogrid(&[&["check", &golden_bundle(), "--provider-config", file], args].concat());
    let asked = run(&[]);
    assert_eq!(asked.status.code(), Some(4), "{}", stderr(&asked));
    assert!(stderr(&asked).contains("cuda:63"), "{}", stderr(&asked));
    assert!(run(&["--provider", "cpu"]).status.success(), "the command line wins");
    for (option, names) in [("tf23=true", "tf23"), ("memory_limit_mib=0", "memory_limit_mib"), ("tf32", "KEY=VALUE")] {
        let output = run(&["--provider-option", option]);
        assert_eq!(output.status.code(), Some(2), "{option}: {}", stderr(&output));
        assert!(stderr(&output).contains(names), "{option}: {}", stderr(&output));
    }
}

#[test]
fn grid_show_prints_the_edges_and_grid_fit_writes_a_grid() {
    let shown = stdout_json(&egogrid(&["grid", "show", &golden_bundle(), "--json"]));
    assert_eq!(shown["grids"]["translation"]["cells"], 4096);
    assert_eq!(shown["grids"]["rotation"]["edges"]["yaw"].as_array().unwrap().len(), 17);

    let scratch = tempfile::tempdir().unwrap();
    let (data, grid) = (scratch.path().join("actions.npy"), scratch.path().join("grid.json"));
    let values: Vec<f32> =
        (0..700).map(|i| ((i * 37 % 101) as f32 / 50.5 - 1.0) * if i % 7 == 6 { 0.0 } else { 0.9 }).collect();
    write_npy(&data, &[100, 7], &values);
    let fitted = egogrid(&[
        "grid",
        "fit",
        data.to_str().unwrap(),
        "--translation",
        "4,6,3",
        "--rotation",
        "2,2,2",
        "--out",
        grid.to_str().unwrap(),
        "--json",
    ]);
    assert!(fitted.status.success(), "{}", stderr(&fitted));
    let written: Value = serde_json::from_slice(&fs::read(&grid).unwrap()).unwrap();
    assert_eq!(written["translation"]["phi_rad"].as_array().unwrap().len(), 7);
    assert_eq!(stdout_json(&fitted)["actions"], 100);
}

#[test]
fn doctor_names_a_remedy_for_everything_that_is_not_fine() {
    let output = egogrid(&["doctor", "--json"]);
    let report = stdout_json(&output);
    for finding in report["findings"].as_array().unwrap() {
        assert!(finding["state"] == "ok" || finding["remedy"].is_string(), "{finding}");
    }
    let reports = report["providers"]["reports"].as_array().unwrap();
    let names: Vec<&str> = reports.iter().map(|report| report["provider"].as_str().unwrap()).collect();
    assert_eq!(names, ["cpu", "cuda:0", "tensorrt:0", "openvino:CPU"]);
    assert_eq!((&reports[0]["ready"], &reports[0]["session"]), (&Value::Bool(true), &"starts and computes".into()));
    for report in reports {
        let missing = report["parts"].as_array().unwrap().iter().filter(|part| part["found"].is_null());
        for part in missing.clone() {
            let told = part["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty());
            assert!(told && !part["looked_in"].as_array().unwrap().is_empty(), "{part}");
        }
        assert!(report["ready"] == true || missing.count() > 0, "{report}");
    }
}

#[test]
fn doctor_fails_for_the_provider_that_was_asked_for() {
    let output = egogrid(&["doctor", "--provider", "cuda:63"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("cuda:63"), "{}", stderr(&output));
}

/// The shipped policy's checkpoint, exported on this machine. Needs the Python environment that `./launch/test` makes.
fn exported(precision: &str, observations: &str) -> String {
    let python = std::env::var_os("EGOGRID_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    let bundle = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("metaworld-{precision}-{observations}"));
    let output = Command::new(python)
        .args(["-m", "egogrid_export", "--replace", "--precision", precision, "--observations", observations])
        .arg(root().join("policies/shipped/metaworld/metaworld-mt5"))
        .arg(&bundle)
        .env("PYTHONPATH", root().join("policies/export/src"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    bundle.to_str().unwrap().to_owned()
}

#[test]
fn check_says_what_fewer_bits_do_and_commands_that_run_such_a_bundle_warn() {
    let bundle = exported("int4", "6");
    let output = egogrid(&["check", &bundle, "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let answer = stdout_json(&output);
    let precision = &answer["precision"];
    assert_eq!((precision["observations"].as_u64(), answer["ok"].as_bool()), (Some(6), Some(true)));
    assert_eq!(precision["recorded"]["observations"], 6);
    assert!(precision["logit_difference_max"].as_f64().unwrap() > 0.0);
    let warned = |output: &Output| stderr(output).lines().filter(|line| line.starts_with("warning:")).count();
    assert_eq!(warned(&output), usize::from(precision["within_bound"] == false));

    let fewer = egogrid(&["check", &bundle, "--observations", "2"]);
    let text = String::from_utf8_lossy(&fewer.stdout).into_owned();
    assert!(fewer.status.success() && text.contains("ids that differ") && text.contains("not judged"), "{text}");
    let none = egogrid(&["check", &bundle, "--observations", "0", "--json"]);
    assert!(none.status.success() && stdout_json(&none)["precision"].is_null());

    let bundle = exported("bf16", "0");
    let scratch = tempfile::tempdir().unwrap();
    let (_, image, _) = golden_case(1, scratch.path());
    let npy = scratch.path().join("depth.npy");
    write_npy(&npy, &[48, 64], &[1.2; 48 * 64]);
    let mut args = vec!["infer", &bundle, "--image", &image, "--depth", npy.to_str().unwrap(), "--instruction", "go"];
    let camera = scratch.path().join("camera.toml");
    fs::write(&camera, CAMERA).unwrap();
    args.extend(["--camera", camera.to_str().unwrap()]);
    for output in [egogrid(&args), egogrid(&["bench", &bundle, "--runs", "3"])] {
        let text = stderr(&output);
        assert!(output.status.success() && text.contains("nobody has measured") && warned(&output) == 1, "{text}");
    }
}

/// Of a picture of case 1's size, 1 m above the table, looking down.
const CAMERA: &str = "width_px = 224\nheight_px = 224\nmatrix = [[224, 0, 112], [0, 224, 112], [0, 0, 1]]\n\
    base_from_camera = [[1, 0, 0, 0], [0, -1, 0, 0.6], [0, 0, -1, 1], [0, 0, 0, 1]]\n";
