//! What `bundle.toml` says, schema 1. Unknown keys are errors, so a typo cannot become a default.
//!
//! Values are only read here; [`super::limits`] checks them, and each family checks its own tables.

use egogrid_runtime::execution::TensorSpec;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The manifest of a bundle.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this format.
    pub schema_version: u32,
    /// Policy family.
    pub family: String,
    /// Arithmetic of the weights.
    pub precision: Precision,
    /// Where it came from.
    pub origin: Origin,
    /// The model's picture.
    pub image: ImageSpec,
    /// Where depth may come from.
    pub depth: DepthSpec,
    /// Geometry of the sample points.
    pub ego3d: Ego3dSpec,
    /// How the prompt is made.
    pub prompt: PromptSpec,
    /// Where the action tokens lie.
    pub tokens: TokenSpec,
    /// Actions per inference.
    pub chunk: ChunkSpec,
    /// Key and value cache.
    pub cache: CacheSpec,
    /// Inputs and outputs of every graph.
    pub graphs: Vec<GraphTable>,
    /// Every file but the manifest.
    pub files: Vec<FileEntry>,
}

/// Arithmetic of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum Precision {
    Fp32,
    Fp16,
    Bf16,
    Int8,
    Int4,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        })
    }
}

/// Where a bundle came from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Name of the checkpoint's directory.
    pub checkpoint: String,
    /// Name and version of the exporter.
    pub exporter: String,
    /// Of every weight file of the checkpoint.
    pub weights_sha256: BTreeMap<String, String>,
}

/// The model's picture.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Of the picture inside the model.
    pub width_px: u32,
    /// Of the picture inside the model.
    pub height_px: u32,
    /// How pictures of other sizes get there.
    pub resample: Resample,
    /// Factor from bytes to the model's numbers.
    pub rescale: f64,
}

/// How pictures are resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// 8-bit, antialiased, a = -0.5.
    PillowBicubic,
}

/// Where depth may come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthSpec {
    /// At least one.
    pub sources: Vec<DepthSource>,
}

/// Where depth comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DepthSource {
    /// With every frame.
    Sensor,
    /// From the picture, by the graph `depth.onnx`.
    Estimated,
}

/// Geometry of the sample points.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ego3dSpec {
    /// Patches from top to bottom.
    pub patch_rows: u32,
    /// Patches from left to right.
    pub patch_cols: u32,
    /// Sample points along one side of a patch.
    pub samples_per_patch_side: u32,
    /// Frequencies of the encoding.
    pub frequency_count: u32,
    /// Where the points live.
    pub frame: PointFrame,
    /// Subtracted from every point.
    pub center_m: [f32; 3],
    /// Divides every point.
    pub scale_m: f32,
}

/// Where sample points live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointFrame {
    /// Camera optical: x right, y down, z forward.
    Camera,
    /// The robot's base; needs `base_from_camera` with every frame.
    Base,
}

/// How the prompt is made: image tokens, then prefix, instruction and suffix.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptSpec {
    /// Positions taken by image features.
    pub image_tokens: u32,
    /// Before the instruction.
    pub prefix: String,
    /// After the instruction.
    pub suffix: String,
    /// First text id.
    pub bos_id: u32,
    /// Ends a generation.
    pub eos_id: u32,
    /// Prefix and suffix included.
    pub text_tokens_max: u32,
}

/// Where the action tokens lie in the vocabulary: translation, rotation, gripper, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Ids in all.
    pub vocabulary_size: u32,
    /// First action id.
    pub action_begin_id: u32,
    /// Cells of the translation grid.
    pub translation_cells: u32,
    /// Cells of the rotation grid.
    pub rotation_cells: u32,
    /// Closed and open.
    pub gripper_cells: u32,
}

/// Actions per inference.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkSpec {
    /// Actions in one chunk.
    pub length: u16,
    /// How many to execute before the next look.
    pub steps_executed: u16,
    /// Rate of the training data, where the checkpoint says it.
    pub control_hz: Option<f32>,
}

/// Key and value cache: `layers` pairs of `[1, kv_heads, capacity, head_dim]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSpec {
    /// Layers of the language model.
    pub layers: u32,
    /// Heads of keys and values.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Positions.
    pub capacity: u32,
}

/// Inputs and outputs of one graph.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphTable {
    /// What the family calls it.
    pub name: String,
    /// Its file.
    pub file: String,
    /// In any order.
    pub inputs: Vec<TensorSpec>,
    /// In any order.
    pub outputs: Vec<TensorSpec>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name in the bundle's directory.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The table of graph `name`.
    pub fn graph(&self, name: &str) -> Option<&GraphTable> {
        self.graphs.iter().find(|graph| graph.name == name)
    }

    /// The entry of file `path`.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.path == path)
    }
}
