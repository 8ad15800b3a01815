//! A bundle: one exported checkpoint, verified before anything of it is used.
//!
//! From: a directory that `egogrid_export` wrote (`policies/BUNDLE.md`). To: [`crate::registry::load`] and
//! [`crate::check`]. Cheap checks come first: the manifest, then names and sizes, then the small files, and the sha256
//! of the weights last. ONNX Runtime sees nothing of a bundle that has not passed all of them.

mod draft;
mod error;
mod files;
pub mod golden;
mod grid;
mod intrinsics;
pub mod limits;
pub mod manifest;
pub mod observations;

pub(crate) use draft::Draft;
pub use error::BundleError;
pub use files::Progress;
pub use golden::GoldenCase;
pub use intrinsics::StoredIntrinsics;
pub use manifest::{AdaptedSpec, FamilyTables, Manifest, RowsSpec};
pub use observations::{OBSERVATIONS_MAX, Observations};

use crate::registry::Family;
use egogrid_action_grids::fit::Grids;
use egogrid_action_grids::{ActionBins, ActionTokenizer, StatisticsTable};
use intrinsics::IntrinsicsTable;
use std::path::{Path, PathBuf};

/// Version of the format that is read here.
pub const SCHEMA_VERSION: u32 = 1;
/// The manifest.
pub const MANIFEST_FILE: &str = "bundle.toml";

const DIGEST_PREFIX: &[u8] = b"# sha256 ";
/// External data of all graphs.
pub(crate) const WEIGHTS_FILE: &str = "weights.bin";
const TOKENIZER_FILE: &str = "tokenizer.json";
pub(crate) const GRID_FILE: &str = "grid.json";
pub(crate) const STATISTICS_FILE: &str = "statistics.json";
const INTRINSICS_FILE: &str = "intrinsics.json";
pub(crate) const GOLDEN_FILE: &str = "golden.safetensors";
const OBSERVATIONS_FILE: &str = "observations.safetensors";
const COMMON_FILES: [&str; 5] = [TOKENIZER_FILE, STATISTICS_FILE, GOLDEN_FILE, WEIGHTS_FILE, "README.md"];
const JSON_BYTES_MAX: u64 = 16 << 20;
const TOKENIZER_BYTES_MAX: u64 = 128 << 20;
/// Of [`Bundle::model_digest`]: 64 bits, and short enough for a path.
const MODEL_DIGEST_CHARS: usize = 16;
const GOLDEN_BYTES_MAX: u64 = 512 << 20;

/// A verified bundle. Its large files stay on disk.
#[derive(Debug, Clone)]
pub struct Bundle {
    dir: PathBuf,
    digest: String,
    manifest: Manifest,
    statistics: StatisticsTable,
    own: OwnFiles,
}

/// What only one family has, besides its tables.
#[derive(Debug, Clone)]
enum OwnFiles {
    SpatialVla { action_tokenizer: Box<ActionTokenizer>, intrinsics: IntrinsicsTable },
    OpenVla { bins: ActionBins },
}

/// Files that `family` has besides [`COMMON_FILES`] and its graphs.
fn own_files(family: Family) -> &'static [&'static str] {
    match family {
        Family::SpatialVla => &[GRID_FILE, INTRINSICS_FILE],
        Family::OpenVla => &[],
    }
}

impl Bundle {
    /// Reads and verifies all of `dir`.
    ///
    /// # Errors
    /// The first thing that is not as it should be.
    pub fn open(dir: &Path) -> Result<Self, BundleError> {
        Self::open_with_progress(dir, &mut |_| {})
    }

