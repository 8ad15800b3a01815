//! One robot as data: the schema of `launch/embodiments/<robot>.toml`.

use crate::perception::depth::{DepthError, EmptyCells, EmptyFill, SensorRules};
use crate::safety::{GateLimits, GateLimitsError, SafetyConfig};
use crate::units::{ActionUnits, UnitsError};
use serde::Deserialize;

/// What the file says. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbodimentConfig {
    /// Name of the robot.
    pub name: String,
    /// Key of the bundle's statistics that un-normalize actions for this robot.
    pub stats_key: String,
    /// Bounds of the safety gate.
    pub safety: SafetyConfig,
    /// The depth camera; absent = every finite depth above 0 counts, and a frame with a hole as large as a sub-cell is refused.
    #[serde(default)]
    pub depth: DepthConfig,
    /// What the numbers of the statistics mean; absent = metres, radians, gripper 0 to 1.
    #[serde(default)]
    pub action: ActionUnits,
}

/// `[depth]`: which readings of the depth camera count, and how many holes a frame may have.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthConfig {
    /// Nearest and farthest reading that counts, metres.
    pub range_m: [f32; 2],
    /// Largest share of the policy's sub-cells without one valid pixel, 0..1. Those that are allowed take the depth of the
    /// nearest valid sub-cell, and are counted in the report; 0 refuses the frame instead.
    pub empty_share_max: f32,
}

impl Default for DepthConfig {
    fn default() -> Self {
        Self { range_m: [0.0, f32::MAX], empty_share_max: 0.0 }
    }
}

impl DepthConfig {
    /// The rules that the policy's depth stage applies.
    ///
    /// # Errors
    /// A range that is none, or a share outside 0..1.
    pub fn checked(self) -> Result<SensorRules, DepthError> {
        SensorRules::new(self.range_m, EmptyCells::new(self.empty_share_max, EmptyFill::NearestValid)?)
    }
}

/// Why a file describes no robot.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EmbodimentError {
    /// A safety bound.
    #[error(transparent)]
    Safety(#[from] GateLimitsError),
    /// The depth camera.
    #[error(transparent)]
    Depth(#[from] DepthError),
    /// The units of actions.
    #[error(transparent)]
    Units(#[from] UnitsError),
}

/// What the loop trusts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embodiment {
    /// Name of the robot.
    pub name: String,
    /// Key of the bundle's statistics.
    pub stats_key: String,
    /// Checked bounds.
    pub limits: GateLimits,
    /// What counts as depth.
    pub depth: SensorRules,
    /// What the numbers of the statistics mean.
    pub units: ActionUnits,
}

impl EmbodimentConfig {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first bound that cannot be meant.
    pub fn checked(self) -> Result<Embodiment, EmbodimentError> {
        Ok(Embodiment {
            name: self.name,
            stats_key: self.stats_key,
            limits: self.safety.checked()?,
            depth: self.depth.checked()?,
            units: self.action.checked()?,
        })
    }
}
