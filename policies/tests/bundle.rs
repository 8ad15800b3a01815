//! A bundle is taken whole and unaltered, or refused with an error that says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::TinyBundle;
use egogrid_policies::bundle::{Bundle, BundleError, read_manifest};
use egogrid_runtime::execution::Flavour;
use std::fs;
use std::path::Path;

fn open(bundle: &TinyBundle) -> Result<Bundle, BundleError> {
    let dir = tempfile::tempdir().unwrap();
    bundle.write(dir.path());
    Bundle::open(dir.path())
}

#[test]
fn a_whole_bundle_is_taken_and_says_what_it_is() {
    let bundle = open(&TinyBundle::new()).unwrap();
    assert_eq!(bundle.id(), "spatialvla/tiny");
    assert_eq!(bundle.statistics().keys().collect::<Vec<_>>(), ["a/1"]);
    assert_eq!(bundle.action_tokenizer().unwrap().translation_grid().cell_count(), 8);
    let stored = bundle.intrinsics("a/1").unwrap();
    assert_eq!((stored.key.as_str(), stored.intrinsics.focal_px()), ("default", [4.5, 4.5]));
}

#[test]
fn progress_ends_at_the_total() {
    let dir = tempfile::tempdir().unwrap();
    TinyBundle::new().write(dir.path());
    let mut last = None;
    Bundle::open_with_progress(dir.path(), &mut |progress| last = Some(progress)).unwrap();
    let last = last.unwrap();
    assert_eq!(last.bytes_done, last.bytes_total);
}

/// Every byte of every file, and one bit of each: a bundle is small enough to try them all.
#[test]
fn any_single_altered_byte_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = TinyBundle::new();
    bundle.write(dir.path());
    for (name, contents) in &bundle.files {
        for at in 0..contents.len() {
            let mut altered = contents.clone();
            altered[at] ^= 1 << (at % 8);
            fs::write(dir.path().join(name), &altered).unwrap();
            let error = Bundle::open(dir.path()).expect_err(&format!("{name} byte {at}"));
            assert!(matches!(error, BundleError::Altered { .. }), "{name} byte {at}: {error}");
        }
        fs::write(dir.path().join(name), contents).unwrap();
    }
    Bundle::open(dir.path()).expect("as at the start");
}

#[test]
fn any_single_altered_byte_of_the_manifest_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = TinyBundle::new();
    bundle.write(dir.path());
    let contents = bundle.manifest_bytes();
    for at in 0..contents.len() {
        let mut altered = contents.clone();
        altered[at] ^= 1 << (at % 8);
        fs::write(dir.path().join("bundle.toml"), &altered).unwrap();
        let error = read_manifest(dir.path()).expect_err(&format!("byte {at}"));
        assert!(matches!(error, BundleError::ManifestDigest { .. }), "byte {at}: {error}");
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = TinyBundle::new();
    bundle.write(dir.path());
    let mut files = bundle.files.clone();
    files.push(("bundle.toml", bundle.manifest_bytes()));
    for (name, contents) in &files {
        for length in 0..contents.len() {
            fs::write(dir.path().join(name), &contents[..length]).unwrap();
            assert!(Bundle::open(dir.path()).is_err(), "{name} cut to {length} bytes");
        }
        let longer = [contents.as_slice(), b"\n"].concat();
        fs::write(dir.path().join(name), longer).unwrap();
        assert!(Bundle::open(dir.path()).is_err(), "{name} with one byte more");
        fs::write(dir.path().join(name), contents).unwrap();
    }
    Bundle::open(dir.path()).expect("as at the start");
}

