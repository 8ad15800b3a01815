//! How far a stage may be from its golden tensor, by precision and by where depth comes from.
//!
//! From: a stage's numbers and the reference's. To: the rows of a [`crate::check::CheckReport`].

use crate::bundle::manifest::Precision;
use crate::bundle::{GoldenCase, Manifest};
use crate::registry::Family;
use egogrid_runtime::execution::Flavour;

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
const OPENVLA_TOLERANCES: [(&str, f64); 3] = [("logits", 2e-4), ("normalized", 0.0), ("actions", 0.0)];

/// The tolerance of stage `name`; `step{k}_logits` are `logits`. `None` for a name that is no stage.
pub fn tolerance(family: Family, name: &str) -> Option<f64> {
    let name = if name.starts_with("step") && name.ends_with("_logits") { "logits" } else { name };
    let own: &[_] = match family {
        Family::SpatialVla => &[],
        Family::OpenVla => &OPENVLA_TOLERANCES,
    };
    own.iter().chain(&TOLERANCES).find(|(stage, _)| *stage == name).map(|(_, tolerance)| *tolerance)
}

/// What a stage behind the weights may differ by where they are not fp32, of its largest value. Measured by the exporter
/// for each golden case, each graph reading what the one before it made (`[precision_check]`); this often is allowed here,
/// because kernels of other processors add in another order and round activations of integers elsewhere.
const MEASURED_TIMES: f64 = 2.0;
/// Least that is allowed so; fp32 itself differs by some 1e-5.
const RELATIVE_MIN: f64 = 1e-4;
/// Stages before any weight: these are computed as for fp32 whatever the weights are.
const BEFORE_WEIGHTS: [&str; 5] = ["text_ids", "pixel_values", "patch_depth_m", "points_xyz", "freq_encoding"];
/// Follow from the ids alone. Fewer bits may choose other ids: how often they do is what observations are for.
const AFTER_IDS: [&str; 3] = ["token_ids", "normalized", "actions"];

/// Of bundles whose exporter did not measure: what its own check of the written graphs allows (`precision.py`). Integers
/// may move single values of a small network by any amount.
fn relative_tolerance(precision: Precision) -> Option<f64> {
    match precision {
        Precision::Fp32 => Some(RELATIVE_MIN),
        Precision::Fp16 => Some(5e-3),
        Precision::Bf16 => Some(8e-2),
        Precision::Int8 | Precision::Int4 => None,
    }
}

/// Of static graphs, which also compute in 16 bits. What the exporter measured for the bundle does not say that: it ran the
/// processor's graphs, which widen the same weights. As the exporter's own check of static graphs (`precision.py`).
fn relative_of_static(precision: Precision) -> f64 {
    match precision {
        Precision::Fp16 => 2e-2,
        other => relative_tolerance(other).unwrap_or(RELATIVE_MIN), // integers have no static graphs
    }
}

/// By what the stages of one bundle are judged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judge {
    family: Family,
    precision: Precision,
    flavour: Flavour,
    /// For each golden case; empty where nothing was measured.
    measured: Vec<f64>,
}

impl Judge {
    /// `flavour`: which of the bundle's graphs run.
    pub(crate) fn of(manifest: &Manifest, flavour: Flavour) -> Self {
        let measured = manifest.precision_check.as_ref().map(|table| table.stage_differences.clone());
        let (family, precision) = (manifest.family(), manifest.precision);
        Self { family, precision, flavour, measured: measured.unwrap_or_default() }
    }

    /// `expected_max`: the largest value of the reference. `None`: not to be judged.
    pub(crate) fn tolerance(&self, case: &GoldenCase, stage: &str, expected_max: f64) -> Option<f64> {
        let estimated = case.estimates_depth().then(|| estimated_tolerance(stage)).flatten();
        let as_fp32 = estimated.unwrap_or_else(|| tolerance(self.family, stage).unwrap_or(0.0));
        if self.precision == Precision::Fp32 {
            return Some(as_fp32);
        }
        if BEFORE_WEIGHTS.contains(&stage) {
            // An estimator has weights too, and what follows from its depth multiplies their rounding.
            return if estimated.is_some() { None } else { Some(as_fp32) };
        }
        if AFTER_IDS.contains(&stage) {
            return None;
        }
        let least = match self.flavour {
            Flavour::Cpu => RELATIVE_MIN,
            Flavour::Static | Flavour::Batched => relative_of_static(self.precision),
        };
        let measured = self.measured.get(case.number).map(|found| MEASURED_TIMES * found);
        measured.or_else(|| relative_tolerance(self.precision)).map(|relative| expected_max * relative.max(least))
    }
}

/// How far a stage is from the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Difference {
    /// Absolute. Not finite anywhere: [`f64::MAX`], which JSON can hold.
    pub(crate) largest: f64,
    /// Largest absolute value of the reference.
    pub(crate) expected_max: f64,
}

impl Difference {
    /// Of pairs `(found, expected)`; how far the farthest is.
    pub(crate) fn largest(pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        pairs.fold(Self { largest: 0.0, expected_max: 0.0 }, |so_far, (found, expected)| {
            let difference = (found - expected).abs();
            let largest = if difference.is_finite() { so_far.largest.max(difference) } else { f64::MAX };
            Self { largest, expected_max: so_far.expected_max.max(expected.abs()) }
        })
    }

    /// The same of the [`USUAL_SHARE`] of pairs that differ least.
    pub(crate) fn usual(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let whole = Self::largest(pairs.clone());
        if whole.largest == f64::MAX {
            return whole;
        }
        let mut differences: Vec<f64> = pairs.map(|(found, expected)| (found - expected).abs()).collect();
        let Some(last) = differences.len().checked_sub(1) else { return whole };
        let at = (last as f64 * USUAL_SHARE).ceil() as usize;
        Self { largest: *differences.select_nth_unstable_by(at, f64::total_cmp).1, ..whole }
    }

    /// So many ids.
    pub(crate) fn ids(count: usize) -> Self {
        Self { largest: count as f64, expected_max: 0.0 }
    }
}

/// How many positions hold different ids; positions that only one side has count too.
pub(crate) fn ids_that_differ(found: &[i64], expected: &[i64]) -> usize {
    let different = found.iter().zip(expected).filter(|(found, expected)| found != expected).count();
    different + found.len().abs_diff(expected.len())
}
