//! `policies::adapt` on the shipped policy: a bundle for other grids is the old one but for the rows of its cells.
//!
//! Needs ONNX Runtime, put there by `./launch/test`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{SHIPPED, environment, exported, golden_bundle, openvla_bundle, python, root};
use egogrid_action_grids::adapt::{AdaptError, AxisOrder, Interpolation, adapt_cells};
use egogrid_action_grids::fit::{GridShape, uniform};
use egogrid_action_grids::{ActionGrid, ActionTokenizer};
use egogrid_policies::adapt::{AdaptBundleError, Adaptation, Adapted, adapt};
use egogrid_policies::bundle::{Bundle, BundleError, RowsSpec};
use egogrid_policies::check::check;
use egogrid_runtime::execution::GraphOptions;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const VOCABULARY: usize = 2093;
const WIDTH: usize = 96;
const BEGIN: usize = 490;
const CELLS: usize = 1600;

fn shipped() -> PathBuf {
    root().join("policies/shipped/metaworld/bundle")
}

fn grid_of(bundle: &Path) -> Vec<u8> {
    fs::read(bundle.join("grid.json")).unwrap()
}

/// Between the shipped edges and uniform ones: every axis moves, and none by much.
fn other_grid() -> (Vec<u8>, ActionGrid) {
    let old: Value = serde_json::from_slice(&grid_of(&shipped())).unwrap();
    let even = uniform(&GridShape { translation: [10, 20, 8], rotation: [1, 1, 1] }).unwrap().translation;
    let mut new = json!({ "translation": {}, "rotation": old["rotation"] });
    for (name, even) in ["theta_rad", "phi_rad", "r"].into_iter().zip(even.axes()) {
        let edges = old["translation"][name].as_array().unwrap().iter().zip(even.as_slice());
        new["translation"][name] = edges.map(|(old, even)| 0.7 * old.as_f64().unwrap() + 0.3 * even).collect();
    }
    let text = serde_json::to_vec(&new).unwrap();
    let tokenizer = tokenizer_of(&text);
    (text, tokenizer.translation_grid().clone())
}

fn tokenizer_of(grid_json: &[u8]) -> ActionTokenizer {
    let edges = |part: &str, axis: &str| {
        let value: Value = serde_json::from_slice(grid_json).unwrap();
        let edges = value[part][axis].as_array().unwrap().iter().map(|edge| edge.as_f64().unwrap()).collect();
        egogrid_action_grids::BinEdges::new(edges).unwrap()
    };
    let grid = |part: &str, axes: [&str; 3]| ActionGrid::new(axes.map(|axis| edges(part, axis))).unwrap();
    let (translation, rotation) =
        (grid("translation", ["theta_rad", "phi_rad", "r"]), grid("rotation", ["roll", "pitch", "yaw"]));
    let table = egogrid_action_grids::TokenTable::contiguous(BEGIN as u32, [CELLS as u32, 1, 2], 1).unwrap();
    ActionTokenizer::new(translation, rotation, table).unwrap()
}

fn adapted(
    grid_json: &[u8],
    [embeddings, head]: [RowsSpec; 2],
    target: &Path,
) -> Result<(Adapted, Bundle), AdaptBundleError> {
    let old = Bundle::open(&shipped()).unwrap();
    let new = Adaptation { grid_json, statistics_json: None, embeddings, head };
    let adapted = adapt(&environment(), &old, &new, target, &mut |_| {})?;
    Ok((adapted, Bundle::open(target).unwrap()))
}

const BOTH: [RowsSpec; 2] = [RowsSpec::Interpolated; 2];

#[test]
fn the_same_grid_changes_no_weight_and_no_answer() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("same");
    let (adapted, bundle) = adapted(&grid_of(&shipped()), BOTH, &target).unwrap();
    assert_eq!((adapted.cells_moved, adapted.cells, adapted.cases_changed), (0, CELLS + 1, 0));
    let same = |file: &str| fs::read(target.join(file)).unwrap() == fs::read(shipped().join(file)).unwrap();
    assert!(same("weights.bin") && same("grid.json") && same("decode.onnx") && same("statistics.json"));
    let spec = bundle.manifest().adapted.clone().unwrap();
    assert_eq!(spec.from, Bundle::open(&shipped()).unwrap().digest());
    assert_ne!(bundle.digest(), spec.from, "another bundle, and it says of which");
    assert!(fs::read_to_string(target.join("README.md")).unwrap().contains("## Adapted"));
}

