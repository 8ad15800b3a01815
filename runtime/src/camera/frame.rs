//! From: an endpoint (bytes already decoded). To: the policy families.
//!
//! A picture and its depth may have different sizes; both come from the same camera and the same exposure.

use super::CameraIntrinsics;
use nalgebra::Isometry3;
use std::sync::Arc;

/// Nanoseconds since the UNIX epoch (or since the start of the episode in a simulator): the time of exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Nanoseconds.
    pub ns: i64,
}

/// What was wrong with an image.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// Bytes and size disagree.
    #[error(
        "an image of {width_px}x{height_px} px needs {expected} values, found {found}; check step and encoding of the camera message"
    )]
    WrongLength {
        /// Stated width.
        width_px: u32,
        /// Stated height.
        height_px: u32,
        /// Values needed.
        expected: usize,
        /// Values there.
        found: usize,
    },
    /// Zero or absurd size.
    #[error("an image of {width_px}x{height_px} px: each side must be 1..={side_px_max}")]
    BadSize {
        /// Stated width.
        width_px: u32,
        /// Stated height.
        height_px: u32,
        /// Limit.
        side_px_max: u32,
    },
}

/// Largest side of any picture that is accepted.
pub const SIDE_PX_MAX: u32 = 8192;

fn checked_len(width_px: u32, height_px: u32, channels: usize, found: usize) -> Result<(), FrameError> {
    if !(1..=SIDE_PX_MAX).contains(&width_px) || !(1..=SIDE_PX_MAX).contains(&height_px) {
        return Err(FrameError::BadSize { width_px, height_px, side_px_max: SIDE_PX_MAX });
    }
    let expected = width_px as usize * height_px as usize * channels;
    if found != expected {
        return Err(FrameError::WrongLength { width_px, height_px, expected, found });
    }
    Ok(())
}

/// 8-bit RGB, `[height, width, 3]`, rows top first. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct RgbImage {
    width_px: u32,
    height_px: u32,
    data: Arc<[u8]>,
}

impl RgbImage {
    /// Takes `[height, width, 3]` bytes.
    ///
    /// # Errors
    /// A size of zero or above [`SIDE_PX_MAX`], or a wrong number of bytes.
    pub fn new(width_px: u32, height_px: u32, data: impl Into<Arc<[u8]>>) -> Result<Self, FrameError> {
        let data = data.into();
        checked_len(width_px, height_px, 3, data.len())?;
        Ok(Self { width_px, height_px, data })
    }

    /// Width in pixels.
    pub fn width_px(&self) -> u32 {
        self.width_px
    }

    /// Height in pixels.
    pub fn height_px(&self) -> u32 {
        self.height_px
    }

    /// `[height, width, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}x{})", self.width_px, self.height_px)
    }
}

/// Where a depth map comes from, which decides how it is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepthKind {
    /// A sensor: 0, NaN, infinite and out-of-range pixels are holes and never enter a mean.
    Sensor,
    /// A dense map from an estimator: every pixel counts as it is (values may even be negative).
    Dense,
}

/// Depth along the optical axis, metres, `[height, width]`, rows top first. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct DepthImage {
    width_px: u32,
    height_px: u32,
    kind: DepthKind,
    data: Arc<[f32]>,
}

impl DepthImage {
    /// Takes `[height, width]` metres.
    ///
    /// # Errors
    /// A size of zero or above [`SIDE_PX_MAX`], or a wrong number of values.
    pub fn new(
        width_px: u32,
        height_px: u32,
        kind: DepthKind,
        data: impl Into<Arc<[f32]>>,
    ) -> Result<Self, FrameError> {
        let data = data.into();
        checked_len(width_px, height_px, 1, data.len())?;
        Ok(Self { width_px, height_px, kind, data })
    }

    /// Width in pixels.
    pub fn width_px(&self) -> u32 {
        self.width_px
    }

    /// Height in pixels.
    pub fn height_px(&self) -> u32 {
        self.height_px
    }

    /// Sensor or estimator.
    pub fn kind(&self) -> DepthKind {
        self.kind
    }

    /// `[height, width]`, metres.
    pub fn data_m(&self) -> &[f32] {
        &self.data
    }
}

impl std::fmt::Debug for DepthImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DepthImage({}x{}, {:?})", self.width_px, self.height_px, self.kind)
    }
}

/// One exposure of one camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Time of exposure.
    pub stamp: Stamp,
    /// The picture.
    pub rgb: RgbImage,
    /// Depth of the same exposure, if the camera has it.
    pub depth: Option<DepthImage>,
    /// Of the picture at its native size. `None` = the camera did not say; a policy that needs them refuses.
    pub intrinsics: Option<CameraIntrinsics>,
    /// Pose of the camera's optical frame (x right, y down, z forward) in the robot's base, metres.
    pub base_from_camera: Option<Isometry3<f64>>,
}
