//! What an embodiment file says about safety, and the checked values that the gate trusts.

use serde::Deserialize;

/// `[safety]` of an embodiment file. Every bound must be given: a bound that nobody wrote protects nobody.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetyConfig {
    /// Lower corner of the box that the end effector may be in, base frame, metres.
    pub workspace_min_m: [f64; 3],
    /// Upper corner.
    pub workspace_max_m: [f64; 3],
    /// Longest translation of one control step, metres.
    pub step_m_max: f64,
    /// Largest rotation of one control step, radians.
    pub rotation_rad_max: f64,
    /// Looks in a row without an action from the policy before the stop is latched.
    pub policy_failures_max: u32,
}

/// A bound that cannot be meant.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateLimitsError {
    /// Not a box.
    #[error(
        "safety.workspace_{{min,max}}_m: axis {axis} goes from {min_m} to {max_m} m; both must be finite and min < max"
    )]
    Workspace {
        /// x, y or z.
        axis: &'static str,
        /// As written.
        min_m: f64,
        /// As written.
        max_m: f64,
    },
    /// Not a positive number.
    #[error("safety.{name} is {value}; it must be finite and in ({min}, {max}]")]
    Bound {
        /// Key in the file.
        name: &'static str,
        /// As written.
        value: f64,
        /// Exclusive.
        min: f64,
        /// Inclusive.
        max: f64,
    },
}

/// No arm that this gate is made for moves further than this in one control step.
const STEP_M_LIMIT: f64 = 0.5;

/// Checked bounds. Private fields: [`SafetyConfig::checked`] is the only way to have one.
#[derive(Debug, Clone, PartialEq)]
pub struct GateLimits {
    workspace_min_m: [f64; 3],
    workspace_max_m: [f64; 3],
    step_m_max: f64,
    rotation_rad_max: f64,
    policy_failures_max: u32,
}

impl SafetyConfig {
    /// What the gate may rely on.
    ///
    /// # Errors
    /// Names the first bound that cannot be meant.
    pub fn checked(self) -> Result<GateLimits, GateLimitsError> {
        for (i, axis) in ["x", "y", "z"].into_iter().enumerate() {
            let (min_m, max_m) = (self.workspace_min_m[i], self.workspace_max_m[i]);
            if !(min_m.is_finite() && max_m.is_finite() && min_m < max_m) {
                return Err(GateLimitsError::Workspace { axis, min_m, max_m });
            }
        }
        let bounds = [
            ("step_m_max", self.step_m_max, STEP_M_LIMIT),
            ("rotation_rad_max", self.rotation_rad_max, std::f64::consts::PI),
            ("policy_failures_max", f64::from(self.policy_failures_max), 1e6),
        ];
        for (name, value, max) in bounds {
            if !(value > 0.0 && value <= max) {
                return Err(GateLimitsError::Bound { name, value, min: 0.0, max });
            }
        }
        Ok(GateLimits {
            workspace_min_m: self.workspace_min_m,
            workspace_max_m: self.workspace_max_m,
            step_m_max: self.step_m_max,
            rotation_rad_max: self.rotation_rad_max,
            policy_failures_max: self.policy_failures_max,
        })
    }
}

impl GateLimits {
    /// Corners of the box, lower then upper, metres.
    pub fn workspace_m(&self) -> ([f64; 3], [f64; 3]) {
        (self.workspace_min_m, self.workspace_max_m)
    }

    /// Longest translation of one control step, metres.
    pub fn step_m_max(&self) -> f64 {
        self.step_m_max
    }

    /// Largest rotation of one control step, radians.
    pub fn rotation_rad_max(&self) -> f64 {
        self.rotation_rad_max
    }

    /// Looks in a row without an action before the stop is latched.
    pub fn policy_failures_max(&self) -> u32 {
        self.policy_failures_max
    }
}