#[test]
fn a_missing_an_extra_and_a_linked_file_are_refused_before_any_is_read() {
    let refusal = |change: fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        TinyBundle::new().write(dir.path());
        change(dir.path());
        Bundle::open(dir.path()).unwrap_err()
    };
    let missing = refusal(|dir| fs::remove_file(dir.join("weights.bin")).unwrap());
    assert!(matches!(&missing, BundleError::MissingFile { file } if file == "weights.bin"), "{missing}");
    let extra = refusal(|dir| fs::write(dir.join("notes.txt"), "x").unwrap());
    assert!(matches!(&extra, BundleError::UnlistedFile { file } if file == "notes.txt"), "{extra}");
    let nested = refusal(|dir| fs::create_dir(dir.join("more")).unwrap());
    assert!(matches!(&nested, BundleError::UnlistedFile { .. }), "{nested}");
    let linked = refusal(|dir| {
        fs::remove_file(dir.join("weights.bin")).unwrap();
        std::os::unix::fs::symlink("README.md", dir.join("weights.bin")).unwrap();
    });
    assert!(matches!(&linked, BundleError::MissingFile { .. }), "{linked}");
    let none = refusal(|dir| fs::remove_file(dir.join("bundle.toml")).unwrap());
    assert!(matches!(none, BundleError::NotABundle { .. }), "{none}");
}

/// One defect each, in otherwise whole bundles with the right digests.
#[test]
fn every_wrong_value_of_the_manifest_is_refused_by_name() {
    let defects = [
        ("schema_version = 1", "schema_version = 2", "schema_version 2"),
        ("schema_version = 1", "schema_version = \"1\"", "schema_version"),
        ("family = \"spatialvla\"", "family = \"octo\"", "[\"spatialvla\", \"openvla\"]"),
        ("family = \"spatialvla\"", "family = \"openvla\"", "depth"),
        ("precision = \"fp32\"", "precision = \"fp8\"", "fp8"),
        ("exporter = \"a test\"", "exporter = \"a test\"\nnote = 1", "note"),
        ("[depth]", "[dept]", "dept"),
        ("rescale = 0.00392156862745098", "rescale = nan", "image.rescale"),
        ("resample = \"pillow_bicubic\"", "resample = \"nearest\"", "nearest"),
        ("width_px = 4", "width_px = 0", "image.width_px is 0"),
        ("width_px = 4", "width_px = 4294967296", "bundle.toml"),
        ("sources = [\"sensor\"]", "sources = []", "depth.sources"),
        ("sources = [\"sensor\"]", "sources = [\"estimated\"]", "depth, vision, prefill, decode"),
        ("sources = [\"sensor\"]", "sources = [\"estimated\", \"sensor\"]", "depth.sources"),
        ("sources = [\"sensor\"]", "sources = [\"sensor\", \"sensor\"]", "depth.sources"),
        ("patch_rows = 1", "patch_rows = 3", "divisor"),
        ("samples_per_patch_side = 1", "samples_per_patch_side = 0", "samples_per_patch_side"),
        ("center_m = [0.0, 0.0, 2.0]", "center_m = [0.0, inf, 2.0]", "center_m"),
        ("scale_m = 2.0", "scale_m = 0.0", "scale_m"),
        ("scale_m = 2.0", "scale_m = -inf", "scale_m"),
        ("image_tokens = 1", "image_tokens = 2", "image_tokens"),
        ("eos_id = 1", "eos_id = 26", "eos_id"),
        ("eos_id = 1", "eos_id = 9", "tokens"),
        ("text_tokens_max = 4", "text_tokens_max = 1000000", "text_tokens_max"),
        ("vocabulary_size = 26", "vocabulary_size = 25", "tokens"),
        ("action_begin_id = 8", "action_begin_id = 4294967295", "tokens"),
        ("translation_cells = 8\nrotation_cells = 8", "translation_cells = 9\nrotation_cells = 7", "translation"),
        ("gripper_cells = 2", "gripper_cells = 0", "tokens"),
        ("length = 1", "length = 65", "chunk.length"),
        ("steps_executed = 1", "steps_executed = 2", "steps_executed"),
        ("control_hz = 80.0", "control_hz = -1.0", "control_hz"),
        ("capacity = 8", "capacity = 9", "cache.capacity"),
        ("layers = 1", "layers = 2", "present.1.key"),
        ("name = \"vision\"", "name = \"visio\"", "vision, prefill, decode"),
        ("file = \"vision.onnx\"", "file = \"elsewhere.onnx\"", "graphs.file"),
        ("shape = [1, 3, 4, 4]", "shape = [1, 3, 4, 5]", "pixel_values"),
        ("dtype = \"i64\", shape = [1, \"text_tokens\"]", "dtype = \"i32\", shape = [1, \"text_tokens\"]", "text_ids"),
        ("{ name = \"seqlens_k\", dtype = \"i32\", shape = [1] }, ", "", "seqlens_k"),
        (
            "{ name = \"total_len\"",
            "{ name = \"extra\", dtype = \"f32\", shape = [] }, { name = \"total_len\"",
            "extra",
        ),
        (
            "shape = [1, 1, 8, 2] }]\n\n[[graphs]]\nname = \"decode\"",
            "shape = [1, 1, 8, 3] }]\n\n[[graphs]]\nname = \"decode\"",
            "present.0.value",
        ),
    ];
    for (from, to, names) in defects {
        let error = open(&TinyBundle::new().replace(from, to)).expect_err(to).to_string();
        assert!(error.contains(names), "{to}: {error}");
    }
}

