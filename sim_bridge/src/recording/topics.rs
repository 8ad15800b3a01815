//! Which topics of a robot are recorded, under which names, with which types.
//!
//! From: the robot's keys and cameras. To: subscriptions (`endpoint::Tap`) and channels. A recording always has Egogrid's own names:
//! `/egogrid/<robot>/…`, also where the wire uses those of a ROS 2 bridge, so that whoever reads it needs no deployment file.

use crate::codec::Message;
use crate::message::{
    ActionChunk, CameraInfo, Command, EndEffectorState, EpisodeMark, Image, OperatorSign, PointCloud2, PolicyLook,
    PolicyStatus, PoseStamped, RosString, RunInfo, TwistStamped,
};
use crate::session::{CommandType, Keys, RobotName, StateType};

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// On the wire.
    pub key: String,
    /// In the recording.
    pub name: String,
    /// `package/msg/Type`.
    pub ros_type: &'static str,
    /// Its newest message stands at the begin of every file: what comes after it cannot be understood without.
    pub latched: bool,
}

/// What `rest` of `robot` is called in a recording.
pub fn topic_name(robot: &RobotName, rest: &str) -> String {
    format!("/{}", robot.key(rest))
}

/// Where it is said what runs.
pub fn run_info_topic(keys: &Keys) -> Topic {
    let rest = "run_info";
    Topic { key: keys.key(rest), name: topic_name(keys.robot(), rest), ros_type: RunInfo::ROS_TYPE, latched: true }
}

/// Every topic of one robot.
pub fn topics(keys: &Keys, cameras: &[String]) -> Vec<Topic> {
    let state = match keys.state() {
        StateType::EndEffector => EndEffectorState::ROS_TYPE,
        StateType::Pose { .. } => PoseStamped::ROS_TYPE,
    };
    let command = match keys.command() {
        CommandType::Command => Command::ROS_TYPE,
        CommandType::Twist { .. } => TwistStamped::ROS_TYPE,
    };
    let topic = |rest: &str, ros_type, latched| Topic {
        key: keys.key(rest),
        name: topic_name(keys.robot(), rest),
        ros_type,
        latched,
    };
    let mut topics = vec![
        topic("action", ActionChunk::ROS_TYPE, false),
        topic("command", command, false),
        topic("command_dry_run", command, false),
        topic("episode", EpisodeMark::ROS_TYPE, true),
        topic("instruction", RosString::ROS_TYPE, true),
        topic("look", PolicyLook::ROS_TYPE, false),
        topic("operator", OperatorSign::ROS_TYPE, false),
        topic("points", PointCloud2::ROS_TYPE, false),
        run_info_topic(keys),
        topic("state", state, false),
        topic("status", PolicyStatus::ROS_TYPE, false),
    ];
    for camera in cameras {
        topics.extend([
            topic(&format!("camera/{camera}/image"), Image::ROS_TYPE, false),
            topic(&format!("camera/{camera}/depth"), Image::ROS_TYPE, false),
            topic(&format!("camera/{camera}/camera_info"), CameraInfo::ROS_TYPE, true),
        ]);
    }
    topics
}
