//! One robot as data: the schema of `launch/embodiments/<robot>.toml`.

use crate::safety::{GateLimits, GateLimitsError, SafetyConfig};
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
}

impl EmbodimentConfig {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first bound that cannot be meant.
    pub fn checked(self) -> Result<Embodiment, GateLimitsError> {
        Ok(Embodiment { name: self.name, stats_key: self.stats_key, limits: self.safety.checked()? })
    }
}
