//! `egogrid grid show --data`: a bundle's own grids against others of the same size, on numbers whose errors are known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::{egogrid, root, stderr, stdout_json, write_npy};

fn shipped() -> String {
    root().join("policies/shipped/metaworld/bundle").to_str().unwrap().to_owned()
}

/// 200 actions on a spiral, one row of seven numbers each.
fn spiral() -> Vec<f32> {
    let row = |i: usize| {
        let t = i as f32 / 200.0;
        [0.9 * t * (20.0 * t).cos(), 0.9 * t * (20.0 * t).sin(), 1.6 * t - 0.8, 0.0, 0.0, 0.0, 1.0]
    };
    (0..200).flat_map(row).collect()
}

#[test]
fn a_bundles_grids_are_measured_against_others_of_the_same_size() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, picture) = (scratch.path().join("actions.npy"), scratch.path().join("grid.svg"));
    write_npy(&data, &[200, 7], &spiral());
    let (data, picture) = (data.to_str().unwrap(), picture.to_str().unwrap());
    let args =
        ["grid", "show", &shipped(), "--data", data, "--stats", "metaworld_mt5/1.0.0", "--picture", picture, "--json"];
    let shown = stdout_json(&egogrid(&args));
    let measured = &shown["data"];
    assert_eq!(measured["actions"], 200);
    let cuts = measured["cuts"].as_array().unwrap();
    assert_eq!(
        cuts.iter().map(|cut| cut["name"].as_str().unwrap()).collect::<Vec<_>>()[..2],
        ["this bundle", "uniform"]
    );
    for cut in cuts {
        let number = |of: &Value, name: &str| of[name].as_f64().unwrap();
        for dim in cut["error"]["dims"].as_array().unwrap() {
            let [mean, p50, p99, max] = ["mean", "p50", "p99", "max"].map(|name| number(dim, name));
            assert!(p50 <= p99 && p99 <= max && mean <= max, "{dim}");
        }
        let cells = &cut["error"]["translation_cells"];
        assert_eq!(cells["total"], 1600, "as many cells in each: {cut}");
        let (used, largest) = (number(cells, "used"), number(cells, "largest"));
        assert!(used > 10.0 && largest >= 200.0 / used, "{cells}");
    }
    // Meta-World moves by 0.01 m for one normalized unit, and does not rotate.
    let scale = &measured["per_normalized"];
    assert!((scale[0].as_f64().unwrap() - 0.01).abs() < 1e-4 && scale[3].is_null(), "{scale}");
    let svg = fs::read_to_string(picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.matches("class=\"d\"").count() == 400, "{}", svg.len());
}

#[test]
fn data_that_cannot_be_measured_is_refused_in_words() {
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str, shape: &[usize], values: &[f32]| {
        let path = scratch.path().join(name);
        write_npy(&path, shape, values);
        path.to_str().unwrap().to_owned()
    };
    let mut outside = spiral();
    outside[7] = 1.5;
    let mut broken = spiral();
    broken[14] = f32::NAN;
    for (data, says) in [
        (file("wide.npy", &[2, 6], &[0.0; 12]), "expected [n, 7]"),
        (file("outside.npy", &[200, 7], &outside), "x = 1.5"),
        (file("nan.npy", &[200, 7], &broken), "nan.npy"),
        (file("empty.npy", &[0, 7], &[]), ""),
    ] {
        let output = egogrid(&["grid", "show", &shipped(), "--data", &data]);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(says), "{data}: {}", stderr(&output));
    }
    let output = egogrid(&["grid", "show", &shipped(), "--picture", "a.svg"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("--data"), "{}", stderr(&output));
}

/// The whole way: data, a grid with points for it, a bundle for the grid, which is checked and answers.
#[test]
fn a_bundle_is_adapted_to_a_fitted_grid_and_runs() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (data, grid, out) = (path("actions.npy"), path("grid.json"), path("adapted"));
    write_npy(Path::new(&data), &[200, 7], &spiral());
    let fit = ["grid", "fit", &data, "--like", &shipped(), "--sigma-min", "0.01", "--cell-points", "--out", &grid];
    let fitted = stdout_json(&egogrid(&[fit.as_slice(), &["--json"]].concat()));
    let fitted_mean = |dim: usize| fitted["error_mean"][dim].as_f64().unwrap();
    assert_eq!(fitted["grid"]["cell_points"]["translation"].as_array().unwrap().len(), 1600);

    let adapt = ["grid", "adapt", &shipped(), "--grid", &grid, "--out", &out];
    let adapted = stdout_json(&egogrid(&[adapt.as_slice(), &["--json"]].concat()));
    assert_eq!((&adapted["cells"], &adapted["golden_cases"]), (&1601.into(), &2.into()), "{adapted}");
    assert_ne!(adapted["digest"], adapted["from"]);
    assert!(stdout_json(&egogrid(&["check", &out, "--json"]))["ok"].as_bool().unwrap());
    let shown = stdout_json(&egogrid(&["grid", "show", &out, "--data", &data, "--json"]));
    let own = &shown["data"]["cuts"][0]["error"]["dims"];
    for dim in 0..3 {
        assert!((own[dim]["mean"].as_f64().unwrap() - fitted_mean(dim)).abs() < 1e-12, "the bundle decodes as fitted");
    }

    let again = egogrid(&adapt);
    assert!(again.status.code() == Some(2) && stderr(&again).contains("is there already"), "{}", stderr(&again));
    let other =
        egogrid(&["grid", "fit", &data, "--translation", "4,4,4", "--sigma-min", "0.01", "--out", &path("small.json")]);
    assert!(other.status.success());
    let refused = egogrid(&["grid", "adapt", &shipped(), "--grid", &path("small.json"), "--out", &path("small")]);
    assert!(refused.status.code() == Some(2) && stderr(&refused).contains("--like"), "{}", stderr(&refused));
}

/// Quantiles that a grid was fitted with belong into the bundle that it is for.
#[test]
fn only_the_data_sets_own_quantiles_are_written() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("actions.npy");
    write_npy(&data, &[200, 7], &spiral());
    let (data, out) = (data.to_str().unwrap(), scratch.path().join("out.json"));
    let out = out.to_str().unwrap();
    let args = ["grid", "fit", data, "--out", out, "--statistics-out", out, "--statistics-key", "me"];
    let refused = egogrid(&args);
    assert!(
        refused.status.code() == Some(2) && stderr(&refused).contains("--normalize-by dataset"),
        "{}",
        stderr(&refused)
    );
    let alone = egogrid(&args[..args.len() - 2]);
    assert!(alone.status.code() == Some(2) && stderr(&alone).contains("--statistics-key"), "{}", stderr(&alone));
}
