//! `meta/info.json`: version, rate, where the files are, and which features a row has.
//!
//! Keys that are not ours are left alone: the format belongs to others and grows.

use super::error::{DatasetError, Place, Problem};
use super::{FEATURE_VALUES_MAX, FEATURES_MAX, JSON_BYTES_MAX};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Fastest rate that is read, rows per second.
const FPS_MAX: f64 = 1000.0;
/// Rows that every dataset has, in the order in which LeRobot writes them.
pub(super) const INDEX_FEATURES: [(&str, Dtype); 5] = [
    ("timestamp", Dtype::Float32),
    ("frame_index", Dtype::Int64),
    ("episode_index", Dtype::Int64),
    ("index", Dtype::Int64),
    ("task_index", Dtype::Int64),
];

/// Type of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Dtype {
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Bool,
    String,
    /// PNG or JPEG in the table.
    Image,
    /// A frame of a film.
    Video,
}

impl Dtype {
    /// As in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Image => "image",
            Self::Video => "video",
        }
    }

    /// Whether each value is a picture.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Image | Self::Video)
    }
}

#[derive(Deserialize)]
struct FeatureFile {
    dtype: Dtype,
    shape: Vec<usize>,
    #[serde(default)]
    names: Value,
}

#[derive(Deserialize)]
struct InfoFile {
    #[serde(default)]
    robot_type: Option<String>,
    total_episodes: u64,
    total_frames: u64,
    fps: f64,
    data_path: String,
    #[serde(default)]
    video_path: Option<String>,
    features: BTreeMap<String, FeatureFile>,
}

/// One thing that every row has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Type.
    pub dtype: Dtype,
    /// Slowest axis first; a picture is `[height, width, channels]`.
    pub shape: Vec<usize>,
    /// Of the numbers of a vector; empty where the file has none.
    pub names: Vec<String>,
}

impl Feature {
    /// Numbers in one row.
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What the file says, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// `v3.x`.
    pub version: String,
    /// Free text.
    pub robot_type: Option<String>,
    /// Episodes.
    pub episodes: u64,
    /// Rows of all episodes.
    pub frames: u64,
    /// Rows per second.
    pub fps: f64,
    /// By name.
    pub features: BTreeMap<String, Feature>,
    data_path: String,
    video_path: Option<String>,
}

impl Info {
    /// Reads it from `root`.
    ///
    /// # Errors
    /// No such file, another version, or values that cannot be meant.
    pub fn read(root: &Path) -> Result<Self, DatasetError> {
        let path = root.join("meta/info.json");
        // The version first: another one has other keys.
        let version: Version = json(&path)?;
        let at = |key: &str, problem: Problem| DatasetError::new(&path, Place::Key(key.to_owned()), problem);
        let found = version.codebase_version;
        if !found.strip_prefix("v3.").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.')) {
            return Err(at("codebase_version", Problem::Version { found }));
        }
        let file: InfoFile = json(&path)?;
        if !(file.fps > 0.0 && file.fps <= FPS_MAX) {
            let (found, expected) = (file.fps.to_string(), format!("rows per second, above 0 and at most {FPS_MAX}"));
            return Err(at("fps", Problem::Value { found, expected }));
        }
        if file.features.len() > FEATURES_MAX {
            let (found, max) = (file.features.len() as u64, FEATURES_MAX as u64);
            return Err(at("features", Problem::TooMany { what: "features", found, max }));
        }
        let mut features = BTreeMap::new();
        for (name, feature) in file.features {
            let values = feature.shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side));
            let picture = feature.dtype.is_picture();
            let fits = if picture {
                feature.shape.len() == 3 && values.is_some()
            } else {
                values.is_some_and(|values| (1..=FEATURE_VALUES_MAX).contains(&values))
            };
            if !fits || name.is_empty() || name.contains(['/', '\\']) {
                let found = format!("feature {name:?} of shape {:?}", feature.shape);
                let expected = format!(
                    "a name without slashes, a picture of three axes or 1 to {FEATURE_VALUES_MAX} numbers in a row"
                );
                return Err(at("features", Problem::Value { found, expected }));
            }
            let names = flat_names(&feature.names);
            features.insert(name, Feature { dtype: feature.dtype, shape: feature.shape, names });
        }
        Ok(Self {
            version: found,
            robot_type: file.robot_type,
            episodes: file.total_episodes,
            frames: file.total_frames,
            fps: file.fps,
            features,
            data_path: file.data_path,
            video_path: file.video_path,
        })
    }

    /// The named feature.
    ///
    /// # Errors
    /// There is none; lists those there are.
    pub fn feature(&self, root: &Path, name: &str) -> Result<&Feature, DatasetError> {
        self.features.get(name).ok_or_else(|| {
            let known = self.features.keys().cloned().collect();
            let problem = Problem::Missing { what: "feature", wanted: name.to_owned(), known };
            DatasetError::file(&root.join("meta/info.json"), problem)
        })
    }

    /// Names of the features that are films.
    pub fn films(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter(|(_, feature)| feature.dtype == Dtype::Video).map(|(name, _)| name.as_str())
    }

    pub(super) fn data_file(&self, root: &Path, [chunk, file]: [u64; 2]) -> Result<PathBuf, DatasetError> {
        place(root, "data_path", &self.data_path, "", chunk, file)
    }

    pub(super) fn film_file(&self, root: &Path, key: &str, [chunk, file]: [u64; 2]) -> Result<PathBuf, DatasetError> {
        let template = self.video_path.as_deref().unwrap_or_default();
        place(root, "video_path", template, key, chunk, file)
    }
}

#[derive(Deserialize)]
struct Version {
    codebase_version: String,
}

/// Names are a list, a list in an object, or null.
fn flat_names(names: &Value) -> Vec<String> {
    match names {
        Value::Array(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        Value::Object(map) => map.values().flat_map(flat_names).collect(),
        _ => Vec::new(),
    }
}

/// A path of the dataset: relative, downwards, and ours to open.
fn place(root: &Path, key: &str, template: &str, video: &str, chunk: u64, file: u64) -> Result<PathBuf, DatasetError> {
    let path = template
        .replace("{chunk_index:03d}", &format!("{chunk:03}"))
        .replace("{file_index:03d}", &format!("{file:03}"))
        .replace("{video_key}", video);
    let relative = Path::new(&path);
    let downwards = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || path.contains(['{', '}']) || !downwards {
        return Err(DatasetError::value(
            &root.join("meta/info.json"),
            Place::Key(key.to_owned()),
            format!("{template:?}"),
            "a path inside the dataset like data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        ));
    }
    Ok(root.join(relative))
}

/// A JSON file of limited size. What is wrong with it has a byte.
pub(super) fn json<T: DeserializeOwned>(path: &Path) -> Result<T, DatasetError> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| DatasetError::file(path, error))?;
    file.take(JSON_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| DatasetError::file(path, error))?;
    if text.len() as u64 > JSON_BYTES_MAX {
        let problem = Problem::TooMany { what: "bytes", found: text.len() as u64, max: JSON_BYTES_MAX };
        return Err(DatasetError::file(path, problem));
    }
    serde_json::from_slice(&text).map_err(|error| {
        let before: usize =
            text.split_inclusive(|byte| *byte == b'\n').take(error.line().max(1) - 1).map(<[u8]>::len).sum();
        DatasetError::new(path, Place::Byte((before + error.column()) as u64), Problem::Damaged(error.to_string()))
    })
}
