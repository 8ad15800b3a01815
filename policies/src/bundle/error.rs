//! Why a bundle is refused: what was found, what was expected, what to do.

use crate::registry::Family;
use egogrid_action_grids::{BinsError, EdgesError, GridError, StatsError, TokenError, TokenizerError};
use egogrid_runtime::camera::{FrameError, IntrinsicsError};
use egogrid_runtime::execution::Flavour;
use std::path::PathBuf;

const AGAIN: &str = "copy or export the bundle again";

/// Why a bundle is refused. Nothing of it has been given to ONNX Runtime then.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No manifest.
    #[error("{} has no bundle.toml, expected a directory that `python -m egogrid_export` wrote; check the path", dir.display())]
    NotABundle {
        /// The directory.
        dir: PathBuf,
    },
    /// The file system.
    #[error("{} cannot be read: {source}; {AGAIN}", path.display())]
    Read {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A new bundle that cannot be written.
    #[error("{} cannot be written: {source}; make room, or choose another place: nothing was left behind", path.display())]
    Write {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A place that is taken.
    #[error("{} is there already, expected a new name; remove it or write elsewhere", path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// More than any such file has.
    #[error("{file} has {bytes} bytes, expected at most {bytes_max}; {AGAIN}")]
    TooLarge {
        /// Which file.
        file: String,
        /// Found.
        bytes: u64,
        /// Limit.
        bytes_max: u64,
    },
    /// The manifest does not match its own digest.
    #[error(
        "bundle.toml does not match the sha256 in its first line ({found}); it was altered or cut off: {AGAIN}. \
             Settings belong into the deployment file, not here"
    )]
    ManifestDigest {
        /// What was found.
        found: String,
    },
    /// Not TOML, a missing or an unknown key.
    #[error("bundle.toml cannot be read: {detail}; {AGAIN} with the exporter of this release")]
    Manifest {
        /// What and where.
        detail: String,
    },
    /// Written by another release.
    #[error(
        "bundle.toml has schema_version {found}, this release reads {expected}; export the checkpoint again with the exporter of this release"
    )]
    Schema {
        /// Found.
        found: i64,
        /// Read here.
        expected: u32,
    },
    /// No such family.
    #[error("there is no policy family {found:?}, only {known:?}; use a release that has it")]
    UnknownFamily {
        /// Found.
        found: String,
        /// Known here.
        known: Vec<&'static str>,
    },
    /// Something that only another family has.
    #[error("this is a bundle of family {found}, expected {wanted}; use one of that family")]
    OtherFamily {
        /// Of the bundle.
        found: Family,
        /// Asked for.
        wanted: Family,
    },
    /// A value outside its bounds.
    #[error(
        "bundle.toml {field} is {found}, expected {expected}; export the checkpoint again with the exporter of this release"
    )]
    Field {
        /// `table.key`.
        field: String,
        /// Found.
        found: String,
        /// Accepted.
        expected: String,
    },
    /// A listed file that is not there.
    #[error("{file} is listed in bundle.toml and missing; {AGAIN}")]
    MissingFile {
        /// Which file.
        file: String,
    },
    /// Something that is not listed.
    #[error("{file} lies in the bundle and is not listed in bundle.toml; remove it, or {AGAIN}")]
    UnlistedFile {
        /// Which entry.
        file: String,
    },
    /// Another size than listed.
    #[error("{file} has {found} bytes, expected {expected}; {AGAIN}")]
    WrongSize {
        /// Which file.
        file: String,
        /// Found.
        found: u64,
        /// Listed.
        expected: u64,
    },
    /// Other contents than listed.
    #[error("{file} has sha256 {found}, expected {expected}; it was altered: {AGAIN}")]
    Altered {
        /// Which file.
        file: String,
        /// Found.
        found: String,
        /// Listed.
        expected: String,
    },
    /// A graph table that does not fit the family.
    #[error(
        "graph {graph} has {found}, expected {expected}; export the checkpoint again with the exporter of this release"
    )]
    Graph {
        /// Which graph.
        graph: String,
        /// Found.
        found: String,
        /// What the family needs.
        expected: String,
    },
    /// A provider that needs the other set of graphs.
    #[error(
        "this {precision} bundle has no {flavour} graphs, which provider {provider} runs; export the checkpoint again as fp32, fp16 or bf16 \
             with the exporter of this release, or set provider = \"cpu\""
    )]
    NoFlavour {
        /// Asked for.
        flavour: Flavour,
        /// Of the bundle.
        precision: String,
        /// Asked for.
        provider: String,
    },
    /// Nothing that takes several observations at once.
    #[error(
        "this bundle has no batched graphs; export the checkpoint again with --batch N (SpatialVLA with depth of a sensor; fp32, fp16 or bf16)"
    )]
    NoBatch,
    /// Not JSON of the right form.
    #[error("{file} cannot be read: {detail}; {AGAIN}")]
    Json {
        /// Which file.
        file: &'static str,
        /// What and where.
        detail: String,
    },
    /// Bin edges that are not sorted and finite.
    #[error("grid.json {axis}: {source}")]
    Edges {
        /// Which axis.
        axis: &'static str,
        /// Why.
        source: EdgesError,
    },
    /// Axes that do not make a grid.
    #[error("grid.json {grid}: {source}")]
    Grid {
        /// `translation` or `rotation`.
        grid: &'static str,
        /// Why.
        source: GridError,
    },
    /// Ids that do not make a table.
    #[error("bundle.toml [tokens]: {0}")]
    Tokens(#[from] TokenError),
    /// Ids that make no bins.
    #[error("bundle.toml [tokens]: {0}")]
    Bins(#[from] BinsError),
    /// Statistics that this family cannot use.
    #[error("statistics.json {key:?}: {source}")]
    Statistics {
        /// Which entry.
        key: String,
        /// Why.
        source: StatsError,
    },
    /// Table, grid and cell points that do not belong together.
    #[error("bundle.toml [tokens] and grid.json: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// An entry that is no camera.
    #[error("intrinsics.json {key:?}: {source}")]
    Intrinsics {
        /// Which entry.
        key: String,
        /// Why.
        source: IntrinsicsError,
    },
    /// Neither an own entry nor a default one.
    #[error("this bundle has no intrinsics for {wanted:?}, only {known:?}; give the camera's own")]
    NoIntrinsics {
        /// The statistics key.
        wanted: String,
        /// Entries there are.
        known: Vec<String>,
    },
    /// Golden tensors that cannot be used.
    #[error("golden.safetensors {tensor}: found {found}, expected {expected}; export the checkpoint again")]
    Golden {
        /// Which tensor, or which part of the file.
        tensor: String,
        /// Found.
        found: String,
        /// Needed.
        expected: String,
    },
    /// A golden picture that is none.
    #[error("golden.safetensors {case}: {source}")]
    GoldenFrame {
        /// Which case.
        case: String,
        /// Why.
        source: FrameError,
    },
    /// Observations that cannot be used.
    #[error("observations.safetensors {tensor}: found {found}, expected {expected}; export the checkpoint again")]
    Observations {
        /// Which tensor, or which part of the file.
        tensor: String,
        /// Found.
        found: String,
        /// Needed.
        expected: String,
    },
    /// A tokenizer that cannot be used.
    #[error("tokenizer.json: found {found}, expected {expected}; export the checkpoint again with its own tokenizer")]
    Vocabulary {
        /// Found.
        found: String,
        /// Needed.
        expected: String,
    },
}

impl BundleError {
    pub(crate) fn field(field: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Self {
        Self::Field { field: field.into(), found: found.to_string(), expected: expected.into() }
    }
}
