//! The messages, field by field in wire order. Plain data: what a value may be is checked in `convert`.
//!
//! Standard types are those of ROS 2 (Humble to Jazzy); ours have their `.msg` files in `sim_bridge/msg`.

mod common;
mod egogrid;
mod look;
mod sensor;
mod sim;

pub use common::{Header, Point, Pose, PoseStamped, Quaternion, RosString, Time, Twist, TwistStamped, Vector3};
pub use egogrid::{
    ActionChunk, ActionStep, Command, Count, EndEffectorState, OperatorSign, PolicyStatus, SafetyReason, StageTime,
};
pub use look::{ActionRow, EpisodeMark, LookInput, PolicyLook, PolicyToken, RunInfo, StageSketch};
pub use sensor::{CameraFrame, CameraInfo, Image, PointCloud2, PointField, RegionOfInterest};
pub use sim::{ErrorReply, SimInfo, SimObservation, SimReset, SimStep};

use crate::codec::Element;
use crate::limits;

impl Element for f64 {
    const COUNT_MAX: usize = limits::JOINTS_MAX;
}
impl Element for f32 {
    const COUNT_MAX: usize = limits::CONFIDENCE_MAX;
}
impl Element for String {
    const COUNT_MAX: usize = limits::TASKS_MAX;
}
impl Element for ActionStep {
    const COUNT_MAX: usize = limits::CHUNK_LEN_MAX;
}
impl Element for SafetyReason {
    const COUNT_MAX: usize = limits::REASONS_MAX;
}
impl Element for PointField {
    const COUNT_MAX: usize = limits::FIELDS_MAX;
}
impl Element for PolicyToken {
    const COUNT_MAX: usize = limits::TOKENS_MAX;
}
impl Element for ActionRow {
    const COUNT_MAX: usize = limits::CHUNK_LEN_MAX;
}
impl Element for StageSketch {
    const COUNT_MAX: usize = limits::SKETCHES_MAX;
}
impl Element for Count {
    const COUNT_MAX: usize = limits::COUNTS_MAX;
}
impl Element for StageTime {
    const COUNT_MAX: usize = limits::STAGES_MAX;
}

/// Declares a struct and reads and writes its fields in the order of declaration, so that the two cannot disagree.
macro_rules! message {
    ($(#[$doc:meta])* $name:ident<$payload:lifetime> = $ros:literal { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $name<$payload> { $($(#[$field_doc])* pub $field: $kind,)* }
        $crate::message::message!(@wire [$payload] $name<$payload>, $name, $ros, $($field),*);
    };
    ($(#[$doc:meta])* $name:ident = $ros:literal { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }
        $crate::message::message!(@wire ['payload] $name, $name, $ros, $($field),*);
    };
    (@wire [$payload:lifetime] $whole:ty, $name:ident, $ros:literal, $($field:ident),*) => {
        impl<$payload> $crate::codec::Wire<$payload> for $whole {
            fn read(reader: &mut $crate::codec::Reader<$payload>) -> Result<Self, $crate::codec::DecodeError> {
                Ok($name { $($field: $crate::codec::Wire::read(reader).map_err(|error| error.inside(stringify!($field)))?,)* })
            }
            fn write(&self, writer: &mut $crate::codec::Writer) -> Result<(), $crate::codec::EncodeError> {
                $($crate::codec::Wire::write(&self.$field, writer)?;)*
                Ok(())
            }
        }
        impl<$payload> $crate::codec::Message<$payload> for $whole {
            const ROS_TYPE: &'static str = $ros;
        }
    };
}
pub(crate) use message;
