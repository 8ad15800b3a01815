//! What several tests of this crate need: paths, the library, and a bundle of a few kilobytes that is only ever verified.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod tensors;

use egogrid_runtime::execution::Environment;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// `tests/fixtures/NAME`.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// A bundle of the golden checkpoint, see its README.
pub fn golden_bundle() -> PathBuf {
    fixture("spatialvla_golden_bundle/bundle")
}

/// A bundle of the golden OpenVLA checkpoint, see its README.
pub fn openvla_bundle() -> PathBuf {
    fixture("openvla_golden_bundle/bundle")
}

/// The shipped policy's checkpoint.
pub const SHIPPED: &str = "policies/shipped/metaworld/metaworld-mt5";

/// A checkpoint of the repository at `precision`, exported on this machine and measured on `observations`.
///
/// Needs the Python environment (`EGOGRID_PYTHON` or `.venv`, made by `./launch/test`).
pub fn exported(checkpoint: &str, precision: &str, observations: u32) -> PathBuf {
    exported_with(checkpoint, precision, &["--observations", &observations.to_string()])
}

/// The same with options of the exporter.
pub fn exported_with(checkpoint: &str, precision: &str, options: &[&str]) -> PathBuf {
    let name = format!("{}-{precision}{}", checkpoint.replace('/', "-"), options.concat());
    let bundle = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = python()
        .args(["-m", "egogrid_export", "--replace", "--precision", precision])
        .args(options)
        .arg(root().join(checkpoint))
        .arg(&bundle)
        .env("PYTHONPATH", root().join("policies/export/src"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bundle
}

/// Of the environment that `./launch/test` makes.
pub fn python() -> std::process::Command {
    let path = std::env::var_os("EGOGRID_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    assert!(path.is_file(), "{}: no Python there; run ./launch/test", path.display());
    std::process::Command::new(path)
}

/// The library of `EGOGRID_ORT_LIB`, else the one that `./launch/test` puts into the repository. Never skips.
pub fn environment() -> Environment {
    let path = std::env::var_os("EGOGRID_ORT_LIB")
        .map_or_else(|| root().join("third_party/onnxruntime/libonnxruntime.so"), PathBuf::from);
    Environment::load(&path).unwrap_or_else(|error| panic!("{error} (or set EGOGRID_ORT_LIB)"))
}

/// Lists the files of a bundle as they are now: what a test has altered is a bundle again.
pub fn sign(bundle: &Path) {
    let path = bundle.join("bundle.toml");
    let mut table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    for entry in table["files"].as_array_mut().unwrap() {
        let bytes = fs::read(bundle.join(entry["path"].as_str().unwrap())).unwrap();
        entry["bytes"] = toml::Value::Integer(bytes.len() as i64);
        entry["sha256"] = toml::Value::String(hex(&bytes));
    }
    let body = toml::to_string(&table).unwrap();
    fs::write(path, format!("# sha256 {}\n{body}", hex(body.as_bytes()))).unwrap();
}

/// One cell per bin corner of a 2x2x2 grid; everything else as small as the format allows.
pub const TINY_MANIFEST: &str = r#"schema_version = 1
family = "spatialvla"
precision = "fp32"

[origin]
checkpoint = "tiny"
exporter = "a test"
weights_sha256 = {}

[image]
width_px = 4
height_px = 4
resample = "pillow_bicubic"
rescale = 0.00392156862745098

[depth]
sources = ["sensor"]

[ego3d]
patch_rows = 1
patch_cols = 1
samples_per_patch_side = 1
frequency_count = 1
frame = "base"
center_m = [0.0, 0.0, 2.0]
scale_m = 2.0

[prompt]
image_tokens = 1
prefix = "<bos>"
suffix = "\n"
bos_id = 2
eos_id = 1
text_tokens_max = 4

[tokens]
vocabulary_size = 26
action_begin_id = 8
translation_cells = 8
rotation_cells = 8
gripper_cells = 2

[chunk]
length = 1
steps_executed = 1
control_hz = 80.0

[cache]
layers = 1
kv_heads = 1
head_dim = 2
capacity = 8

[[graphs]]
name = "vision"
file = "vision.onnx"
inputs = [{ name = "pixel_values", dtype = "f32", shape = [1, 3, 4, 4] }, { name = "freq_encoding", dtype = "f32", shape = [1, 1, 9] }]
outputs = [{ name = "image_features", dtype = "f32", shape = [1, 1, 2] }, { name = "siglip_last_hidden", dtype = "f32", shape = [1, 1, 3] }, { name = "pos_embed_3d", dtype = "f32", shape = [1, 1, 3] }]

[[graphs]]
name = "prefill"
file = "prefill.onnx"
inputs = [{ name = "image_features", dtype = "f32", shape = [1, 1, 2] }, { name = "text_ids", dtype = "i64", shape = [1, "text_tokens"] }]
outputs = [{ name = "logits", dtype = "f32", shape = [1, 26] }, { name = "present.0.key", dtype = "f32", shape = [1, 1, 8, 2] }, { name = "present.0.value", dtype = "f32", shape = [1, 1, 8, 2] }]

[[graphs]]
name = "decode"
file = "decode.onnx"
inputs = [{ name = "token_id", dtype = "i64", shape = [1, 1] }, { name = "seqlens_k", dtype = "i32", shape = [1] }, { name = "total_len", dtype = "i32", shape = [] }, { name = "past.0.key", dtype = "f32", shape = [1, 1, 8, 2] }, { name = "past.0.value", dtype = "f32", shape = [1, 1, 8, 2] }]
outputs = [{ name = "logits", dtype = "f32", shape = [1, 26] }, { name = "present.0.key", dtype = "f32", shape = [1, 1, 8, 2] }, { name = "present.0.value", dtype = "f32", shape = [1, 1, 8, 2] }]
"#;

/// Two towers, four bins; everything else as small as the format allows.
pub const TINY_OPENVLA: &str = r#"schema_version = 1
family = "openvla"
precision = "fp32"

[origin]
checkpoint = "tiny"
exporter = "a test"
weights_sha256 = {}

[image]
width_px = 4
height_px = 4
strategy = "letterbox"
letterbox_fill = [127, 127, 127]
preprocessing = "processor"
towers = [{ mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }, { mean = [0.0, 0.0, 0.0], std = [1.0, 1.0, 1.0] }]

[prompt]
image_tokens = 1
prefix = "In: "
suffix = "?"
lowercase = true
bos_id = 1
eos_id = 2
final_id = 3
text_tokens_max = 4

[tokens]
vocabulary_size = 26
action_end_id = 20
bins = 4

[chunk]
length = 1
steps_executed = 1
control_hz = 5.0

[cache]
layers = 1
kv_heads = 1
head_dim = 2
capacity = 19

[[graphs]]
name = "vision"
file = "vision.onnx"
inputs = [{ name = "pixel_values", dtype = "f32", shape = [1, 6, 4, 4] }]
outputs = [{ name = "image_features", dtype = "f32", shape = [1, 1, 2] }, { name = "patch_features", dtype = "f32", shape = [1, 1, 3] }]

[[graphs]]
name = "prefill"
file = "prefill.onnx"
inputs = [{ name = "image_features", dtype = "f32", shape = [1, 1, 2] }, { name = "text_ids", dtype = "i64", shape = [1, "text_tokens"] }]
outputs = [{ name = "logits", dtype = "f32", shape = [1, 26] }, { name = "present.0.key", dtype = "f32", shape = [1, 1, 19, 2] }, { name = "present.0.value", dtype = "f32", shape = [1, 1, 19, 2] }]

[[graphs]]
name = "decode"
file = "decode.onnx"
inputs = [{ name = "token_id", dtype = "i64", shape = [1, 1] }, { name = "seqlens_k", dtype = "i32", shape = [1] }, { name = "total_len", dtype = "i32", shape = [] }, { name = "past.0.key", dtype = "f32", shape = [1, 1, 19, 2] }, { name = "past.0.value", dtype = "f32", shape = [1, 1, 19, 2] }]
outputs = [{ name = "logits", dtype = "f32", shape = [1, 26] }, { name = "present.0.key", dtype = "f32", shape = [1, 1, 19, 2] }, { name = "present.0.value", dtype = "f32", shape = [1, 1, 19, 2] }]
"#;

/// One arm with one gripper, and two of them: the cache has room for the wider.
const TINY_ROWS: &str = r#"{"arm": {"action": {"q01": [-1, -1, -1, -1, -1, -1, 0], "q99": [1, 1, 1, 1, 1, 1, 1],
 "mask": [true, true, true, true, true, true, false]}},
 "arms": {"action": {"q01": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "q99": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
 "mask": [true, true, true, true, true, true, true, true, true, true, true, true, true, true]}}}"#;