/// Rows are compared with those of the checkpoint, which the adaptation never saw: it works on what the exporter packed.
#[test]
fn every_row_of_a_cell_is_the_checkpoint_s_field_at_the_cell_s_new_place() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("other");
    let (grid_json, new) = other_grid();
    let old = tokenizer_of(&grid_of(&shipped())).translation_grid().clone();
    let (adapted, bundle) = adapted(&grid_json, BOTH, &target).unwrap();
    assert!(adapted.cells_moved >= CELLS - 8, "{adapted:?}");
    assert!(check(&environment(), &bundle, &GraphOptions::default()).unwrap().ok());

    let checkpoint = fs::read(root().join(SHIPPED).join("model.safetensors")).unwrap();
    let checkpoint = SafeTensors::deserialize(&checkpoint).unwrap();
    let tensor = |name: &str| -> Vec<f32> {
        let view = checkpoint.tensor(name).unwrap();
        view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let spatial = &tensor("spatial_embed_tokens.weight")[..CELLS * WIDTH];
    let head = &tensor("language_model.lm_head.weight")[BEGIN * WIDTH..(BEGIN + CELLS) * WIDTH];
    let (before, after) = (numbers(&shipped()), numbers(&target));
    let scale = (WIDTH as f64).sqrt() as f32;
    for (expected, scale) in [(spatial, scale), (head, 1.0)] {
        let expected = adapt_cells(&old, &new, expected, WIDTH, AxisOrder::Ij, Interpolation::Trilinear).unwrap();
        let expected: Vec<f32> = expected.iter().map(|value| value * scale).collect();
        let found = find_rows(&after, &expected).expect("the rows lie nowhere in the new weights");
        assert!(find_rows(&before, &expected).is_none(), "they are new");
        // Everything that differs is a row of a cell: these, or their repetition over the last rows of the input table.
        assert_eq!(before.len(), after.len());
        assert_ne!(before[found..found + expected.len()], after[found..found + expected.len()]);
    }
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!(changed <= 3 * CELLS * WIDTH, "{changed} numbers changed");
}

/// All of `weights.bin` as numbers.
fn numbers(bundle: &Path) -> Vec<f32> {
    let bytes = fs::read(bundle.join("weights.bin")).unwrap();
    bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

/// Where `rows` lie. Sums of rounded rows differ from rounded sums in the last bits.
fn find_rows(numbers: &[f32], rows: &[f32]) -> Option<usize> {
    let near = |a: f32, b: f32| (a - b).abs() <= 1e-6 * (1.0 + a.abs());
    (0..=numbers.len() - rows.len()).step_by(16).find(|&start| {
        numbers[start..start + rows.len()].iter().zip(rows).all(|(found, expected)| near(*found, *expected))
    })
}

#[test]
fn a_kept_head_chooses_the_same_first_cell_and_means_another_action() {
    let scratch = tempfile::tempdir().unwrap();
    let (grid_json, _) = other_grid();
    let target = scratch.path().join("kept");
    let (_, bundle) = adapted(&grid_json, [RowsSpec::Interpolated, RowsSpec::Kept], &target).unwrap();
    let old = Bundle::open(&shipped()).unwrap().golden().unwrap();
    for (old, new) in old.iter().zip(bundle.golden().unwrap()) {
        let (before, after) = (old.f32("step0_logits").unwrap(), new.f32("step0_logits").unwrap());
        assert_eq!(before.len(), VOCABULARY);
        assert!(before.iter().zip(after).all(|(before, after)| (before - after).abs() < 1e-3));
        assert_eq!(old.i64("token_ids").unwrap()[0], new.i64("token_ids").unwrap()[0]);
        assert_ne!(old.f64("normalized").unwrap()[..3], new.f64("normalized").unwrap()[..3]);
    }
}

#[test]
fn new_statistics_are_added_and_never_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let old = Bundle::open(&shipped()).unwrap();
    let (grid_json, environment) = (grid_of(&shipped()), environment());
    let with = |statistics: &Value, name: &str| {
        let text = serde_json::to_vec(statistics).unwrap();
        let statistics_json = Some(text.as_slice());
        let [embeddings, head] = BOTH;
        let new = Adaptation { grid_json: &grid_json, statistics_json, embeddings, head };
        adapt(&environment, &old, &new, &scratch.path().join(name), &mut |_| {})
    };
    let quantiles = json!({ "q01": [-0.02, -0.02, -0.02, -0.1, -0.1, -0.1, 0.0], "q99": [0.02, 0.02, 0.02, 0.1, 0.1, 0.1, 1.0],
                            "mask": [true, true, true, true, true, true, false] });
    with(&json!({ "my_arm": { "action": quantiles } }), "added").unwrap();
    let added = Bundle::open(&scratch.path().join("added")).unwrap();
    assert_eq!(added.statistics().keys().collect::<Vec<_>>(), ["metaworld_mt5/1.0.0", "my_arm"]);
    for (statistics, says) in [
        (json!({ "metaworld_mt5/1.0.0": { "action": quantiles } }), "metaworld_mt5/1.0.0"),
        (json!([1]), "cannot be added"),
        (json!({ "my_arm": { "action": { "q01": [1.0], "q99": [0.0], "mask": [true] } } }), "my_arm"),
    ] {
        let refused = with(&statistics, "refused").unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left of what was refused");
}

#[test]
fn what_cannot_be_adapted_is_refused_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("new");
    let refused = |bundle: &Path, grid_json: &[u8], target: &Path| {
        let bundle = Bundle::open(bundle).unwrap();
        let [embeddings, head] = BOTH;
        let new = Adaptation { grid_json, statistics_json: None, embeddings, head };
        adapt(&environment(), &bundle, &new, target, &mut |_| {}).unwrap_err()
    };
    let own = grid_of(&shipped());
    let shape = refused(&shipped(), &grid_of(&golden_bundle()), &target);
    assert!(matches!(shape, AdaptBundleError::Adapt(AdaptError::Shape { .. })), "{shape}");
    let family = refused(&openvla_bundle(), &own, &target);
    assert!(matches!(family, AdaptBundleError::Bundle(BundleError::OtherFamily { .. })), "{family}");
    let grid = refused(&shipped(), b"{", &target);
    assert!(matches!(grid, AdaptBundleError::Bundle(BundleError::Json { .. })), "{grid}");
    let precision = refused(&exported(SHIPPED, "fp16", 0), &own, &target);
    assert!(matches!(&precision, AdaptBundleError::Precision { precision } if precision == "fp16"), "{precision}");
    let taken = refused(&shipped(), &own, scratch.path());
    assert!(matches!(taken, AdaptBundleError::Bundle(BundleError::Taken { .. })), "{taken}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

/// A bundle whose weights are not what its golden tensors say is no ground to stand on.
#[test]
fn a_bundle_that_does_not_pass_its_own_check_is_not_adapted() {
    let scratch = tempfile::tempdir().unwrap();
    let (grid_json, _) = other_grid();
    let good = scratch.path().join("good");
    adapted(&grid_json, BOTH, &good).unwrap();
    // The old answers under the new weights, signed like any bundle: only a check can tell.
    let broken = scratch.path().join("broken");
    fs::create_dir(&broken).unwrap();
    for entry in fs::read_dir(&good).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), broken.join(entry.file_name())).unwrap();
    }
    fs::copy(shipped().join("golden.safetensors"), broken.join("golden.safetensors")).unwrap();
    common::sign(&broken);
    let broken = Bundle::open(&broken).unwrap();
    let [embeddings, head] = BOTH;
    let new = Adaptation { grid_json: &grid_json, statistics_json: None, embeddings, head };
    let error = adapt(&environment(), &broken, &new, &scratch.path().join("new"), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, AdaptBundleError::OldBundle { stage, .. } if stage == "step0_logits"), "{error}");
    assert!(error.is_check());
}

