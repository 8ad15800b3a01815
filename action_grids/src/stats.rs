//! Statistics of a training data set: the only way between [`NormalizedAction`] and [`Action`].
//!
//! From: a bundle's `statistics.json`, `{key: {action: {q01, q99, mask, ...}, ...}}`. To: whoever runs a policy.
//! Shape: `[7]` each. Source: SpatialVLA, arXiv:2501.15830 (the 1 % and 99 % quantiles become -1 and +1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{ACTION_DIMS, Action, ActionError, DIM_NAMES, NormalizedAction};

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
    /// Not seven numbers.
    #[error(
        "statistics field `{field}` has {found} values, expected {ACTION_DIMS}; this family moves one arm with one gripper"
    )]
    Length {
        /// `q01`, `q99`, `mask`, `min` or `max`.
        field: &'static str,
        /// Values found.
        found: usize,
    },
    /// NaN or infinity.
    #[error("statistics field `{field}` is {value} for {dim}, expected a finite number; compute the statistics again")]
    NotFinite {
        /// `q01`, `q99`, `min` or `max`.
        field: &'static str,
        /// Which dimension.
        dim: &'static str,
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
        dim: &'static str,
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

/// Checked statistics of one data set. Units of `q01` and `q99`: metres, radians, gripper 0..1.
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
        let mut constant = [false; ACTION_DIMS];
        for dim in 0..ACTION_DIMS {
            for (field, value) in [("q01", q01[dim]), ("q99", q99[dim])] {
                if !value.is_finite() {
                    return Err(StatsError::NotFinite { field, dim: DIM_NAMES[dim], value });
                }
            }
            if q99[dim] < q01[dim] {
                return Err(StatsError::Unsorted { dim: DIM_NAMES[dim], q01: q01[dim], q99: q99[dim] });
            }
            constant[dim] = q01[dim] == q99[dim];
        }
        Ok(Self { q01, q99, mask, constant })
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
        for (dim, value) in values.iter_mut().enumerate().filter(|(dim, _)| self.mask[*dim]) {
            *value = 0.5 * (*value + 1.0) * (self.q99[dim] - self.q01[dim]) + self.q01[dim];
        }
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

impl TryFrom<&NormStatsFile> for NormStats {
    type Error = StatsError;
    fn try_from(file: &NormStatsFile) -> Result<Self, StatsError> {
        let mut stats = Self::new(seven("q01", &file.q01)?, seven("q99", &file.q99)?, seven("mask", &file.mask)?)?;
        if let (Some(min), Some(max)) = (&file.min, &file.max) {
            let (min, max) = (seven("min", min)?, seven("max", max)?);
            stats.constant = std::array::from_fn(|dim| min[dim] == max[dim]);
        }
        Ok(stats)
    }
}

fn seven<T: Copy>(field: &'static str, values: &[T]) -> Result<[T; ACTION_DIMS], StatsError> {
    values.try_into().map_err(|_| StatsError::Length { field, found: values.len() })
}

/// Statistics of every data set that a checkpoint was trained on, by key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, DatasetStatsFile>")]
pub struct StatisticsTable {
    datasets: BTreeMap<String, NormStats>,
}

impl StatisticsTable {
    /// From checked parts.
    pub fn new(datasets: BTreeMap<String, NormStats>) -> Self {
        Self { datasets }
    }

    /// Statistics of one data set. There is no default: the wrong scale is a wrong motion.
    pub fn get(&self, key: &str) -> Result<&NormStats, StatsError> {
        self.datasets.get(key).ok_or_else(|| StatsError::UnknownDataset {
            wanted: key.to_owned(),
            known: self.datasets.keys().cloned().collect(),
        })
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.datasets.keys().map(String::as_str)
    }
}

impl TryFrom<BTreeMap<String, DatasetStatsFile>> for StatisticsTable {
    type Error = StatsError;
    fn try_from(files: BTreeMap<String, DatasetStatsFile>) -> Result<Self, StatsError> {
        let checked = |(key, file): (String, DatasetStatsFile)| match NormStats::try_from(&file.action) {
            Ok(stats) => Ok((key, stats)),
            Err(cause) => Err(StatsError::InDataset { key, cause: Box::new(cause) }),
        };
        files.into_iter().map(checked).collect::<Result<_, _>>().map(|datasets| Self { datasets })
    }
}
