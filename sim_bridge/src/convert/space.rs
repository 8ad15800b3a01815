//! Stamps, poses and the end effector's state.

use super::ConvertError;
use crate::message::{EndEffectorState as StateWire, Header, Point, Pose, PoseStamped, Quaternion, Time};
use egogrid_runtime::camera::Stamp;
use egogrid_runtime::observation::EndEffectorState;
use nalgebra::{Isometry3, Quaternion as RawQuaternion, Translation3, UnitQuaternion};

const NS_PER_S: i64 = 1_000_000_000;
/// How far a quaternion's length may be from 1: room for 32-bit rounding, not for something else than a rotation.
const UNIT_SLACK: f64 = 1e-3;

/// A moment.
///
/// # Errors
/// A billion nanoseconds or more.
pub fn wire_to_stamp(time: Time) -> Result<Stamp, ConvertError> {
    if i64::from(time.nanosec) >= NS_PER_S {
        return Err(ConvertError::Stamp { sec: time.sec, nanosec: time.nanosec });
    }
    Ok(Stamp { ns: i64::from(time.sec) * NS_PER_S + i64::from(time.nanosec) })
}

/// The same the other way.
///
/// # Errors
/// A moment after 2038 or before 1901.
pub fn stamp_to_wire(stamp: Stamp) -> Result<Time, ConvertError> {
    let sec = i32::try_from(stamp.ns.div_euclid(NS_PER_S)).map_err(|_| ConvertError::StampRange { ns: stamp.ns })?;
    // The remainder is in 0..1e9, so this cannot cut anything off.
    Ok(Time { sec, nanosec: stamp.ns.rem_euclid(NS_PER_S) as u32 })
}

/// Place and orientation, metres.
///
/// # Errors
/// NaN, infinity, or a quaternion that is not of unit length.
pub fn wire_to_pose(pose: &Pose, what: &'static str) -> Result<Isometry3<f64>, ConvertError> {
    let Pose { position: Point { x, y, z }, orientation: q } = *pose;
    let raw = RawQuaternion::new(q.w, q.x, q.y, q.z);
    // Written so that NaN fails.
    let right = [x, y, z].iter().all(|value| value.is_finite()) && (raw.norm() - 1.0).abs() <= UNIT_SLACK;
    if !right {
        return Err(ConvertError::Value {
            what,
            found: format!("{pose:?}"),
            expected: "finite metres and a quaternion of length 1",
        });
    }
    Ok(Isometry3::from_parts(Translation3::new(x, y, z), UnitQuaternion::new_normalize(raw)))
}

/// The same the other way.
pub fn pose_to_wire(pose: &Isometry3<f64>) -> Pose {
    let (t, q) = (pose.translation.vector, pose.rotation.quaternion());
    Pose { position: Point { x: t.x, y: t.y, z: t.z }, orientation: Quaternion { x: q.i, y: q.j, z: q.k, w: q.w } }
}

/// The end effector as measured.
///
/// # Errors
/// A pose that is none, a gripper outside 0..=1, joints that are not finite.
pub fn wire_to_state(state: StateWire) -> Result<EndEffectorState, ConvertError> {
    if !(0.0..=1.0).contains(&state.gripper) {
        return Err(ConvertError::Value {
            what: "state.gripper",
            found: state.gripper.to_string(),
            expected: "0 (closed) to 1 (open)",
        });
    }
    if let Some(joint) = state.joints_rad.iter().find(|joint| !joint.is_finite()) {
        return Err(ConvertError::Value {
            what: "state.joints_rad",
            found: joint.to_string(),
            expected: "finite radians",
        });
    }
    let base_from_ee = wire_to_pose(&state.base_from_ee, "state.base_from_ee")?;
    Ok(EndEffectorState { base_from_ee, gripper: state.gripper, joints_rad: state.joints_rad })
}

/// The state of a robot that reports its pose as plain ROS 2 does: no gripper, so `gripper` is what it is taken to be.
///
/// # Errors
/// A pose in other axes than `frame`, or one that is none.
pub fn wire_to_pose_stamped(wire: &PoseStamped, frame: &str, gripper: f64) -> Result<EndEffectorState, ConvertError> {
    if wire.header.frame_id != frame {
        return Err(ConvertError::Axes { found: wire.header.frame_id.clone(), expected: frame.to_owned() });
    }
    Ok(EndEffectorState { base_from_ee: wire_to_pose(&wire.pose, "pose")?, gripper, joints_rad: Vec::new() })
}

/// The same the other way.
pub fn state_to_wire(state: &EndEffectorState, header: Header) -> StateWire {
    StateWire {
        header,
        base_from_ee: pose_to_wire(&state.base_from_ee),
        gripper: state.gripper,
        joints_rad: state.joints_rad.clone(),
    }
}
