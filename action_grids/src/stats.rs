//! Statistics of a training data set: the only way between normalized and physical actions.
//!
//! From: a bundle's `statistics.json`, `{key: {action: {q01, q99, mask, ...}, ...}}`. To: whoever runs a policy.
//! Shape: `[n]` each: [`RowStats`] for whatever the data set has, [`NormStats`] for one arm with one gripper, `n = 7`.
//! Source: OpenVLA and SpatialVLA, arXiv:2501.15830 (the 1 % and 99 % quantiles become -1 and +1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{ACTION_DIMS, Action, ActionError, DIM_NAMES, NormalizedAction};
use crate::row::{ActionRow, NormalizedRow, ROW_DIMS_MAX, RowError};

/// Keeps a dimension without spread from dividing by zero; part of the training formula.
pub const RANGE_EPSILON: f64 = 1e-8;

/// Why statistics are refused or missing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// No such key.
    #[error(
        "this bundle has no statistics for {wanted:?}, only {known:?}; \
             set `stats` in the embodiment file to one of those"
    )]
    UnknownDataset {
        /// The key asked for.
        wanted: String,
        /// All keys, sorted.
        known: Vec<String>,
    },
    /// None, or more than any robot has.
    #[error("statistics have {found} dimensions, expected 1 to {ROW_DIMS_MAX}; compute the statistics again")]
    Dims {
        /// Values in `q01`.
        found: usize,
    },
    /// Not as many numbers as `q01` has.
    #[error("statistics field `{field}` has {found} values, expected {expected} as in `q01`; compute them again")]
    Length {
        /// `q99`, `mask`, `min` or `max`.
        field: &'static str,
        /// Values found.
        found: usize,
        /// Values in `q01`.
        expected: usize,
    },
    /// Not seven numbers.
    #[error(
        "these statistics have {found} dimensions, expected {ACTION_DIMS}; this family moves one arm with one gripper"
    )]
    NotOneArm {
        /// Dimensions found.
        found: usize,
    },
    /// NaN or infinity.
    #[error("statistics field `{field}` is {value} for {dim}, expected a finite number; compute the statistics again")]
    NotFinite {
        /// `q01`, `q99`, `min` or `max`.
        field: &'static str,
        /// Which dimension.
        dim: String,
        /// What was found.
        value: f64,
    },
    /// The upper quantile is below the lower one.
    #[error(
        "statistics of {dim} have q99 {q99} below q01 {q01}, which would turn the axis around; \
             compute the statistics again"
    )]
    Unsorted {
        /// Which dimension.
        dim: String,
        /// Lower quantile.
        q01: f64,
        /// Upper quantile.
        q99: f64,
    },
    /// One of the above, with the key of its data set.
    #[error("statistics {key:?}: {cause}")]
    InDataset {
        /// The key.
        key: String,
        /// What is wrong with it.
        cause: Box<StatsError>,
    },
}

/// What a statistics file says about the actions of one data set. Other fields of the file are not ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NormStatsFile {
    /// 1 % quantiles.
    pub q01: Vec<f64>,
    /// 99 % quantiles.
    pub q99: Vec<f64>,
    /// True where the dimension is normalized.
    pub mask: Vec<bool>,
    /// Smallest values, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Vec<f64>>,
    /// Largest values, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Vec<f64>>,
}

/// What a statistics file says about one data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetStatsFile {
    /// Its actions.
    pub action: NormStatsFile,
}

/// Checked statistics of one data set with any number of dimensions, in its own units.
#[derive(Debug, Clone, PartialEq)]
pub struct RowStats {
    q01: Vec<f64>,
    q99: Vec<f64>,
    mask: Vec<bool>,
    constant: Vec<bool>,
}

