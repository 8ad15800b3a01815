//! `check` holds on a good bundle and names the first stage of a bad one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{environment, golden_bundle, openvla_bundle, rewrite};
use egogrid_policies::bundle::manifest::PreprocessingSpec;
use egogrid_policies::bundle::{Bundle, BundleError};
use egogrid_policies::check::{CheckError, CheckReport, TOLERANCES, check};
use egogrid_policies::registry::{self, LoadError, LoadOptions};
use egogrid_runtime::execution::{Environment, ExecutionError, Flavour, GraphOptions, Provider};
use safetensors::tensor::{SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::Path;

fn checked(dir: &Path) -> Result<CheckReport, CheckError> {
    check(&environment(), &Bundle::open(dir).unwrap(), &GraphOptions::default())
}

/// A copy of bundle `from` whose golden file has one number changed.
fn with_golden_number(from: &Path, dir: &Path, tensor: &str, change: fn(f32) -> f32) {
    rewrite(from, dir, "golden.safetensors", |bytes| {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let mut data: HashMap<String, Vec<u8>> =
            file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect();
        let first: &mut [u8; 4] = data.get_mut(tensor).unwrap().first_chunk_mut().unwrap();
        *first = change(f32::from_le_bytes(*first)).to_le_bytes();
        let view = |name: &str, view: &TensorView<'_>| {
            TensorView::new(view.dtype(), view.shape().to_vec(), &data[name]).unwrap()
        };
        let views: Vec<(String, TensorView<'_>)> =
            file.iter().map(|(name, old)| (name.to_owned(), view(name, &old))).collect();
        safetensors::serialize(views, None).unwrap()
    });
}

#[test]
fn every_stage_of_a_good_bundle_is_within_tolerance() {
    let report = checked(&golden_bundle()).unwrap();
    assert!(report.ok(), "{:?}", report.first_difference());
    let stages: Vec<&str> =
        report.rows.iter().filter(|row| row.case == "case0").map(|row| row.stage.as_str()).collect();
    assert_eq!(
        stages[..8],
        [
            "text_ids",
            "pixel_values",
            "patch_depth_m",
            "points_xyz",
            "freq_encoding",
            "siglip_last_hidden",
            "pos_embed_3d",
            "image_features"
        ]
    );
    assert_eq!(stages[8..20], (0..12).map(|step| format!("step{step}_logits")).collect::<Vec<_>>());
    assert_eq!(stages[20..], ["token_ids", "normalized", "actions"]);
    assert!(report.rows.iter().any(|row| row.case == "case1"));
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains("\"largest_abs_difference\""));
}

