//! Messages to the runtime's checked types and back. Whatever is not plainly right is an error: nothing is assumed.
//!
//! From: `message` (any values). To: `Frame`, `EndEffectorState`, `Action` (values that the loop may trust).

mod action;
mod camera;
mod look;
mod space;

pub use action::{step_to_wire, wire_to_action};
pub use camera::{FrameWire, wire_to_depth, wire_to_frame, wire_to_intrinsics, wire_to_rgb};
pub use look::{
    LookFacts, LookFailureFacts, PolicyLabel, depth_crc32, look_to_wire, points_to_wire, rgb_crc32,
    wire_to_look_intrinsics, wire_to_observation, wire_to_points, wire_to_sketch,
};
pub use space::{
    pose_to_wire, stamp_to_wire, state_to_wire, wire_to_pose, wire_to_pose_stamped, wire_to_stamp, wire_to_state,
};

use egogrid_runtime::camera::{FrameError, IntrinsicsError};
use egogrid_runtime::grids::ActionError;

/// A message that was read, but does not say what it must.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// Another pixel format.
    #[error("{what} has encoding {found:?}, expected {expected}; convert it in the camera's driver")]
    Encoding {
        /// Which picture.
        what: &'static str,
        /// As found.
        found: String,
        /// What is read.
        expected: &'static str,
    },
    /// Size, row length and number of bytes disagree.
    #[error(
        "{what} of {width_px}x{height_px} px, {pixel_bytes} bytes a pixel, has step {step} and {found} bytes; \
             expected step >= width * {pixel_bytes} and step * height bytes"
    )]
    Layout {
        /// Which picture.
        what: &'static str,
        /// Stated.
        width_px: u32,
        /// Stated.
        height_px: u32,
        /// Of the encoding.
        pixel_bytes: u32,
        /// Stated.
        step: u32,
        /// Bytes there.
        found: usize,
    },
    /// Zero or too large.
    #[error("{what} of {width_px}x{height_px} px; each side must be 1..={side_px_max}")]
    Size {
        /// Which picture.
        what: &'static str,
        /// Stated.
        width_px: u32,
        /// Stated.
        height_px: u32,
        /// Limit.
        side_px_max: u32,
    },
    /// The picture's own constructor said no.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Not a pinhole camera.
    #[error(transparent)]
    Intrinsics(#[from] IntrinsicsError),
    /// A camera whose picture a pinhole matrix does not describe.
    #[error("camera_info describes {what}; send the rectified, uncropped picture with its own camera_info")]
    NotRectified {
        /// What.
        what: &'static str,
    },
    /// Colour and depth of different exposures.
    #[error("depth was exposed at {depth_ns} ns, the picture at {image_ns} ns; pair them by stamp before sending")]
    Exposures {
        /// Of the picture.
        image_ns: i64,
        /// Of the depth.
        depth_ns: i64,
    },
    /// A stamp that is not a time.
    #[error("stamp {sec} s {nanosec} ns: nanoseconds must be below 1000000000")]
    Stamp {
        /// As found.
        sec: i32,
        /// As found.
        nanosec: u32,
    },
    /// A moment outside what `builtin_interfaces/Time` can say.
    #[error("{ns} ns since the epoch does not fit 32-bit seconds")]
    StampRange {
        /// The moment.
        ns: i64,
    },
    /// Not finite, or a quaternion that is not of unit length.
    #[error("{what} is {found}, expected {expected}")]
    Value {
        /// Which field.
        what: &'static str,
        /// As found.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A pose in other axes than those of the base.
    #[error(
        "a pose in the axes {found:?}, expected {expected:?}: transform it before sending, or set `frame` of keys.state"
    )]
    Axes {
        /// Of the message.
        found: String,
        /// Of the deployment file.
        expected: String,
    },
    /// Seven numbers that are not an action.
    #[error(transparent)]
    Action(#[from] ActionError),
}
