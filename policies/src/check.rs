//! Replay of a bundle's golden tensors: does every stage still give what the reference network gave?
//!
//! From: a verified [`Bundle`]. To: `egogrid check` and tests. The golden tensors come from the exporter's own reference,
//! not from the graphs, so a wrong graph, library, provider or perception stage shows, and the first one is named.

use crate::bundle::{Bundle, BundleError};
use crate::registry::{Family, LoadError};
use egogrid_runtime::execution::{Environment, GraphOptions};
use egogrid_runtime::policy::PolicyError;
use serde::Serialize;

/// Largest absolute difference by stage, fp32 on any provider.
///
/// Pixels and ids must be equal. Depth and points differ by the rounding of a mean and of one product; the encoding
/// multiplies that by up to 2^7. Networks add in another order than the reference. Physical actions are float64 throughout.
pub const TOLERANCES: [(&str, f64); 13] = [
    ("text_ids", 0.0),
    ("pixel_values", 0.0),
    ("patch_depth_m", 1e-5),
    ("points_xyz", 1e-5),
    ("freq_encoding", 1e-3),
    ("siglip_last_hidden", 1e-3),
    ("pos_embed_3d", 1e-3),
    ("patch_features", 1e-3),
    ("image_features", 1e-3),
    ("logits", 1e-3),
    ("token_ids", 0.0),
    ("normalized", 1e-9),
    ("actions", 1e-6),
];

/// What 99 of 100 numbers of a stage may differ by where depth is estimated.
///
/// Where bins and attractors meet, the estimator multiplies rounding by thousands: two runs of the official code differ by
/// centimetres at single pixels, and by 1e-5 m at half of them. Logits and ids have no such allowance.
pub const ESTIMATED_TOLERANCES: [(&str, f64); 9] = [
    ("zoe_pixel_values", 1e-4),
    ("zoe_backbone", 1e-3),
    ("zoe_domain_logits", 1e-3),
    ("zoe_predicted_depth", 1e-2),
    ("estimated_depth_m", 1e-2),
    ("patch_depth_m", 1e-2),
    ("points_xyz", 1e-2),
    ("freq_encoding", 1e-1),
    ("pos_embed_3d", 1e-2),
];
const USUAL_SHARE: f64 = 0.99;

/// The tolerance of stage `name` in a case whose depth is estimated; `zoe_backbone_{tap}` are `zoe_backbone`. `None` where
/// [`tolerance`] holds as everywhere.
pub fn estimated_tolerance(name: &str) -> Option<f64> {
    let name = if name.starts_with("zoe_backbone_") { "zoe_backbone" } else { name };
    ESTIMATED_TOLERANCES.iter().find(|(stage, _)| *stage == name).map(|(_, tolerance)| *tolerance)
}

/// What is tighter for OpenVLA: one misplaced small number of its network (an epsilon, a GELU) moves a logit by as little
/// as 3e-4, and its statistics are applied to the reference's own float64 numbers.
const OPENVLA_TOLERANCES: [(&str, f64); 3] = [("logits", 2e-4), ("normalized", 0.0), ("actions", 1e-12)];

/// The tolerance of stage `name`; `step{k}_logits` are `logits`. `None` for a name that is no stage.
pub fn tolerance(family: Family, name: &str) -> Option<f64> {
    let name = if name.starts_with("step") && name.ends_with("_logits") { "logits" } else { name };
    let own: &[_] = match family {
        Family::SpatialVla => &[],
        Family::OpenVla => &OPENVLA_TOLERANCES,
    };
    own.iter().chain(&TOLERANCES).find(|(stage, _)| *stage == name).map(|(_, tolerance)| *tolerance)
}

/// One stage of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckRow {
    /// `case0`, `case1`, …
    pub case: String,
    /// As in `golden.safetensors`.
    pub stage: String,
    /// Of all elements; of the 99 % that differ least for a stage of [`ESTIMATED_TOLERANCES`]. For ids: how many differ. [`f64::MAX`] where one is not finite.
    pub largest_abs_difference: f64,
    /// Allowed.
    pub tolerance: f64,
    /// Whether it is within.
    pub ok: bool,
}

/// All stages of all cases, in the order they ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// One per stage and case.
    pub rows: Vec<CheckRow>,
    #[serde(skip)]
    family: Family,
}

impl CheckReport {
    pub(crate) fn new(family: Family) -> Self {
        Self { rows: Vec::new(), family }
    }

    /// Whether every stage is within its tolerance.
    pub fn ok(&self) -> bool {
        self.first_difference().is_none()
    }

    /// The first stage that is not: what comes after it differs because it does.
    pub fn first_difference(&self) -> Option<&CheckRow> {
        self.rows.iter().find(|row| !row.ok)
    }

    pub(crate) fn push(&mut self, case: &str, stage: String, largest_abs_difference: f64) {
        let tolerance = tolerance(self.family, &stage).unwrap_or(0.0);
        self.push_within(case, stage, largest_abs_difference, tolerance);
    }

    pub(crate) fn push_within(&mut self, case: &str, stage: String, largest_abs_difference: f64, tolerance: f64) {
        let ok = largest_abs_difference <= tolerance;
        self.rows.push(CheckRow { case: case.to_owned(), stage, largest_abs_difference, tolerance, ok });
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

/// Largest absolute difference. Not finite anywhere: [`f64::MAX`], which JSON can hold.
pub(crate) fn largest_difference(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    pairs.fold(0.0, |largest: f64, (found, expected)| {
        let difference = (found - expected).abs();
        if difference.is_finite() { largest.max(difference) } else { f64::MAX }
    })
}

/// The largest absolute difference of the [`USUAL_SHARE`] of pairs that differ least. Not finite anywhere: [`f64::MAX`].
pub(crate) fn usual_difference(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let mut differences: Vec<f64> = pairs.map(|(found, expected)| (found - expected).abs()).collect();
    if differences.iter().any(|difference| !difference.is_finite()) {
        return f64::MAX;
    }
    let Some(last) = differences.len().checked_sub(1) else { return 0.0 };
    let at = (last as f64 * USUAL_SHARE).ceil() as usize;
    *differences.select_nth_unstable_by(at, f64::total_cmp).1
}

/// How many positions hold different ids; positions that only one side has count too.
pub(crate) fn ids_that_differ(found: &[i64], expected: &[i64]) -> f64 {
    let different = found.iter().zip(expected).filter(|(found, expected)| found != expected).count();
    (different + found.len().abs_diff(expected.len())) as f64
}