/// Two implementations that share nothing, on the two sides of an export: rows in `weights.bin` here, tensors of the checkpoint in the
/// exporter's numpy, whose reference network then says what the golden tensors are.
#[test]
fn an_adapted_bundle_is_the_export_of_the_adapted_checkpoint() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let (grid_json, _) = other_grid();
    fs::write(path("grid.json"), &grid_json).unwrap();
    let (_, ours) = adapted(&grid_json, BOTH, &path("ours")).unwrap();
    let output = python()
        .args(["-m", "egogrid_export", "--depth", "sensor", "--grid"])
        .args([path("grid.json"), root().join(SHIPPED), path("theirs")])
        .env("PYTHONPATH", root().join("policies/export/src"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = Bundle::open(&path("theirs")).unwrap();
    let (found, expected) = (numbers(&path("ours")), numbers(&path("theirs")));
    assert_eq!(found.len(), expected.len());
    let furthest = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest < 1e-5, "weights differ by {furthest}, more than rounding");
    let environment = environment();
    let mut cases = 0;
    for (ours, theirs) in ours.golden().unwrap().iter().zip(theirs.golden().unwrap()) {
        assert_eq!(ours.i64("token_ids").unwrap(), theirs.i64("token_ids").unwrap());
        assert_eq!(ours.f64("actions").unwrap(), theirs.f64("actions").unwrap());
        for step in 0..ours.i64("token_ids").unwrap().len() {
            let name = format!("step{step}_logits");
            let pairs = ours.f32(&name).unwrap().iter().zip(theirs.f32(&name).unwrap());
            let furthest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(furthest < 1e-3, "{} {name} differs by {furthest}", ours.name);
        }
        cases += 1;
    }
    assert_eq!(cases, 2);
    assert!(check(&environment, &theirs, &GraphOptions::default()).unwrap().ok());
}