#[test]
fn the_first_stage_that_differs_is_named_with_its_difference() {
    for (tensor, case, stage) in [
        ("case1.image_features", "case1", "image_features"),
        ("case0.freq_encoding", "case0", "freq_encoding"),
        ("case1.step11_logits", "case1", "step11_logits"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        with_golden_number(&golden_bundle(), dir.path(), tensor, |value| value + 0.5);
        let report = checked(dir.path()).unwrap();
        let first = report.first_difference().expect(tensor);
        assert_eq!((first.case.as_str(), first.stage.as_str()), (case, stage));
        assert!((first.largest_abs_difference - 0.5).abs() < 1e-2, "{first:?}");
    }
}

#[test]
fn a_number_that_is_not_finite_is_a_difference_that_json_can_hold() {
    let dir = tempfile::tempdir().unwrap();
    with_golden_number(&golden_bundle(), dir.path(), "case0.pixel_values", |_| f32::NAN);
    let report = checked(dir.path()).unwrap();
    let first = report.first_difference().unwrap();
    assert_eq!((first.stage.as_str(), first.largest_abs_difference), ("pixel_values", f64::MAX));
    assert!(!serde_json::to_string(&report).unwrap().contains("null"));
}

#[test]
fn every_stage_of_a_good_openvla_bundle_is_within_tolerance() {
    let report = checked(&openvla_bundle()).unwrap();
    assert!(report.ok(), "{:?}", report.first_difference());
    let stages = |case: &str| -> Vec<String> {
        report.rows.iter().filter(|row| row.case == case).map(|row| row.stage.clone()).collect()
    };
    for (case, dims) in [("case0", 5), ("case1", 7)] {
        let stages = stages(case);
        assert_eq!(stages[..4], ["text_ids", "pixel_values", "patch_features", "image_features"]);
        assert_eq!(stages[4..4 + dims], (0..dims).map(|step| format!("step{step}_logits")).collect::<Vec<_>>());
        assert_eq!(stages[4 + dims..], ["token_ids", "normalized", "actions"]);
    }
    assert!(report.rows.iter().filter(|row| row.stage.ends_with("logits")).all(|row| row.tolerance == Some(2e-4)));
}

#[test]
fn a_tampered_golden_tensor_of_openvla_is_named_by_its_stage() {
    for (tensor, case, stage) in [
        ("case0.pixel_values", "case0", "pixel_values"),
        ("case1.patch_features", "case1", "patch_features"),
        ("case0.image_features", "case0", "image_features"),
        ("case1.step0_logits", "case1", "step0_logits"),
        ("case0.step4_logits", "case0", "step4_logits"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        with_golden_number(&openvla_bundle(), dir.path(), tensor, |value| value + 0.0625);
        let first = checked(dir.path()).unwrap().first_difference().cloned().expect(tensor);
        assert_eq!((first.case.as_str(), first.stage.as_str()), (case, stage));
        assert!((first.largest_abs_difference - 0.0625).abs() < 1e-3, "{first:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    // The lowest byte of the first id, and of the first number.
    for tensor in ["case0.token_ids", "case1.text_ids", "case0.normalized", "case1.actions"] {
        with_golden_number(&openvla_bundle(), dir.path(), tensor, |value| f32::from_bits(value.to_bits() ^ (1 << 30)));
        let first = checked(dir.path()).unwrap().first_difference().cloned().expect(tensor);
        assert_eq!(format!("{}.{}", first.case, first.stage), tensor);
    }
}

#[test]
fn an_openvla_tokenizer_of_another_checkpoint_is_refused() {
    for (token, other) in [("\"</s>\"", "\"<end>\""), ("\"<s>\"", "\"<beg>\"")] {
        let dir = tempfile::tempdir().unwrap();
        rewrite(&openvla_bundle(), dir.path(), "tokenizer.json", |bytes| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let mut file: serde_json::Value = serde_json::from_str(&text.replace(token, other)).unwrap();
            file["added_tokens"] = serde_json::json!([]);
            file["post_processor"] = serde_json::Value::Null;
            serde_json::to_vec(&file).unwrap()
        });
        let error = checked(dir.path()).unwrap_err();
        assert!(matches!(&error, CheckError::Load(LoadError::Bundle(BundleError::Vocabulary { .. }))), "{error}");
    }
}

/// The manifest is right for its tables and wrong for the graph.
#[test]
fn an_openvla_graph_that_is_not_the_one_of_the_manifest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let prefill = std::fs::read(openvla_bundle().join("prefill.onnx")).unwrap();
    rewrite(&openvla_bundle(), dir.path(), "vision.onnx", |_| prefill.clone());
    let error = checked(dir.path()).unwrap_err();
    assert!(
        matches!(&error, CheckError::Load(LoadError::Bundle(BundleError::Graph { graph, .. })) if graph == "vision"),
        "{error}"
    );
}

#[test]
fn a_preprocessing_that_the_family_does_not_have_is_refused() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let preprocessing = Some(PreprocessingSpec::Evaluation);
    let options =
        LoadOptions { stats_key: "bridge_orig/1.0.0".to_owned(), graph: GraphOptions::default(), preprocessing };
    let Err(error) = registry::load(&environment(), &bundle, &options) else { panic!("it was taken") };
    assert!(error.to_string().contains("evaluation"), "{error}");
}

#[test]
fn every_tolerance_is_named_once() {
    for (at, (name, tolerance)) in TOLERANCES.iter().enumerate() {
        assert!(*tolerance >= 0.0 && *tolerance <= 1e-3, "{name}");
        assert!(TOLERANCES[..at].iter().all(|(other, _)| other != name));
    }
}

/// Right digests, wrong graph: the manifest's tables are compared with what the session itself reports.
#[test]
fn a_graph_that_is_not_the_one_of_the_manifest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let prefill = std::fs::read(golden_bundle().join("prefill.onnx")).unwrap();
    rewrite(&golden_bundle(), dir.path(), "vision.onnx", |_| prefill.clone());
    let error = checked(dir.path()).unwrap_err();
    assert!(
        matches!(&error, CheckError::Load(LoadError::Bundle(BundleError::Graph { graph, .. })) if graph == "vision"),
        "{error}"
    );
    let dir = tempfile::tempdir().unwrap();
    rewrite(&golden_bundle(), dir.path(), "decode.onnx", |bytes| bytes[..bytes.len() / 2].to_vec());
    let error = checked(dir.path()).unwrap_err();
    assert!(matches!(&error, CheckError::Load(LoadError::Execution(ExecutionError::Load { .. }))), "{error}");
}

#[test]
fn a_tokenizer_of_another_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    rewrite(&golden_bundle(), dir.path(), "tokenizer.json", |bytes| {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .replace("<ACTION00000>", "<OTHER>")
            .replace("\"<bos>\"", "\"<beg>\"")
            .into_bytes()
    });
    let error = checked(dir.path()).unwrap_err();
    assert!(matches!(&error, CheckError::Load(LoadError::Bundle(BundleError::Vocabulary { .. }))), "{error}");
}

