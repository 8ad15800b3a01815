//! What fewer bits do to tokens and actions is measured here as the exporter measured it, and judged by what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{SHIPPED, TinyBundle, environment, exported, golden_bundle, rewrite};
use egogrid_policies::bundle::manifest::{Manifest, PrecisionCheck};
use egogrid_policies::bundle::{Bundle, BundleError, read_manifest};
use egogrid_policies::check::{CheckError, CheckReport, check};
use egogrid_policies::precision::{PrecisionReport, measure};
use egogrid_policies::registry::LoadError;
use egogrid_runtime::execution::{ExecutionError, Flavour, GraphOptions};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const OBSERVATIONS: u32 = 24;
const SPATIALVLA: &str = "tests/fixtures/spatialvla_golden/ckpt";
const OPENVLA: &str = "tests/fixtures/openvla_golden/ckpt";
static INT8: LazyLock<PathBuf> = LazyLock::new(|| exported(SHIPPED, "int8", OBSERVATIONS));
static OPENVLA_FP16: LazyLock<PathBuf> = LazyLock::new(|| exported(OPENVLA, "fp16", 8));
static INT4: LazyLock<PathBuf> = LazyLock::new(|| exported(SHIPPED, "int4", OBSERVATIONS));

/// fp32 has no table, int8 must have one.
const TABLE: &str = r#"precision = "int8"
precision_check = { observations = 0, observations_differ = 0, ids = 0, ids_differ = 0, chunks_differ = 0, logit_difference_max = 0.0, action_difference_max = 0.0, action_bound = 0.1, within_bound = false, stage_differences = [] }"#;

fn measured(dir: &Path, count_max: usize) -> Result<Option<PrecisionReport>, CheckError> {
    let bundle = Bundle::open(dir).unwrap_or_else(|error| panic!("{error}"));
    measure(&environment(), &bundle, &GraphOptions::default(), count_max, &mut |_, _| {})
}

fn table(dir: &Path) -> PrecisionCheck {
    read_manifest(dir).unwrap().precision_check.unwrap()
}

fn opened(tiny: &TinyBundle) -> Result<Manifest, BundleError> {
    let dir = tempfile::tempdir().unwrap();
    tiny.write(dir.path());
    Bundle::open(dir.path()).map(|bundle| bundle.manifest().clone())
}

#[test]
fn this_machine_measures_what_the_exporter_measured() {
    for bundle in [&*INT8, &*INT4] {
        let (found, recorded) = (measured(bundle, usize::MAX).unwrap().unwrap(), table(bundle));
        assert_eq!((found.observations, found.ids), (recorded.observations as usize, recorded.ids as usize));
        // Pixels and points are computed in another order here: an id whose two largest logits are equal may differ.
        let near = |found: usize, recorded: u32| found.abs_diff(recorded as usize) <= 2;
        assert!(near(found.ids_differ, recorded.ids_differ), "{found:?}");
        assert!(near(found.observations_differ, recorded.observations_differ), "{found:?}");
        let ratio = found.logit_difference_max / recorded.logit_difference_max;
        assert!((0.8..1.25).contains(&ratio), "{found:?}");
        assert!(
            found.physical_difference_max <= found.action_difference_max,
            "a step is less than a metre and a radian"
        );
        assert!(found.ids_differ < found.ids / 3, "most ids are those of fp32: {found:?}");
        assert!(found.ok());
    }
}

/// Of a checkpoint in f32, so that 16 bits round it too; random weights make every id a near miss.
#[test]
fn a_family_without_depth_is_measured_the_same_way() {
    for bundle in [&*OPENVLA_FP16, &exported(OPENVLA, "int8", 8)] {
        let (found, recorded) = (measured(bundle, usize::MAX).unwrap().unwrap(), table(bundle));
        assert_eq!((found.observations, found.ids), (8, recorded.ids as usize));
        assert!(found.ids_differ.abs_diff(recorded.ids_differ as usize) <= 2, "{found:?}");
        let ratio = found.logit_difference_max / recorded.logit_difference_max;
        assert!((0.8..1.25).contains(&ratio), "{found:?}");
        let report = check(&environment(), &Bundle::open(bundle).unwrap(), &GraphOptions::default()).unwrap();
        assert!(report.ok(), "{:?}", report.first_difference());
    }
}

