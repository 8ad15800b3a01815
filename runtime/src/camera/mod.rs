//! One timed camera image with everything needed to place its pixels in space.

mod frame;
mod intrinsics;

pub use frame::{DepthImage, DepthKind, Frame, FrameError, RgbImage, SIDE_PX_MAX, Stamp};
pub use intrinsics::{CameraIntrinsics, IntrinsicsError};