const TINY_GRID: &str = r#"{"translation": {"theta_rad": [0, 1.5, 3.2], "phi_rad": [-3.2, 0, 3.2], "r": [0, 0.5, 1.8]},
 "rotation": {"roll": [-1, 0, 1], "pitch": [-1, 0, 1], "yaw": [-1, 0, 1]}}"#;
const TINY_STATISTICS: &str = r#"{"a/1": {"action": {"q01": [-1, -1, -1, -1, -1, -1, 0], "q99": [1, 1, 1, 1, 1, 1, 1],
 "mask": [true, true, true, true, true, true, false]}}}"#;
const TINY_INTRINSICS: &str =
    r#"{"default": {"intrinsic": [[4.5, 0, 2], [0, 4.5, 2], [0, 0, 1]], "width": 4, "height": 4}}"#;

/// A small bundle that passes every check except being loaded, in pieces that a test can change.
#[derive(Debug, Clone)]
pub struct TinyBundle {
    pub manifest: String,
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl TinyBundle {
    pub fn new() -> Self {
        let files = [
            ("README.md", "tiny"),
            ("decode.onnx", "not read: only its digest counts here"),
            ("golden.safetensors", "the same"),
            ("grid.json", TINY_GRID),
            ("intrinsics.json", TINY_INTRINSICS),
            ("prefill.onnx", "the same"),
            ("statistics.json", TINY_STATISTICS),
            ("tokenizer.json", "the same"),
            ("vision.onnx", "the same"),
            ("weights.bin", "the same"),
        ];
        Self {
            manifest: TINY_MANIFEST.to_owned(),
            files: files.map(|(name, text)| (name, text.as_bytes().to_vec())).to_vec(),
        }
    }

    /// The same for OpenVLA.
    pub fn openvla() -> Self {
        let mut bundle = Self::new();
        bundle.manifest = TINY_OPENVLA.to_owned();
        bundle.files.retain(|(name, _)| !["grid.json", "intrinsics.json"].contains(name));
        bundle.replace_file("statistics.json", TINY_ROWS)
    }

    pub fn replace_file(mut self, name: &str, contents: &str) -> Self {
        self.files.iter_mut().find(|(file, _)| *file == name).unwrap().1 = contents.as_bytes().to_vec();
        self
    }

    /// Replaces text of the manifest, which must be there.
    pub fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.manifest.contains(from), "{from}");
        self.manifest = self.manifest.replacen(from, to, 1);
        self
    }

    /// The whole manifest, with its digest in the first line.
    pub fn manifest_bytes(&self) -> Vec<u8> {
        let mut body = self.manifest.clone();
        for (name, contents) in &self.files {
            let (bytes, sha256) = (contents.len(), hex(contents));
            body += &format!("\n[[files]]\npath = \"{name}\"\nbytes = {bytes}\nsha256 = \"{sha256}\"\n");
        }
        format!("# sha256 {}\n{body}", hex(body.as_bytes())).into_bytes()
    }

    pub fn write(&self, dir: &Path) {
        for (name, contents) in &self.files {
            fs::write(dir.join(name), contents).unwrap();
        }
        fs::write(dir.join("bundle.toml"), self.manifest_bytes()).unwrap();
    }
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Copies bundle `from` to `to` with text of its manifest replaced, which must be there.
pub fn rewrite_manifest(from: &Path, to: &Path, old: &str, new: &str) {
    rewrite(from, to, "README.md", <[u8]>::to_vec);
    let manifest = fs::read_to_string(to.join("bundle.toml")).unwrap();
    let body = manifest.split_once('\n').unwrap().1;
    assert!(body.contains(old), "{old}");
    let body = body.replacen(old, new, 1);
    fs::write(to.join("bundle.toml"), format!("# sha256 {}\n{body}", hex(body.as_bytes()))).unwrap();
}