fn static_graphs() -> GraphOptions {
    GraphOptions { flavour: Some(Flavour::Static), ..GraphOptions::default() }
}

/// What CUDA and TensorRT run, here on the processor: products really are computed in 16 bits, fp32 only between them. Of
/// checkpoints in f32, and in bf16, whose weights fp16 leaves as they are: only the graphs' own rounding shows then.
#[test]
fn static_graphs_in_fp16_give_the_ids_of_fp32() {
    for dir in [&exported(SHIPPED, "fp16", OBSERVATIONS), &*OPENVLA_FP16, &exported(SPATIALVLA, "fp16", 4)] {
        let bundle = Bundle::open(dir).unwrap();
        let [narrow, wide] =
            [static_graphs(), GraphOptions::default()].map(|graphs| check(&environment(), &bundle, &graphs).unwrap());
        assert!(narrow.ok(), "{:?}", narrow.first_difference());
        assert_ne!(narrow, wide, "the same graphs ran twice");
        let stages = |report: &CheckReport| report.rows.iter().map(|row| row.stage.clone()).collect::<Vec<_>>();
        assert_eq!(stages(&narrow), stages(&wide));
        let found = measure(&environment(), &bundle, &static_graphs(), usize::MAX, &mut |_, _| {}).unwrap().unwrap();
        let recorded = table(dir);
        assert_eq!(found.ids, recorded.ids as usize);
        assert!(found.ids_differ <= recorded.ids_differ as usize + 2, "against fp32: {found:?}");
        assert!(found.logit_difference_max > 0.0 && found.chunks_differ == 0, "{found:?}");
    }
}

#[test]
fn static_graphs_in_bf16_are_refused_on_the_processor_with_where_they_run() {
    let bundle = Bundle::open(&exported(SHIPPED, "bf16", 0)).unwrap();
    let error = check(&environment(), &bundle, &static_graphs()).unwrap_err();
    let CheckError::Load(LoadError::Execution(error @ ExecutionError::NoKernel { .. })) = error else {
        panic!("{error}")
    };
    let text = error.to_string();
    assert!(text.contains("MatMul") && text.contains("cuda and tensorrt") && text.contains("fp16"), "{text}");
    assert!(check(&environment(), &bundle, &GraphOptions::default()).unwrap().ok(), "its own graphs run");
}

#[test]
fn int8_is_nearer_to_fp32_than_int4() {
    let [int8, int4] = [&*INT8, &*INT4].map(|bundle| measured(bundle, usize::MAX).unwrap().unwrap());
    assert!(int8.ids_differ < int4.ids_differ && int8.logit_difference_max < int4.logit_difference_max / 2.0);
}

#[test]
fn fewer_observations_can_be_asked_for_and_progress_ends_at_their_number() {
    let bundle = Bundle::open(&INT8).unwrap();
    let mut seen = Vec::new();
    let report =
        measure(&environment(), &bundle, &GraphOptions::default(), 3, &mut |done, total| seen.push((done, total)));
    assert_eq!((report.unwrap().unwrap().observations, seen), (3, vec![(1, 3), (2, 3), (3, 3)]));
    assert!(measured(&INT8, 0).unwrap().is_none());
    assert!(measured(&golden_bundle(), usize::MAX).unwrap().is_none(), "fp32 has none");
}