impl RowStats {
    /// Quantiles and mask of `[n]` each; a dimension with equal quantiles counts as constant.
    pub fn new(q01: Vec<f64>, q99: Vec<f64>, mask: Vec<bool>) -> Result<Self, StatsError> {
        let dims = q01.len();
        if !(1..=ROW_DIMS_MAX).contains(&dims) {
            return Err(StatsError::Dims { found: dims });
        }
        for (field, found) in [("q99", q99.len()), ("mask", mask.len())] {
            same_length(field, found, dims)?;
        }
        for dim in 0..dims {
            for (field, value) in [("q01", q01[dim]), ("q99", q99[dim])] {
                if !value.is_finite() {
                    return Err(StatsError::NotFinite { field, dim: dim_name(dim, dims), value });
                }
            }
            if q99[dim] < q01[dim] {
                return Err(StatsError::Unsorted { dim: dim_name(dim, dims), q01: q01[dim], q99: q99[dim] });
            }
        }
        let constant = q01.iter().zip(&q99).map(|(q01, q99)| q01 == q99).collect();
        Ok(Self { q01, q99, mask, constant })
    }

    /// Numbers in one action of this data set.
    pub fn dims(&self) -> usize {
        self.q01.len()
    }

    /// To the data set's own units. Never limits, and makes no promise about what the numbers mean.
    pub fn unnormalize(&self, normalized: &NormalizedRow) -> Result<ActionRow, RowError> {
        let (found, expected) = (normalized.values().len(), self.dims());
        if found != expected {
            return Err(RowError::OtherDims { found, expected });
        }
        let mut values = normalized.values().to_vec();
        unnormalize(&mut values, &self.q01, &self.q99, &self.mask);
        ActionRow::new(values)
    }

    /// By how much a normalized number changes with one unit of `dim`; 1 where the dimension is not normalized, `None` where it
    /// is constant and has no scale, or is not there.
    pub fn normalized_per_unit(&self, dim: usize) -> Option<f64> {
        let (q01, q99, mask) = (self.q01.get(dim)?, self.q99.get(dim)?, self.mask.get(dim)?);
        if *self.constant.get(dim)? {
            return None;
        }
        Some(if *mask { 2.0 / (q99 - q01 + RANGE_EPSILON) } else { 1.0 })
    }

    /// The same as statistics of one arm with one gripper.
    pub fn one_arm(&self) -> Result<NormStats, StatsError> {
        let wrong = || StatsError::NotOneArm { found: self.dims() };
        let (Ok(q01), Ok(q99)) = (self.q01.as_slice().try_into(), self.q99.as_slice().try_into()) else {
            return Err(wrong());
        };
        let (Ok(mask), Ok(constant)) = (self.mask.as_slice().try_into(), self.constant.as_slice().try_into()) else {
            return Err(wrong());
        };
        Ok(NormStats { q01, q99, mask, constant })
    }
}

/// `0.5 * (n + 1) * (q99 - q01) + q01` where masked.
fn unnormalize(values: &mut [f64], q01: &[f64], q99: &[f64], mask: &[bool]) {
    for (dim, value) in values.iter_mut().enumerate().filter(|(dim, _)| mask[*dim]) {
        *value = 0.5 * (*value + 1.0) * (q99[dim] - q01[dim]) + q01[dim];
    }
}

fn dim_name(dim: usize, dims: usize) -> String {
    if dims == ACTION_DIMS { DIM_NAMES[dim].to_owned() } else { format!("dimension {dim}") }
}

fn same_length(field: &'static str, found: usize, expected: usize) -> Result<(), StatsError> {
    if found == expected { Ok(()) } else { Err(StatsError::Length { field, found, expected }) }
}

impl TryFrom<&NormStatsFile> for RowStats {
    type Error = StatsError;
    fn try_from(file: &NormStatsFile) -> Result<Self, StatsError> {
        let mut stats = Self::new(file.q01.clone(), file.q99.clone(), file.mask.clone())?;
        if let (Some(min), Some(max)) = (&file.min, &file.max) {
            same_length("min", min.len(), stats.dims())?;
            same_length("max", max.len(), stats.dims())?;
            stats.constant = min.iter().zip(max).map(|(min, max)| min == max).collect();
        }
        Ok(stats)
    }
}