#[test]
fn every_wrong_value_of_an_openvla_manifest_is_refused_by_name() {
    let whole = open(&TinyBundle::openvla()).unwrap();
    assert_eq!((whole.id().as_str(), whole.action_bins().unwrap().ids()), ("openvla/tiny", 16..20));
    assert!(matches!(whole.action_tokenizer(), Err(BundleError::OtherFamily { .. })));
    assert!(matches!(whole.intrinsics("arm"), Err(BundleError::OtherFamily { .. })));
    let defects = [
        ("family = \"openvla\"", "family = \"spatialvla\"", "letterbox_fill"),
        ("width_px = 4", "width_px = 5", "a square"),
        ("strategy = \"letterbox\"", "strategy = \"stretch\"", "stretch"),
        ("strategy = \"letterbox\"", "strategy = \"resize_naive\"", "letterbox_fill is there"),
        ("letterbox_fill = [127, 127, 127]\n", "", "letterbox_fill is missing"),
        ("letterbox_fill = [127, 127, 127]", "letterbox_fill = [127, 127, 256]", "letterbox_fill"),
        ("preprocessing = \"processor\"", "preprocessing = \"training\"", "training"),
        ("preprocessing = \"processor\"\n", "", "preprocessing"),
        ("mean = [0.5,", "mean = [nan,", "towers.mean"),
        ("std = [0.25,", "std = [0.0,", "towers.std"),
        ("std = [0.25, 0.25, 0.25]", "std = [0.25, 0.25]", "std"),
        (", { mean = [0.0, 0.0, 0.0], std = [1.0, 1.0, 1.0] }", "", "pixel_values"),
        ("lowercase = true\n", "", "lowercase"),
        ("lowercase = true", "lowercase = 1", "lowercase"),
        ("final_id = 3", "final_id = 26", "final_id"),
        ("final_id = 3", "final = 3", "final"),
        ("action_end_id = 20", "action_end_id = 27", "action_end_id"),
        ("action_end_id = 20", "action_end_id = 3", "before id 3"),
        ("bins = 4", "bins = 1", "2 to"),
        ("bins = 4", "bins = 18", "end token"),
        ("length = 1\nsteps_executed = 1", "length = 2\nsteps_executed = 1", "chunk.length"),
        ("capacity = 19", "capacity = 5", "cache.capacity"),
        ("name = \"patch_features\"", "name = \"patches\"", "patch_features"),
        ("shape = [1, 6, 4, 4]", "shape = [1, 3, 4, 4]", "pixel_values"),
        ("vocabulary_size = 26", "vocabulary_size = 25", "logits"),
    ];
    for (from, to, names) in defects {
        let error = open(&TinyBundle::openvla().replace(from, to)).expect_err(to).to_string();
        assert!(error.contains(names), "{to}: {error}");
    }
    // The cache has room for exactly the widest action.
    let wider =
        TinyBundle::openvla().replace("capacity = 19", "capacity = 20").manifest.replace(", 19, 2]", ", 20, 2]");
    let error = open(&TinyBundle { manifest: wider, ..TinyBundle::openvla() }).unwrap_err().to_string();
    assert!(error.contains("cache.capacity is 20, expected 19"), "{error}");
}

/// The spatialvla family moves one arm with one gripper; statistics of another robot are refused with their key.
#[test]
fn statistics_that_the_family_cannot_use_are_refused() {
    let rows = r#"{"two arms": {"action": {"q01": [0, 0], "q99": [1, 1], "mask": [true, true]}}}"#;
    let error = open(&TinyBundle::new().replace_file("statistics.json", rows)).unwrap_err().to_string();
    assert!(error.contains("two arms") && error.contains("2 dimensions"), "{error}");
}