#[test]
fn stages_of_fewer_bits_are_judged_by_what_they_differed_by_at_export() {
    for bundle in [&*INT8, &*INT4] {
        let report = check(&environment(), &Bundle::open(bundle).unwrap(), &GraphOptions::default()).unwrap();
        assert!(report.ok(), "{:?}", report.first_difference());
        let tolerance = |stage: &str| report.rows.iter().find(|row| row.stage == stage).unwrap().tolerance;
        assert_eq!((tolerance("pixel_values"), tolerance("token_ids")), (Some(0.0), None));
        assert_eq!(tolerance("freq_encoding"), Some(1e-3), "before any weight: as for fp32");
        let (features, logits) = (tolerance("image_features").unwrap(), tolerance("step0_logits").unwrap());
        assert!(features > 1e-3 && logits > 1e-2 && logits < 10.0, "{features} {logits}");
    }
}

/// A library or processor that computes int8 wrongly shows, although fp32's tolerances do not hold for these bundles.
#[test]
fn a_graph_that_computes_something_else_is_seen_at_fewer_bits_too() {
    let dir = tempfile::tempdir().unwrap();
    rewrite(&INT8, dir.path(), "weights.bin", |bytes| {
        let mut changed = bytes.to_vec();
        changed[..4096].fill(128);
        changed
    });
    let report = check(&environment(), &Bundle::open(dir.path()).unwrap(), &GraphOptions::default()).unwrap();
    assert_eq!(report.first_difference().expect("a difference").stage, "siglip_last_hidden");
}

#[test]
fn a_bound_that_holds_at_export_and_not_here_is_a_check_that_failed() {
    let recorded = table(&INT4);
    assert!(!recorded.within_bound && recorded.action_difference_max > 0.0, "int4 changes actions: {recorded:?}");
    let dir = tempfile::tempdir().unwrap();
    let claim = |text: &str| {
        let text = replaced(text, "action_difference_max", "0.0");
        replaced(&replaced(&text, "within_bound", "true"), "chunks_differ", "0")
    };
    with_manifest(&INT4, dir.path(), claim);
    assert!(table(dir.path()).within_bound);
    let report = measured(dir.path(), usize::MAX).unwrap().unwrap();
    assert!(!report.within_bound && !report.ok());
}

#[test]
fn a_bundle_beyond_its_bound_or_not_measured_warns_whoever_runs_it() {
    let warning = table(&INT4).warning().unwrap();
    assert!(warning.contains("beyond") && warning.contains("ids differ") && warning.contains("0.1"), "{warning}");
    let tiny = TinyBundle::new().replace("precision = \"fp32\"", TABLE);
    let warning = opened(&tiny).unwrap().precision_check.unwrap().warning().unwrap();
    assert!(warning.contains("nobody has measured"), "{warning}");
    let within = PrecisionCheck { action_difference_max: 0.05, within_bound: true, ..table(&INT4) };
    assert_eq!(within.warning(), None);
}

#[test]
fn a_table_that_contradicts_the_precision_the_files_or_itself_is_refused() {
    let int8 = || TinyBundle::new().replace("precision = \"fp32\"", TABLE);
    opened(&int8()).unwrap();
    let fp32 = TABLE.replacen("int8", "fp32", 1);
    let refused = [
        (TinyBundle::new().replace("precision = \"fp32\"", "precision = \"int8\""), "[precision_check]"),
        (TinyBundle::new().replace("precision = \"fp32\"", &fp32), "[precision_check]"),
        (int8().replace("observations = 0", "observations = 1"), "stage_differences"),
        (int8().replace("observations = 0", "observations = 4097"), "observations"),
        (int8().replace("observations_differ = 0", "observations_differ = 1"), "observations_differ"),
        (int8().replace("ids = 0", "ids = 1"), "ids"),
        (int8().replace("ids_differ = 0", "ids_differ = 1"), "ids_differ"),
        (int8().replace("chunks_differ = 0", "chunks_differ = 1"), "chunks_differ"),
        (int8().replace("logit_difference_max = 0.0", "logit_difference_max = nan"), "logit_difference_max"),
        (int8().replace("action_difference_max = 0.0", "action_difference_max = -1.0"), "action_difference_max"),
        (int8().replace("action_bound = 0.1", "action_bound = 2.5"), "action_bound"),
        (int8().replace("within_bound = false", "within_bound = true"), "within_bound"),
        (int8().replace("stage_differences = []", "stage_differences = [0.1]"), "stage_differences"),
    ];
    for (tiny, field) in refused {
        match opened(&tiny) {
            Err(BundleError::Field { field: found, .. }) => assert!(found.contains(field), "{found}, expected {field}"),
            other => panic!("{field}: {other:?}"),
        }
    }
    let measured = int8()
        .replace("observations = 0", "observations = 1")
        .replace("stage_differences = []", "stage_differences = [0.1]")
        .replace("within_bound = false", "within_bound = true");
    assert!(opened(&measured).unwrap_err().to_string().contains("observations.safetensors"), "the file is not there");
    let unknown = int8().replace("ids_differ = 0", "ids_differ = 0, ids_equal = 0");
    assert!(matches!(opened(&unknown), Err(BundleError::Manifest { .. })));
}