    /// The same, telling how far it is: the weights of a large model take a while.
    ///
    /// # Errors
    /// The first thing that is not as it should be.
    pub fn open_with_progress(dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Self, BundleError> {
        let (digest, manifest) = read_digest_and_manifest(dir)?;
        files::check_listing(dir, &manifest)?;
        let json = |file| files::read_verified(dir, &manifest, file, JSON_BYTES_MAX);
        let statistics = serde_json::from_slice::<StatisticsTable>(&json(STATISTICS_FILE)?);
        let statistics = statistics.map_err(|error| json_error(STATISTICS_FILE, &error))?;
        let own = match &manifest.tables {
            FamilyTables::SpatialVla(_) => OwnFiles::SpatialVla {
                action_tokenizer: Box::new(grid::parse(&json(GRID_FILE)?, &manifest)?),
                intrinsics: IntrinsicsTable::parse(&json(INTRINSICS_FILE)?)?,
            },
            FamilyTables::OpenVla(tables) => OwnFiles::OpenVla { bins: limits::openvla::bins(&manifest, tables)? },
        };
        check_statistics(&manifest, &statistics)?;
        files::verify_all(dir, &manifest, progress)?;
        Ok(Self { dir: dir.to_path_buf(), digest, manifest, statistics, own })
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its policy family.
    pub fn family(&self) -> Family {
        self.manifest.family()
    }

    /// Family and checkpoint: `spatialvla/NAME`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.family(), self.manifest.origin.checkpoint)
    }

    /// The sha256 that `bundle.toml` begins with, hex: it names all files and their digests, so it tells this bundle from every other.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What `bundle.toml` says; every number is within its bounds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Grids, token table and cell points, checked against each other.
    ///
    /// # Errors
    /// A family without grids.
    pub fn action_tokenizer(&self) -> Result<&ActionTokenizer, BundleError> {
        match &self.own {
            OwnFiles::SpatialVla { action_tokenizer, .. } => Ok(action_tokenizer),
            OwnFiles::OpenVla { .. } => Err(self.other_family(Family::SpatialVla)),
        }
    }

    /// Fixed bins and their ids.
    ///
    /// # Errors
    /// A family without them.
    pub fn action_bins(&self) -> Result<&ActionBins, BundleError> {
        match &self.own {
            OwnFiles::OpenVla { bins } => Ok(bins),
            OwnFiles::SpatialVla { .. } => Err(self.other_family(Family::OpenVla)),
        }
    }

    fn other_family(&self, wanted: Family) -> BundleError {
        BundleError::OtherFamily { found: self.family(), wanted }
    }

    /// Statistics of every data set of the checkpoint.
    pub fn statistics(&self) -> &StatisticsTable {
        &self.statistics
    }

    /// The intrinsics that the checkpoint was trained with under `stats_key`; the entry `default` where it has none of
    /// its own, as in the official processor. Which one it was is part of the answer.
    ///
    /// # Errors
    /// Neither is there, or the family does not look at the camera's geometry.
    pub fn intrinsics(&self, stats_key: &str) -> Result<StoredIntrinsics, BundleError> {
        match &self.own {
            OwnFiles::SpatialVla { intrinsics, .. } => intrinsics.get(stats_key),
            OwnFiles::OpenVla { .. } => Err(self.other_family(Family::SpatialVla)),
        }
    }

    /// Tells graphs and weights of this bundle from those of every other, for what a provider compiles of them.
    pub(crate) fn model_digest(&self) -> String {
        let parts = self.manifest.files.iter().filter(|file| file.path == WEIGHTS_FILE || file.path.ends_with(".onnx"));
        let listed: String = parts.map(|file| format!("{} {}\n", file.path, file.sha256)).collect();
        files::sha256(listed.as_bytes())[..MODEL_DIGEST_CHARS].to_owned()
    }

    /// The golden cases, in order.
    ///
    /// # Errors
    /// A file that changed since it was verified, or that lacks a tensor.
    pub fn golden(&self) -> Result<Vec<GoldenCase>, BundleError> {
        golden::parse(&self.golden_bytes()?)
    }

    /// What the precision was measured on; `None` where it was not.
    ///
    /// # Errors
    /// A file that changed since it was verified, or that lacks a tensor.
    pub fn observations(&self) -> Result<Option<Observations>, BundleError> {
        if self.manifest.file(OBSERVATIONS_FILE).is_none() {
            return Ok(None);
        }
        let bytes = files::read_verified(&self.dir, &self.manifest, OBSERVATIONS_FILE, GOLDEN_BYTES_MAX)?;
        observations::parse(&bytes, |key| Ok(self.intrinsics(key)?.intrinsics)).map(Some)
    }

    pub(crate) fn tokenizer_json(&self) -> Result<Vec<u8>, BundleError> {
        files::read_verified(&self.dir, &self.manifest, TOKENIZER_FILE, TOKENIZER_BYTES_MAX)
    }

    /// `golden.safetensors` as it is.
    pub(crate) fn golden_bytes(&self) -> Result<Vec<u8>, BundleError> {
        files::read_verified(&self.dir, &self.manifest, GOLDEN_FILE, GOLDEN_BYTES_MAX)
    }

    pub(crate) fn statistics_json(&self) -> Result<Vec<u8>, BundleError> {
        files::read_verified(&self.dir, &self.manifest, STATISTICS_FILE, JSON_BYTES_MAX)
    }

    /// What a `grid.json` of other bytes would make of this bundle's tokens.
    pub(crate) fn tokenizer_with(&self, grid_json: &[u8]) -> Result<ActionTokenizer, BundleError> {
        grid::parse(grid_json, &self.manifest)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }
}

/// The grids in a `grid.json`, whatever bundle it is for.
///
/// # Errors
/// A file that is none.
pub fn read_grids(grid_json: &[u8]) -> Result<Grids, BundleError> {
    grid::shapes(grid_json)
}

/// Reads `bundle.toml` and checks everything that can be checked without another file.
///
/// # Errors
/// The first thing that is not as it should be.
pub fn read_manifest(dir: &Path) -> Result<Manifest, BundleError> {
    read_digest_and_manifest(dir).map(|(_, manifest)| manifest)
}

fn read_digest_and_manifest(dir: &Path) -> Result<(String, Manifest), BundleError> {
    let path = dir.join(MANIFEST_FILE);
    if !path.is_file() {
        return Err(BundleError::NotABundle { dir: dir.to_path_buf() });
    }
    let bytes = files::read_limited(&path, limits::MANIFEST_BYTES_MAX)?;
    let body = checked_body(&bytes)?;
    Ok((files::sha256(body), parse_manifest(body)?))
}

/// The manifest without its first line, which must be `# sha256 ` and the digest of all that follows it.
fn checked_body(bytes: &[u8]) -> Result<&[u8], BundleError> {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (first, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let found = files::sha256(body);
    match first.strip_prefix(DIGEST_PREFIX) {
        Some(stated) if stated == found.as_bytes() => Ok(body),
        _ => Err(BundleError::ManifestDigest { found }),
    }
}

/// The manifest in `bytes`, checked. Version and family come first: a newer file has keys that are unknown here, and
/// that is not what the message should say.
///
/// # Errors
/// The first thing that is not as it should be.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, BundleError> {
    let malformed = |detail: String| BundleError::Manifest { detail };
    let text = str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
    let table = text.parse::<toml::Table>().map_err(|error| malformed(error.to_string()))?;
    match table.get("schema_version").and_then(toml::Value::as_integer) {
        Some(found) if found == i64::from(SCHEMA_VERSION) => {}
        Some(found) => return Err(BundleError::Schema { found, expected: SCHEMA_VERSION }),
        None => return Err(malformed("there is no integer schema_version".to_owned())),
    }
    let Some(family) = table.get("family").and_then(toml::Value::as_str) else {
        return Err(malformed("there is no text family".to_owned()));
    };
    let family = family.parse::<Family>()?;
    let manifest = Manifest::parse(family, table)?;
    limits::check(&manifest)?;
    match &manifest.tables {
        FamilyTables::SpatialVla(tables) => crate::spatialvla::check_tables(&manifest, tables)?,
        FamilyTables::OpenVla(tables) => crate::openvla::check_tables(&manifest, tables)?,
    }
    Ok(manifest)
}

/// Every key can be used by the family: one arm with one gripper, or as many dimensions as the cache has room for.
fn check_statistics(manifest: &Manifest, statistics: &StatisticsTable) -> Result<(), BundleError> {
    match manifest.family() {
        Family::SpatialVla => statistics.iter().try_for_each(|(key, stats)| {
            stats.one_arm().map(|_| ()).map_err(|source| BundleError::Statistics { key: key.to_owned(), source })
        }),
        Family::OpenVla => {
            let widest = statistics.iter().map(|(_, stats)| stats.dims()).max().unwrap_or_default();
            limits::check_capacity(manifest, widest as u32)
        }
    }
}

fn json_error(file: &'static str, error: &serde_json::Error) -> BundleError {
    BundleError::Json { file, detail: error.to_string() }
}