#[test]
fn every_wrong_number_of_the_tables_is_refused_by_name() {
    let grid = |from: &str, to: &str| {
        let text =
            String::from_utf8(TinyBundle::new().files.iter().find(|(name, _)| *name == "grid.json").unwrap().1.clone())
                .unwrap();
        assert!(text.contains(from));
        ("grid.json", text.replacen(from, to, 1))
    };
    let statistics = |from: &str, to: &str| {
        let text = String::from_utf8(
            TinyBundle::new().files.iter().find(|(name, _)| *name == "statistics.json").unwrap().1.clone(),
        )
        .unwrap();
        assert!(text.contains(from));
        ("statistics.json", text.replacen(from, to, 1))
    };
    let defects = [
        (grid("[0, 1.5, 3.2]", "[0, NaN, 3.2]"), "grid.json"),
        (grid("[0, 1.5, 3.2]", "[0, 1e400, 3.2]"), "grid.json"),
        (grid("[0, 1.5, 3.2]", "[0, 3.5, 3.2]"), "theta_rad"),
        (grid("[0, 0.5, 1.8]", "[0, 1.8]"), "translation"),
        (grid("\"roll\"", "\"rol\""), "rol"),
        (
            grid("\"yaw\": [-1, 0, 1]}", "\"yaw\": [-1, 0, 1]}, \"cell_points\": {\"translation\": [[0, 0, 0]]}"),
            "translation",
        ),
        (grid("\"yaw\": [-1, 0, 1]}", "\"yaw\": [-1, 0, 1]}, \"cell_point\": {}"), "cell_point"),
        (statistics("\"q99\": [1", "\"q99\": [-2"), "q99"),
        (statistics("\"q01\": [-1,", "\"q01\": ["), "as in `q01`"),
        (statistics("\"mask\"", "\"masks\""), "mask"),
        (
            (
                "intrinsics.json",
                r#"{"a": {"intrinsic": [[0, 0, 2], [0, 4, 2], [0, 0, 1]], "width": 4, "height": 4}}"#.to_owned(),
            ),
            "pinhole",
        ),
        (
            ("intrinsics.json", r#"{"a": {"intrinsic": [[4, 0, 2], [0, 4, 2], [0, 0, 1]], "width": 4}}"#.to_owned()),
            "height",
        ),
    ];
    for ((file, contents), names) in defects {
        let error = open(&TinyBundle::new().replace_file(file, &contents)).expect_err(&contents).to_string();
        assert!(error.contains(names), "{contents}: {error}");
    }
}

#[test]
fn unknown_keys_are_answered_with_the_known_ones() {
    let bundle = open(&TinyBundle::new()).unwrap();
    let error = bundle.statistics().get("b/1").unwrap_err().to_string();
    assert!(error.contains("b/1") && error.contains("a/1"), "{error}");
    let own = r#"{"b": {"intrinsic": [[4, 0, 2], [0, 4, 2], [0, 0, 1]], "width": 4, "height": 4}}"#;
    let error = open(&TinyBundle::new().replace_file("intrinsics.json", own))
        .unwrap()
        .intrinsics("a/1")
        .unwrap_err()
        .to_string();
    assert!(error.contains("a/1") && error.contains("\"b\""), "{error}");
}

/// A digest that is right proves who wrote a file, not that it is sane: sizes are bounded before anything is parsed.
#[test]
fn files_larger_than_any_real_one_are_refused_unparsed() {
    let huge = " ".repeat((16 << 20) + 1);
    let error = open(&TinyBundle::new().replace_file("grid.json", &huge)).unwrap_err();
    assert!(matches!(&error, BundleError::TooLarge { file, .. } if file == "grid.json"), "{error}");
    let long = format!("family = \"spatialvla\" #{}", " ".repeat(1 << 20));
    let error = open(&TinyBundle::new().replace("family = \"spatialvla\"", &long)).unwrap_err();
    assert!(matches!(&error, BundleError::TooLarge { file, .. } if file == "bundle.toml"), "{error}");
}

/// Static graphs as the exporter describes them, for the tiny manifest.
const STATIC_GRAPHS: &str = r#"
[[graphs]]
name = "vision"
flavour = "static"
file = "vision.static.onnx"
inputs = [{ name = "pixel_values", dtype = "f32", shape = [1, 3, 4, 4] }, { name = "freq_encoding", dtype = "f32", shape = [1, 1, 9] }]
outputs = [{ name = "image_features", dtype = "f32", shape = [1, 1, 2] }, { name = "siglip_last_hidden", dtype = "f32", shape = [1, 1, 3] }, { name = "pos_embed_3d", dtype = "f32", shape = [1, 1, 3] }]

[[graphs]]
name = "prefill"
flavour = "static"
file = "prefill.static.onnx"
inputs = [{ name = "image_features", dtype = "f32", shape = [1, 1, 2] }, { name = "text_ids", dtype = "i64", shape = [1, 4] }, { name = "prompt_tokens", dtype = "i64", shape = [1] }]
outputs = [{ name = "logits", dtype = "f32", shape = [1, 26] }, { name = "present.0.key", dtype = "f32", shape = [1, 1, 8, 2] }, { name = "present.0.value", dtype = "f32", shape = [1, 1, 8, 2] }]

[[graphs]]
name = "decode"
flavour = "static"
file = "decode.static.onnx"
inputs = [{ name = "token_id", dtype = "i64", shape = [1, 1] }, { name = "position", dtype = "i64", shape = [1] }, { name = "past.0.key", dtype = "f32", shape = [1, 1, 8, 2] }, { name = "past.0.value", dtype = "f32", shape = [1, 1, 8, 2] }]
outputs = [{ name = "logits", dtype = "f32", shape = [1, 26] }, { name = "present.0.key", dtype = "f32", shape = [1, 1, 8, 2] }, { name = "present.0.value", dtype = "f32", shape = [1, 1, 8, 2] }]
"#;

fn with_static_graphs() -> TinyBundle {
    let mut bundle = TinyBundle::new();
    bundle.manifest += STATIC_GRAPHS;
    for name in ["vision.static.onnx", "prefill.static.onnx", "decode.static.onnx"] {
        bundle.files.push((name, b"the same".to_vec()));
    }
    bundle
}

/// Another precision, with the table that it then needs.
fn unmeasured(precision: &str) -> String {
    format!(
        "precision = \"{precision}\"\nprecision_check = {{ observations = 0, observations_differ = 0, ids = 0, ids_differ = 0, \
         chunks_differ = 0, logit_difference_max = 0.0, action_difference_max = 0.0, action_bound = 0.1, within_bound = false, \
         stage_differences = [] }}"
    )
}

#[test]
fn a_second_set_of_graphs_is_checked_like_the_first() {
    let bundle = open(&with_static_graphs()).unwrap();
    assert_eq!(bundle.manifest().flavours().collect::<Vec<_>>(), [Flavour::Cpu, Flavour::Static]);
    for (from, to, names) in [
        ("flavour = \"static\"\nfile = \"vision", "flavour = \"gpu\"\nfile = \"vision", "gpu"),
        ("flavour = \"static\"\nfile = \"vision", "flavour = \"cpu\"\nfile = \"vision", "of flavour cpu"),
        ("name = \"vision\"\nflavour", "name = \"depth\"\nflavour", "of flavour static"),
        (
            "shape = [1, 4] }, { name = \"prompt_tokens\"",
            "shape = [1, \"text_tokens\"] }, { name = \"prompt_tokens\"",
            "text_ids",
        ),
        ("shape = [1, 4] }, { name = \"prompt_tokens\"", "shape = [1, 5] }, { name = \"prompt_tokens\"", "text_ids"),
        ("{ name = \"position\", dtype = \"i64\", shape = [1] }, ", "", "position"),
        ("precision = \"fp32\"", &unmeasured("fp16"), "f16"),
        ("precision = \"fp32\"", &unmeasured("int4"), "fp32, fp16 and bf16"),
    ] {
        let error = open(&with_static_graphs().replace(from, to)).expect_err(to).to_string();
        assert!(error.contains(names), "{to}: {error}");
    }
}