#[test]
fn damaged_observations_are_named_and_nothing_of_them_is_run() {
    let damages: [(&str, Damage, &str); 5] = [
        ("instruction_index", |bytes| bytes[0] = 8, "instruction_index"),
        ("token_counts", |bytes| bytes[..8].copy_from_slice(&(-1i64).to_le_bytes()), "token_counts"),
        ("token_counts", |bytes| bytes[0] += 1, "token_ids"),
        ("top_ids", |bytes| bytes[..8].copy_from_slice(&(-1i64).to_le_bytes()), "top_ids"),
        ("whole", |bytes| bytes.fill(0), ""),
    ];
    for (tensor, damage, named) in damages {
        let dir = tempfile::tempdir().unwrap();
        with_tensor(dir.path(), tensor, damage);
        match measured(dir.path(), 1) {
            Ok(Some(report)) => assert_eq!((named, report.chunks_differ), ("", 1), "a chunk that the reference lacks"),
            other => {
                let error = other.unwrap_err().to_string();
                assert!(error.contains("observations.safetensors") && error.contains(named), "{error}");
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    with_tensor(dir.path(), "top_ids", |bytes| bytes[..8].copy_from_slice(&1_000_000i64.to_le_bytes()));
    let error = measured(dir.path(), 1).unwrap_err();
    assert!(matches!(&error, CheckError::Policy { case, .. } if case == "observation 0"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    rewrite(&INT8, dir.path(), "observations.safetensors", |bytes| bytes[..bytes.len() - 1].to_vec());
    assert!(measured(dir.path(), 1).unwrap_err().to_string().contains("header"));
}

type Damage = fn(&mut Vec<u8>);

/// The int8 bundle with one tensor of its observations changed, and digests that are right again.
fn with_tensor(to: &Path, tensor: &str, damage: Damage) {
    rewrite(&INT8, to, "observations.safetensors", |bytes| {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = file
            .iter()
            .map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
            .collect();
        damage(&mut parts.iter_mut().find(|(name, ..)| name == tensor).unwrap().3);
        let views = parts
            .iter()
            .map(|(name, dtype, shape, data)| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
        safetensors::serialize(views, None).unwrap()
    });
}

/// `key = …` of the manifest with another value.
fn replaced(manifest: &str, key: &str, value: &str) -> String {
    let lines = manifest.lines().map(|line| match line.strip_prefix(&format!("{key} = ")) {
        Some(_) => format!("{key} = {value}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// Copies a bundle with another manifest, whose first line is its digest again.
fn with_manifest(from: &Path, to: &Path, change: impl Fn(&str) -> String) {
    rewrite(from, to, "README.md", <[u8]>::to_vec);
    let text = std::fs::read_to_string(to.join("bundle.toml")).unwrap();
    let body = change(text.split_once('\n').unwrap().1);
    std::fs::write(to.join("bundle.toml"), format!("# sha256 {}\n{body}", common::hex(body.as_bytes()))).unwrap();
}
