//! ROS 2 message definitions as MCAP wants them: the text of a type, and of every type in it, behind one another.
//!
//! From: `sim_bridge/msg`, compiled in. To: the `ros2msg` schema of a channel.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Between two definitions.
const SEPARATOR: &str = "================================================================================";

macro_rules! definitions {
    ($($name:literal: $path:literal,)*) => {
        [$(($name, include_str!(concat!("../../msg/", $path, ".msg"))),)*]
    };
}

/// Name in the `.msg` files → its text.
const DEFINITIONS: [(&str, &str); 37] = definitions! {
    "builtin_interfaces/Time": "ros2/builtin_interfaces/Time",
    "std_msgs/Header": "ros2/std_msgs/Header",
    "std_msgs/String": "ros2/std_msgs/String",
    "geometry_msgs/Vector3": "ros2/geometry_msgs/Vector3",
    "geometry_msgs/Point": "ros2/geometry_msgs/Point",
    "geometry_msgs/Quaternion": "ros2/geometry_msgs/Quaternion",
    "geometry_msgs/Pose": "ros2/geometry_msgs/Pose",
    "geometry_msgs/PoseStamped": "ros2/geometry_msgs/PoseStamped",
    "geometry_msgs/Twist": "ros2/geometry_msgs/Twist",
    "geometry_msgs/TwistStamped": "ros2/geometry_msgs/TwistStamped",
    "sensor_msgs/Image": "ros2/sensor_msgs/Image",
    "sensor_msgs/RegionOfInterest": "ros2/sensor_msgs/RegionOfInterest",
    "sensor_msgs/CameraInfo": "ros2/sensor_msgs/CameraInfo",
    "sensor_msgs/PointField": "ros2/sensor_msgs/PointField",
    "sensor_msgs/PointCloud2": "ros2/sensor_msgs/PointCloud2",
    "egogrid_msgs/ActionChunk": "ActionChunk",
    "egogrid_msgs/ActionRow": "ActionRow",
    "egogrid_msgs/ActionStep": "ActionStep",
    "egogrid_msgs/CameraFrame": "CameraFrame",
    "egogrid_msgs/Command": "Command",
    "egogrid_msgs/Count": "Count",
    "egogrid_msgs/EndEffectorState": "EndEffectorState",
    "egogrid_msgs/EpisodeMark": "EpisodeMark",
    "egogrid_msgs/ErrorReply": "ErrorReply",
    "egogrid_msgs/LookInput": "LookInput",
    "egogrid_msgs/OperatorSign": "OperatorSign",
    "egogrid_msgs/PolicyLook": "PolicyLook",
    "egogrid_msgs/PolicyStatus": "PolicyStatus",
    "egogrid_msgs/PolicyToken": "PolicyToken",
    "egogrid_msgs/RunInfo": "RunInfo",
    "egogrid_msgs/SafetyReason": "SafetyReason",
    "egogrid_msgs/SimInfo": "SimInfo",
    "egogrid_msgs/SimObservation": "SimObservation",
    "egogrid_msgs/SimReset": "SimReset",
    "egogrid_msgs/SimStep": "SimStep",
    "egogrid_msgs/StageSketch": "StageSketch",
    "egogrid_msgs/StageTime": "StageTime",
};

/// A type without a definition here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no definition of {ros_type}; it can be recorded once `sim_bridge/msg` has one")]
pub struct UnknownType {
    /// As asked.
    pub ros_type: String,
}

/// Every type that has a definition, as `package/msg/Type`.
pub fn known_types() -> impl Iterator<Item = String> {
    DEFINITIONS.into_iter().map(|(name, _)| name.replacen('/', "/msg/", 1))
}

fn definition(name: &str) -> Option<&'static str> {
    DEFINITIONS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The schema of `ros_type` (`package/msg/Type`): its own definition, then those of all types in it.
///
/// # Errors
/// A type, or one in it, that has no definition.
pub fn ros2msg(ros_type: &str) -> Result<String, UnknownType> {
    let name = ros_type.replacen("/msg/", "/", 1);
    let unknown = |name: &str| UnknownType { ros_type: name.to_owned() };
    let own = definition(&name).ok_or_else(|| unknown(ros_type))?;
    let mut parts = BTreeMap::new();
    let mut waiting = parts_of(&name, own);
    while let Some(part) = waiting.pop() {
        let text = definition(&part).ok_or_else(|| unknown(&part))?;
        if parts.insert(part.clone(), text).is_none() {
            waiting.extend(parts_of(&part, text));
        }
    }
    let mut schema = own.to_owned();
    for (part, text) in parts {
        // Writing to a string cannot fail.
        let _ = write!(schema, "{SEPARATOR}\nMSG: {part}\n{text}");
    }
    Ok(schema)
}

/// Types in the definition of `name` that are no numbers or strings; those without a package are of its own.
fn parts_of(name: &str, text: &str) -> Vec<String> {
    let package = name.split('/').next().unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    let types = fields.map(|field| field.split('[').next().unwrap_or_default());
    let compound = types.filter(|kind| kind.contains('/') || kind.starts_with(char::is_uppercase));
    compound.map(|kind| if kind.contains('/') { kind.to_owned() } else { format!("{package}/{kind}") }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_type_has_a_schema_with_each_part_once() {
        assert_eq!(known_types().count(), DEFINITIONS.len());
        for ros_type in known_types() {
            let schema = ros2msg(&ros_type).unwrap();
            let mut names: Vec<&str> = schema.lines().filter_map(|line| line.strip_prefix("MSG: ")).collect();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{ros_type}");
            assert!(!names.contains(&ros_type.replacen("/msg/", "/", 1).as_str()), "{ros_type} holds itself");
        }
        let look = ros2msg("egogrid_msgs/msg/PolicyLook").unwrap();
        for part in
            ["std_msgs/Header", "builtin_interfaces/Time", "egogrid_msgs/PolicyToken", "geometry_msgs/Quaternion"]
        {
            assert!(look.contains(&format!("MSG: {part}\n")), "{part}");
        }
    }

    #[test]
    fn a_type_without_a_definition_is_named() {
        assert_eq!(ros2msg("a/msg/B").unwrap_err().ros_type, "a/msg/B");
    }
}