/// Checked statistics of one data set of one arm with one gripper. Units of `q01` and `q99`: metres, radians, gripper
/// 0..1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormStats {
    q01: [f64; ACTION_DIMS],
    q99: [f64; ACTION_DIMS],
    mask: [bool; ACTION_DIMS],
    constant: [bool; ACTION_DIMS],
}

impl NormStats {
    /// Quantiles and mask; a dimension with equal quantiles counts as constant.
    pub fn new(
        q01: [f64; ACTION_DIMS],
        q99: [f64; ACTION_DIMS],
        mask: [bool; ACTION_DIMS],
    ) -> Result<Self, StatsError> {
        RowStats::new(q01.to_vec(), q99.to_vec(), mask.to_vec())?.one_arm()
    }

    /// Lower quantiles.
    pub fn q01(&self) -> &[f64; ACTION_DIMS] {
        &self.q01
    }

    /// Upper quantiles.
    pub fn q99(&self) -> &[f64; ACTION_DIMS] {
        &self.q99
    }

    /// True where the dimension is normalized; elsewhere both spaces hold the same number.
    pub fn mask(&self) -> &[bool; ACTION_DIMS] {
        &self.mask
    }

    /// To physical units: `0.5 * (n + 1) * (q99 - q01) + q01` where masked. Never limits: a normalized value
    /// outside `[-1, 1]` stays outside the quantiles. Refuses a result that is no gripper opening or not finite.
    pub fn unnormalize(&self, normalized: &NormalizedAction) -> Result<Action, ActionError> {
        let mut values = *normalized.values();
        unnormalize(&mut values, &self.q01, &self.q99, &self.mask);
        Action::try_from(values)
    }

    /// A training target: `2 * (a - q01) / (q99 - q01 + 1e-8) - 1` limited to `[-1, 1]` where masked, and 0 where the
    /// dimension is constant. Lossy on purpose, therefore not the inverse of [`Self::unnormalize`] beyond the quantiles.
    pub fn normalize_clipped(&self, action: &Action) -> Result<NormalizedAction, ActionError> {
        let mut values = action.values();
        for (dim, value) in values.iter_mut().enumerate() {
            let range = self.q99[dim] - self.q01[dim] + RANGE_EPSILON;
            if self.constant[dim] {
                *value = 0.0;
            } else if self.mask[dim] {
                *value = (2.0 * (*value - self.q01[dim]) / range - 1.0).clamp(-1.0, 1.0);
            }
        }
        NormalizedAction::new(values)
    }
}

/// Statistics of every data set that a checkpoint was trained on, by key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, DatasetStatsFile>")]
pub struct StatisticsTable {
    datasets: BTreeMap<String, RowStats>,
}

impl StatisticsTable {
    /// From checked parts.
    pub fn new(datasets: BTreeMap<String, RowStats>) -> Self {
        Self { datasets }
    }

    /// Statistics of one data set. There is no default: the wrong scale is a wrong motion.
    pub fn get(&self, key: &str) -> Result<&RowStats, StatsError> {
        self.datasets.get(key).ok_or_else(|| StatsError::UnknownDataset {
            wanted: key.to_owned(),
            known: self.datasets.keys().cloned().collect(),
        })
    }

    /// All of them by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RowStats)> {
        self.datasets.iter().map(|(key, stats)| (key.as_str(), stats))
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.datasets.keys().map(String::as_str)
    }
}

impl TryFrom<BTreeMap<String, DatasetStatsFile>> for StatisticsTable {
    type Error = StatsError;
    fn try_from(files: BTreeMap<String, DatasetStatsFile>) -> Result<Self, StatsError> {
        let checked = |(key, file): (String, DatasetStatsFile)| match RowStats::try_from(&file.action) {
            Ok(stats) => Ok((key, stats)),
            Err(cause) => Err(StatsError::InDataset { key, cause: Box::new(cause) }),
        };
        files.into_iter().map(checked).collect::<Result<_, _>>().map(|datasets| Self { datasets })
    }
}
