//! Why a picture is not used, or none comes: names, numbers and counters.

use std::fmt;

/// What is wrong with a picture or a camera. Cameras are named by their place in the rules.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // `camera` is the same everywhere
pub enum Condition {
    /// Older than allowed when it arrived.
    Stale { camera: usize, age_ms: f64, max_ms: f64 },
    /// The same pixels in so many pictures in a row.
    Frozen { camera: usize, frames: u32 },
    /// The mean of its pixels is below the bound.
    Dark { camera: usize, mean: f64, min: f64 },
    /// The same stamp as the picture before.
    Duplicated { camera: usize, stamp_ns: i64 },
    /// Exposed before one that arrived earlier.
    Reordered { camera: usize, by_ms: f64 },
    /// Exposed in the future.
    FutureStamped { camera: usize, by_ms: f64 },
    /// Of another size than expected.
    WrongSize { camera: usize, found_px: [u32; 2], expected_px: [u32; 2] },
    /// A picture whose depth did not come.
    MissingDepth { camera: usize },
    /// Nothing comes any more.
    LostCamera { camera: usize, silent_ms: f64, max_ms: f64 },
    /// A message of a camera that is not in the rules.
    UnknownCamera { camera: usize },
}

impl Condition {
    /// A short stable name for counters and machine-readable output.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale",
            Self::Frozen { .. } => "frozen",
            Self::Dark { .. } => "dark",
            Self::Duplicated { .. } => "duplicated",
            Self::Reordered { .. } => "reordered",
            Self::FutureStamped { .. } => "future_stamped",
            Self::WrongSize { .. } => "wrong_size",
            Self::MissingDepth { .. } => "missing_depth",
            Self::LostCamera { .. } => "lost_camera",
            Self::UnknownCamera { .. } => "unknown_camera",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { age_ms, max_ms, .. } => {
                write!(f, "the picture is {age_ms:.1} ms old, at most {max_ms:.0} ms is used")
            }
            Self::Frozen { frames, .. } => write!(f, "{frames} pictures in a row have the same pixels"),
            Self::Dark { mean, min, .. } => write!(f, "the picture's mean is {mean:.1}, at least {min:.1} is expected"),
            Self::Duplicated { stamp_ns, .. } => write!(f, "a second picture with stamp {stamp_ns} ns"),
            Self::Reordered { by_ms, .. } => write!(f, "exposed {by_ms:.1} ms before one that came earlier"),
            Self::FutureStamped { by_ms, .. } => {
                write!(f, "exposed {by_ms:.1} ms in the future; set the clocks of both machines by NTP")
            }
            Self::WrongSize { found_px: [w, h], expected_px: [width, height], .. } => {
                write!(f, "{w}x{h} px, expected {width}x{height}")
            }
            Self::MissingDepth { .. } => f.write_str("no depth of the same exposure"),
            Self::LostCamera { silent_ms, max_ms, .. } => {
                write!(f, "nothing for {silent_ms:.0} ms, at most {max_ms:.0} ms is expected")
            }
            Self::UnknownCamera { camera } => write!(f, "camera {camera} is not in the deployment file"),
        }
    }
}

/// How often each was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)] // as the conditions
pub struct ConditionCounters {
    pub stale: u64,
    pub frozen: u64,
    pub dark: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub future_stamped: u64,
    pub wrong_size: u64,
    pub missing_depth: u64,
}

impl ConditionCounters {
    pub(super) fn count(&mut self, condition: &Condition) {
        let place = match condition {
            Condition::Stale { .. } => &mut self.stale,
            Condition::Frozen { .. } => &mut self.frozen,
            Condition::Dark { .. } => &mut self.dark,
            Condition::Duplicated { .. } => &mut self.duplicated,
            Condition::Reordered { .. } => &mut self.reordered,
            Condition::FutureStamped { .. } => &mut self.future_stamped,
            Condition::WrongSize { .. } => &mut self.wrong_size,
            Condition::MissingDepth { .. } => &mut self.missing_depth,
            Condition::LostCamera { .. } | Condition::UnknownCamera { .. } => return,
        };
        *place += 1;
    }

    /// Name and count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("stale", self.stale),
            ("frozen", self.frozen),
            ("dark", self.dark),
            ("duplicated", self.duplicated),
            ("reordered", self.reordered),
            ("future_stamped", self.future_stamped),
            ("wrong_size", self.wrong_size),
            ("missing_depth", self.missing_depth),
        ]
        .into_iter()
    }
}