/// `check` compares the ids too: padded or cut prompts would differ.
#[test]
fn a_tokenizer_file_that_cuts_and_pads_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    rewrite(&golden_bundle(), dir.path(), "tokenizer.json", |bytes| {
        let mut file: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        file["truncation"] = serde_json::json!({
            "max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"
        });
        file["padding"] = serde_json::json!({
            "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"
        });
        serde_json::to_vec(&file).unwrap()
    });
    let report = checked(dir.path()).unwrap();
    assert!(report.ok(), "{:?}", report.first_difference());
}

#[test]
fn statistics_must_be_asked_for_by_a_key_that_is_there() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    let load = |key: &str| {
        registry::load(
            &environment(),
            &bundle,
            &LoadOptions { stats_key: key.to_owned(), graph: GraphOptions::default(), preprocessing: None },
        )
    };
    let policy = load("bridge_orig/1.0.0").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (policy.spec().id.as_str(), policy.spec().chunk_len, policy.spec().image_px),
        ("spatialvla/ckpt", 4, [224, 224])
    );
    let Err(error) = load("bridge") else { panic!("an unknown key was taken") };
    assert!(error.to_string().contains("bridge_orig/1.0.0") && !error.is_missing(), "{error}");
}

#[test]
fn a_provider_that_cannot_start_is_an_error_and_not_a_run_on_the_processor() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    for provider in ["cuda:0", "tensorrt:0", "openvino"] {
        let graph = GraphOptions { provider: provider.parse().unwrap(), ..GraphOptions::default() };
        let options = LoadOptions { stats_key: "bridge_orig/1.0.0".to_owned(), graph, preprocessing: None };
        let Err(error) = registry::load(&environment(), &bundle, &options) else { panic!("{provider} started") };
        assert!(error.is_missing() && error.to_string().contains("provider = \"cpu\""), "{error}");
    }
}

/// Static graphs on the processor, estimator of depth included.
#[test]
fn every_stage_of_the_static_graphs_is_within_tolerance() {
    let graph = GraphOptions { flavour: Some(Flavour::Static), ..GraphOptions::default() };
    let report = check(&environment(), &Bundle::open(&golden_bundle()).unwrap(), &graph).unwrap();
    assert!(report.ok(), "{:?}", report.first_difference());
    let cpu = checked(&golden_bundle()).unwrap();
    let stages = |report: &CheckReport| report.rows.iter().map(|row| row.stage.clone()).collect::<Vec<_>>();
    assert_eq!(stages(&report), stages(&cpu));
    assert_ne!(report, cpu, "the same graphs ran twice");
}

#[test]
fn a_bundle_without_the_graphs_that_a_provider_runs_says_so() {
    let dir = tempfile::tempdir().unwrap();
    common::without_static_graphs(&golden_bundle(), dir.path());
    let bundle = Bundle::open(dir.path()).unwrap();
    let graph = GraphOptions { flavour: Some(Flavour::Static), ..GraphOptions::default() };
    let error = check(&environment(), &bundle, &graph).unwrap_err();
    assert!(
        matches!(&error, CheckError::Load(LoadError::Bundle(BundleError::NoFlavour { flavour: Flavour::Static, .. }))),
        "{error}"
    );
    assert!(error.to_string().contains("fp32, fp16 or bf16"), "{error}");
    assert!(check(&environment(), &bundle, &GraphOptions::default()).unwrap().ok());
}

#[test]
fn options_out_of_bounds_are_refused() {
    let bundle = Bundle::open(&golden_bundle()).unwrap();
    for threads in [0, u16::MAX] {
        let graph = GraphOptions { threads, ..GraphOptions::default() };
        let error = check(&environment(), &bundle, &graph).unwrap_err();
        assert!(error.to_string().contains("threads"), "{error}");
    }
    assert_eq!("cuda:1".parse::<Provider>().unwrap().to_string(), "cuda:1");
    for text in
        ["gpu", "cpu:0", "cuda:x", "cuda:-1", "cuda:64", "CUDA", "openvino:", "openvino:cpu", "openvino:GPU.x", ""]
    {
        assert!(text.parse::<Provider>().is_err(), "{text}");
    }
}

#[test]
fn a_library_that_is_missing_wrong_or_a_second_one_is_named_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Environment::load(&dir.path().join("libonnxruntime.so")).unwrap_err();
    assert!(matches!(missing, ExecutionError::LibraryMissing { .. }) && missing.is_missing(), "{missing}");
    assert!(missing.to_string().contains("./launch/test"), "{missing}");
    assert!(Environment::load(dir.path()).is_err(), "a directory");
    let loaded = environment();
    assert_eq!(Environment::load(loaded.library()).unwrap().library(), loaded.library(), "twice the same is fine");
    let text = dir.path().join("text.so");
    std::fs::write(&text, "not a library").unwrap();
    let second = Environment::load(&text).unwrap_err();
    assert!(matches!(second, ExecutionError::OtherLibrary { .. }), "{second}");
}
