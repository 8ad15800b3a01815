//! Family name to constructor. A closed list: what is not here cannot be loaded.

use crate::bundle::manifest::PreprocessingSpec;
use crate::bundle::{Bundle, BundleError};
use crate::openvla::OpenVla;
use crate::sketching::Sketching;
use crate::spatialvla::SpatialVla;
use crate::spatialvla::batch::SpatialVlaBatch;
use crate::watch::Watched;
use egogrid_action_grids::StatsError;
use egogrid_runtime::embodiment::DepthConfig;
use egogrid_runtime::execution::{Environment, ExecutionError, GraphOptions};
use egogrid_runtime::perception::depth::{DepthError, SensorRules};
use egogrid_runtime::policy::{BatchPolicy, Policy, PolicySpec};
use std::fmt;
use std::str::FromStr;

/// One policy architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// SpatialVLA, arXiv:2501.15830.
    SpatialVla,
    /// OpenVLA, arXiv:2406.09246.
    OpenVla,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::SpatialVla, Self::OpenVla];

    /// As in `bundle.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpatialVla => "spatialvla",
            Self::OpenVla => "openvla",
        }
    }

    /// Whether it looks at depth and at the camera's geometry, or at the picture only.
    pub fn uses_geometry(self) -> bool {
        match self {
            Self::SpatialVla => true,
            Self::OpenVla => false,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = BundleError;
    fn from_str(name: &str) -> Result<Self, BundleError> {
        let unknown =
            || BundleError::UnknownFamily { found: name.to_owned(), known: Self::ALL.map(Self::name).to_vec() };
        Self::ALL.into_iter().find(|family| family.name() == name).ok_or_else(unknown)
    }
}

/// What a policy is loaded with, besides its bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// Whose statistics turn normalized actions into physical ones. Required: a wrong guess moves the robot wrongly.
    pub stats_key: String,
    /// Where and how the graphs run.
    pub graph: GraphOptions,
    /// Another preprocessing than the bundle's own; only for families that have several.
    pub preprocessing: Option<PreprocessingSpec>,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The library, the provider or a graph.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// No such statistics.
    #[error(transparent)]
    Statistics(#[from] StatsError),
    /// A choice that the family does not have.
    #[error("a policy of family {family} has one preprocessing, found {asked} asked for; leave it out")]
    Preprocessing {
        /// Of the bundle.
        family: Family,
        /// As asked.
        asked: PreprocessingSpec,
    },
    /// Rules for depth that exclude everything.
    #[error(transparent)]
    Depth(#[from] DepthError),
}

impl LoadError {
    /// Whether something is missing on this machine (exit code 4).
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Execution(error) if error.is_missing())
    }
}

/// Loads the policy that `bundle` holds. Every finite depth above 0 counts, and a frame with a sub-cell without any is
/// refused: nothing is made up. A camera with a valid range, or with holes, needs [`load_with_depth`].
///
/// # Errors
/// Statistics that the bundle does not have, a provider that cannot start, graphs that are not what the manifest says.
pub fn load(environment: &Environment, bundle: &Bundle, options: &LoadOptions) -> Result<Box<dyn Policy>, LoadError> {
    load_with_depth(environment, bundle, options, whole_depth()?)
}

/// [`load`], with rules for the camera's depth, for families that look at it.
///
/// # Errors
/// As [`load`].
pub fn load_with_depth(
    environment: &Environment,
    bundle: &Bundle,
    options: &LoadOptions,
    rules: SensorRules,
) -> Result<Box<dyn Policy>, LoadError> {
    Ok(load_watched(environment, bundle, options, rules)?)
}

/// [`load_with_depth`], and every chunk says what each stage put out ([`egogrid_runtime::policy::ActionChunk::sketches`]).
///
/// # Errors
/// As [`load`].
pub fn load_sketching(
    environment: &Environment,
    bundle: &Bundle,
    options: &LoadOptions,
    rules: SensorRules,
) -> Result<Box<dyn Policy>, LoadError> {
    Ok(Box::new(Sketching::new(load_watched(environment, bundle, options, rules)?)))
}

/// The policy that `bundle` holds, for several observations at once.
///
/// # Errors
/// As [`load`], and a bundle without batched graphs.
pub fn load_batched(
    environment: &Environment,
    bundle: &Bundle,
    options: &LoadOptions,
    rules: SensorRules,
) -> Result<Box<dyn BatchPolicy>, LoadError> {
    match bundle.family() {
        Family::SpatialVla => Ok(Box::new(SpatialVlaBatch::load(environment, bundle, options, rules)?)),
        Family::OpenVla => Err(BundleError::NoBatch.into()),
    }
}

/// The same policy for somebody who looks at its stages.
pub(crate) fn load_watched(
    environment: &Environment,
    bundle: &Bundle,
    options: &LoadOptions,
    rules: SensorRules,
) -> Result<Box<dyn Watched>, LoadError> {
    match bundle.family() {
        Family::SpatialVla => Ok(Box::new(SpatialVla::load(environment, bundle, options, rules)?)),
        Family::OpenVla => Ok(Box::new(OpenVla::load(environment, bundle, options)?)),
    }
}

/// What the manifest says of every family, and what this one needs with each frame. A family that can be told how its
/// answer begins adds that.
pub(crate) fn spec(bundle: &Bundle, needs_depth: bool, needs_extrinsics: bool) -> PolicySpec {
    let (image, chunk) = (&bundle.manifest().image, &bundle.manifest().chunk);
    PolicySpec {
        id: bundle.id(),
        image_px: [image.width_px, image.height_px],
        chunk_len: chunk.length,
        steps_executed: chunk.steps_executed,
        control_hz: chunk.control_hz,
        needs_depth,
        needs_extrinsics,
        commits: false,
    }
}

/// No upper limit, no hole.
pub(crate) fn whole_depth() -> Result<SensorRules, DepthError> {
    DepthConfig::default().checked()
}
