//! What `bundle.toml` says, schema 1. Unknown keys are errors, so a typo cannot become a default.
//!
//! A manifest has a part that every family has, and one of its own family: [`FamilyTables`]. Both may have keys in the
//! same table (`[image]`, `[prompt]`, `[tokens]`). Values are only read here; [`super::limits`] checks them.

mod openvla;
mod precision_check;
mod spatialvla;

pub use openvla::{
    BinSpec, FinalSpec, OpenVlaTables, PreprocessingSpec, SquareSpec, SquareStrategy, TowerSpec, UnknownPreprocessing,
};
pub use precision_check::PrecisionCheck;
pub use spatialvla::{CellSpec, DepthSource, DepthSpec, Ego3dSpec, PixelSpec, PointFrame, Resample, SpatialVlaTables};

use super::error::BundleError;
use crate::registry::Family;
use egogrid_runtime::execution::{Dim, Element, Flavour, TensorSpec};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// Tables, or keys of a table, that every family has: no names = the whole table. What is left belongs to the family.
const COMMON: [(&str, &[&str]); 13] = [
    ("schema_version", &[]),
    ("family", &[]),
    ("precision", &[]),
    ("precision_check", &[]),
    ("origin", &[]),
    ("adapted", &[]),
    ("image", &["width_px", "height_px"]),
    ("prompt", &["image_tokens", "prefix", "suffix", "bos_id", "eos_id", "text_tokens_max"]),
    ("tokens", &["vocabulary_size"]),
    ("chunk", &[]),
    ("cache", &[]),
    ("graphs", &[]),
    ("files", &[]),
];

/// Field of [`Manifest`] that holds the rest.
const TABLES: &str = "tables";

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
    /// What that does to tokens and actions; not of fp32.
    pub precision_check: Option<PrecisionCheck>,
    /// Where it came from.
    pub origin: Origin,
    /// What `egogrid grid adapt` made of it; not of bundles that the exporter wrote.
    pub adapted: Option<AdaptedSpec>,
    /// Size of the model's picture.
    pub image: ImageSpec,
    /// How the prompt is made.
    pub prompt: PromptSpec,
    /// Size of the vocabulary.
    pub tokens: TokenSpec,
    /// Actions per inference.
    pub chunk: ChunkSpec,
    /// Key and value cache.
    pub cache: CacheSpec,
    /// Inputs and outputs of every graph.
    pub graphs: Vec<GraphTable>,
    /// Every file but the manifest.
    pub files: Vec<FileEntry>,
    /// What only this family has.
    pub tables: FamilyTables,
}

/// What only one family has. Not a key of the file: [`Manifest::parse`] puts together what belongs here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FamilyTables {
    /// Depth, geometry and three grids.
    SpatialVla(SpatialVlaTables),
    /// Vision towers and fixed bins.
    OpenVla(OpenVlaTables),
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

impl Precision {
    /// Type of the cache of static graphs. Integer weights have no such graphs.
    pub fn static_cache(self) -> Option<Element> {
        match self {
            Self::Fp32 => Some(Element::F32),
            Self::Fp16 => Some(Element::F16),
            Self::Bf16 => Some(Element::Bf16),
            Self::Int8 | Self::Int4 => None,
        }
    }
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

/// A bundle whose grids are not those that it was exported with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptedSpec {
    /// [`super::Bundle::digest`] of the bundle that it was made of.
    pub from: String,
    /// Rows of the input table.
    pub embeddings: RowsSpec,
    /// Rows of the head.
    pub head: RowsSpec,
}

/// What became of the rows that belong to cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowsSpec {
    /// Each is made of the rows of the old cells around its new place.
    Interpolated,
    /// Each is that of the old cell with the same number.
    Kept,
}

/// Size of the model's picture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Of the picture inside the model.
    pub width_px: u32,
    /// Of the picture inside the model.
    pub height_px: u32,
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

/// Size of the vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// Ids in all.
    pub vocabulary_size: u32,
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