/// Copies bundle `from` to `to` with one file changed, and with digests that are right again.
pub fn rewrite(from: &Path, to: &Path, file: &str, change: impl Fn(&[u8]) -> Vec<u8>) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let contents = fs::read(from.join(file)).unwrap();
    let changed = change(&contents);
    fs::write(to.join(file), &changed).unwrap();
    let manifest = fs::read_to_string(from.join("bundle.toml")).unwrap();
    let body = manifest.strip_prefix("# sha256 ").map_or(manifest.as_str(), |rest| rest.split_once('\n').unwrap().1);
    let old = format!("bytes = {}\nsha256 = \"{}\"", contents.len(), hex(&contents));
    assert!(body.contains(&old), "{file}");
    let body = body.replace(&old, &format!("bytes = {}\nsha256 = \"{}\"", changed.len(), hex(&changed)));
    fs::write(to.join("bundle.toml"), format!("# sha256 {}\n{body}", hex(body.as_bytes()))).unwrap();
}

/// Copies bundle `from` to `to` without its second set of graphs.
pub fn without_static_graphs(from: &Path, to: &Path) {
    let manifest = fs::read_to_string(from.join("bundle.toml")).unwrap();
    let mut table: toml::Table = manifest.split_once('\n').unwrap().1.parse().unwrap();
    for (list, key) in [("graphs", "file"), ("files", "path")] {
        let is_static = |entry: &toml::Value| entry[key].as_str().unwrap().contains(".static.");
        table[list].as_array_mut().unwrap().retain(|entry| !is_static(entry));
    }
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if !name.contains(".static.") {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
    let body = toml::to_string(&table).unwrap();
    fs::write(to.join("bundle.toml"), format!("# sha256 {}\n{body}", hex(body.as_bytes()))).unwrap();
}
