//! Replay of a bundle's golden tensors: does every stage still give what the reference network gave?
//!
//! From: a verified [`Bundle`]. To: `egogrid check` and tests. The golden tensors come from the exporter's own reference,
//! not from the graphs, so a wrong graph, library, provider or perception stage shows, and the first one is named.

use crate::bundle::{Bundle, BundleError, GoldenCase, Manifest};
use crate::judge::{Difference, Judge};
use crate::registry::{Family, LoadError};
use egogrid_runtime::execution::{Environment, Flavour, GraphOptions};
use egogrid_runtime::policy::PolicyError;
use serde::Serialize;

pub use crate::judge::{ESTIMATED_TOLERANCES, TOLERANCES, estimated_tolerance, tolerance};

/// One stage of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckRow {
    /// `case0`, `case1`, …
    pub case: String,
    /// As in `golden.safetensors`.
    pub stage: String,
    /// Of all elements; of the 99 % that differ least for a stage of [`ESTIMATED_TOLERANCES`]. For ids: how many differ. [`f64::MAX`] where one is not finite.
    pub largest_abs_difference: f64,
    /// Allowed. `None`: shown and not judged, because weights of this precision may choose other ids.
    pub tolerance: Option<f64>,
    /// Whether it is within.
    pub ok: bool,
}

/// All stages of all cases, in the order they ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// One per stage and case.
    pub rows: Vec<CheckRow>,
    #[serde(skip)]
    judge: Judge,
}

impl CheckReport {
    /// Empty; rows are judged by the precision of `manifest`, by what the exporter measured, and by the graphs that run.
    pub(crate) fn of(manifest: &Manifest, flavour: Flavour) -> Self {
        Self { rows: Vec::new(), judge: Judge::of(manifest, flavour) }
    }

    /// Whether every stage is within its tolerance.
    pub fn ok(&self) -> bool {
        self.first_difference().is_none()
    }

    /// The first stage that is not: what comes after it differs because it does.
    pub fn first_difference(&self) -> Option<&CheckRow> {
        self.rows.iter().find(|row| !row.ok)
    }

    pub(crate) fn push(&mut self, case: &GoldenCase, stage: String, difference: Difference) {
        let tolerance = self.judge.tolerance(case, &stage, difference.expected_max);
        let ok = tolerance.is_none_or(|tolerance| difference.largest <= tolerance);
        let (case, largest_abs_difference) = (case.name.clone(), difference.largest);
        self.rows.push(CheckRow { case, stage, largest_abs_difference, tolerance, ok });
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The policy cannot be loaded, or its golden tensors cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An inference that did not even get to its tokens.
    #[error("{case}: {source}")]
    Policy {
        /// Which case.
        case: String,
        /// Why.
        source: PolicyError,
    },
}

impl From<BundleError> for CheckError {
    fn from(error: BundleError) -> Self {
        Self::Load(error.into())
    }
}

impl CheckError {
    /// Whether something is missing on this machine (exit code 4).
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Load(error) if error.is_missing())
    }
}

/// Replays every golden case of `bundle`.
///
/// # Errors
/// Whatever keeps a case from running. A difference is not an error but a row that is not `ok`.
pub fn check(environment: &Environment, bundle: &Bundle, graph: &GraphOptions) -> Result<CheckReport, CheckError> {
    match bundle.family() {
        Family::SpatialVla => crate::spatialvla::replay(environment, bundle, graph),
        Family::OpenVla => crate::openvla::replay(environment, bundle, graph),
    }
}