/// Most observations at once.
pub const BATCH_MAX: u32 = 64;

/// Inputs and outputs of one graph.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphTable {
    /// What the family calls it.
    pub name: String,
    /// Which of the two sets of graphs it belongs to.
    #[serde(default)]
    pub flavour: Flavour,
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
    /// Reads what every family has and what `family` has, and refuses every other key.
    pub(super) fn parse(family: Family, mut table: toml::Table) -> Result<Self, BundleError> {
        let mut whole = take_common(&mut table);
        let own = toml::Table::from_iter([(family.name().to_owned(), toml::Value::Table(table))]);
        whole.insert(TABLES.to_owned(), toml::Value::Table(own));
        whole.try_into().map_err(|error: toml::de::Error| {
            // Where a key stands in the file, not where it was put to be read.
            let detail = error
                .to_string()
                .replace(&format!("{TABLES}.{family}."), "")
                .replace(&format!("in `{TABLES}.{family}`"), "");
            BundleError::Manifest { detail: detail.trim().to_owned() }
        })
    }

    /// Its policy family.
    pub fn family(&self) -> Family {
        match self.tables {
            FamilyTables::SpatialVla(_) => Family::SpatialVla,
            FamilyTables::OpenVla(_) => Family::OpenVla,
        }
    }

    /// The tables of SpatialVLA.
    ///
    /// # Errors
    /// Another family.
    pub fn spatialvla(&self) -> Result<&SpatialVlaTables, BundleError> {
        match &self.tables {
            FamilyTables::SpatialVla(tables) => Ok(tables),
            FamilyTables::OpenVla(_) => Err(self.no_family(Family::SpatialVla)),
        }
    }

    /// The tables of OpenVLA.
    ///
    /// # Errors
    /// Another family.
    pub fn openvla(&self) -> Result<&OpenVlaTables, BundleError> {
        match &self.tables {
            FamilyTables::OpenVla(tables) => Ok(tables),
            FamilyTables::SpatialVla(_) => Err(self.no_family(Family::OpenVla)),
        }
    }

    fn no_family(&self, wanted: Family) -> BundleError {
        BundleError::OtherFamily { found: self.family(), wanted }
    }

    /// The table of graph `name` of one flavour.
    pub fn graph(&self, flavour: Flavour, name: &str) -> Option<&GraphTable> {
        self.graphs.iter().find(|graph| graph.flavour == flavour && graph.name == name)
    }

    /// Flavours that there are graphs of.
    pub fn flavours(&self) -> impl Iterator<Item = Flavour> {
        let has = |flavour| self.graphs.iter().any(|graph| graph.flavour == flavour);
        [Flavour::Cpu, Flavour::Static, Flavour::Batched].into_iter().filter(move |flavour| has(*flavour))
    }

    /// Observations that graphs of `flavour` take at once.
    pub fn batch(&self, flavour: Flavour) -> u32 {
        let features = |table: &GraphTable| table.inputs.iter().find(|spec| spec.name == "image_features").cloned();
        match (flavour, self.graph(flavour, "prefill").and_then(features).map(|spec| spec.shape)) {
            (Flavour::Batched, Some(shape)) => match shape.first() {
                Some(Dim::Fixed(batch @ 1..=BATCH_MAX)) => *batch,
                _ => 1, // which the shapes will not be
            },
            _ => 1,
        }
    }

    /// The entry of file `path`.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn take_common(table: &mut toml::Table) -> toml::Table {
    let mut common = toml::Table::new();
    for (name, keys) in COMMON {
        let taken = match table.get_mut(name) {
            Some(toml::Value::Table(mixed)) if !keys.is_empty() => {
                let taken = keys.iter().filter_map(|key| mixed.remove_entry(*key));
                Some(toml::Value::Table(taken.collect()))
            }
            _ => table.remove(name),
        };
        common.extend(taken.map(|value| (name.to_owned(), value)));
    }
    common
}
