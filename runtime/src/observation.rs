//! What the policy sees: frames, an instruction, and the robot's state at one moment.

use crate::camera::Frame;
use nalgebra::Isometry3;

/// The end effector as the robot reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct EndEffectorState {
    /// Pose of the end effector in the robot's base, metres.
    pub base_from_ee: Isometry3<f64>,
    /// 0 = closed, 1 = open.
    pub gripper: f64,
    /// Joint positions in radians, in the robot's own order; empty if it does not report them.
    pub joints_rad: Vec<f64>,
}

/// One moment, as the policy gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Counts up by one with every observation of a session.
    pub sequence: u64,
    /// The policy's camera.
    pub frame: Frame,
    /// What to do, as the user wrote it.
    pub instruction: String,
    /// The robot's state, if it reports one. The safety gate refuses to work without it where a rule needs it.
    pub state: Option<EndEffectorState>,
}
