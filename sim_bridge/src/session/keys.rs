//! Which key each topic of one robot has: ours, or one that a ROS 2 bridge uses.
//!
//! From: the robot's name and `[keys]` of the deployment file. To: the keys that endpoints and the access list use. Only
//! topics can be mapped; requests (`do/*`) and liveliness are our own protocol, and `command_dry_run` is where no robot listens.

use super::RobotName;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;

/// Longest key that a topic can be mapped to, bytes.
const KEY_BYTES_MAX: usize = 255;
/// Longest name of axes, and longest reason.
const TEXT_BYTES_MAX: usize = 255;
const POSE: &str = "geometry_msgs/PoseStamped";
const TWIST: &str = "geometry_msgs/TwistStamped";
/// Topics besides those of cameras.
const TOPICS: [&str; 10] =
    ["action", "command", "episode", "instruction", "look", "operator", "points", "run_info", "state", "status"];
const CAMERA_TOPICS: [&str; 3] = ["image", "depth", "camera_info"];

/// Topic → its key, as the file says it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct KeysConfig(pub BTreeMap<String, KeyConfig>);

/// A key alone, or a key with another message type.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyConfig {
    /// Carries our own type of this topic.
    Plain(String),
    /// Carries a type of ROS 2.
    Typed(TypedKey),
}

/// A key with another message type, and what that type cannot say.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedKey {
    /// The key.
    pub key: String,
    /// `geometry_msgs/PoseStamped` for `state`, `geometry_msgs/TwistStamped` for `command`.
    #[serde(rename = "type")]
    pub ros_type: String,
    /// Axes: messages of a pose in others are refused; a twist is sent with this name.
    pub frame: String,
    /// `state`: opening before the first command, 0 closed to 1 open; a pose has none.
    pub gripper: Option<f64>,
    /// `command`: why this robot needs neither gripper, expiry nor number in it.
    pub lost: Option<String>,
}

impl<'de> Deserialize<'de> for KeyConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = KeyConfig;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key, or { key, type, frame, … }")
            }
            fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<KeyConfig, E> {
                Ok(KeyConfig::Plain(key.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeyConfig, A::Error> {
                TypedKey::deserialize(MapAccessDeserializer::new(map)).map(KeyConfig::Typed)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A topic that cannot be mapped like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct KeyError {
    /// As written.
    pub topic: String,
    /// Found, expected, what to do.
    pub problem: String,
}

/// What `state` carries.
#[derive(Debug, Clone, PartialEq)]
pub enum StateType {
    /// `egogrid_msgs/EndEffectorState`.
    EndEffector,
    /// `geometry_msgs/PoseStamped`.
    Pose {
        /// Axes that it must be in: the robot's base.
        frame: String,
        /// Opening before the first command.
        gripper: f64,
    },
}

/// What `command` carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandType {
    /// `egogrid_msgs/Command`.
    Command,
    /// `geometry_msgs/TwistStamped`: no gripper, no expiry, no number.
    Twist {
        /// Name of the base's axes.
        frame: String,
        /// Why the robot does without.
        lost: String,
    },
}

/// The keys of one robot.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    robot: RobotName,
    mapped: BTreeMap<String, String>,
    state: StateType,
    command: CommandType,
}

impl From<&RobotName> for Keys {
    /// Our own: `egogrid/<robot>/<topic>`.
    fn from(robot: &RobotName) -> Self {
        Self {
            robot: robot.clone(),
            mapped: BTreeMap::new(),
            state: StateType::EndEffector,
            command: CommandType::Command,
        }
    }
}

impl Keys {
    /// Whose.
    pub fn robot(&self) -> &RobotName {
        &self.robot
    }

    /// Of a topic, e.g. `camera/front/image`.
    pub fn key(&self, topic: &str) -> String {
        self.mapped.get(topic).cloned().unwrap_or_else(|| self.robot.key(topic))
    }

    /// Key expressions that include every key of this robot.
    pub fn all(&self) -> Vec<String> {
        std::iter::once(self.robot.key("**")).chain(self.mapped.values().cloned()).collect()
    }

    /// Topics that have another key, and which.
    pub fn mapped(&self) -> &BTreeMap<String, String> {
        &self.mapped
    }

    /// What `state` carries.
    pub fn state(&self) -> &StateType {
        &self.state
    }

    /// What `command` carries.
    pub fn command(&self) -> &CommandType {
        &self.command
    }
}

impl KeysConfig {
    /// Keys that can be ones, each used once, of topics that exist.
    ///
    /// # Errors
    /// The first topic that cannot be mapped like this.
    pub fn checked(self, robot: &RobotName, cameras: &[&str]) -> Result<Keys, KeyError> {
        let mut keys = Keys::from(robot);
        for (topic, config) in self.0 {
            let wrong = |problem: String| KeyError { topic: topic.clone(), problem };
            if !is_topic(&topic, cameras) {
                let cameras = cameras.iter().map(|camera| format!("camera/{camera}/{{{}}}", CAMERA_TOPICS.join(",")));
                let known: Vec<String> = TOPICS.iter().map(ToString::to_string).chain(cameras).collect();
                return Err(wrong(format!("there is no such topic; expected one of {}", known.join(", "))));
            }
            let key = match config {
                KeyConfig::Plain(key) => key,
                KeyConfig::Typed(typed) => {
                    let key = typed.key.clone();
                    match topic.as_str() {
                        "state" => keys.state = typed.state().map_err(wrong)?,
                        "command" => keys.command = typed.command().map_err(wrong)?,
                        _ => {
                            return Err(wrong(
                                "only `state` and `command` can have a `type`; write the key alone".to_owned(),
                            ));
                        }
                    }
                    key
                }
            };
            check_key(&key, robot).map_err(wrong)?;
            if let Some((other, _)) = keys.mapped.iter().find(|(_, known)| **known == key) {
                return Err(wrong(format!("the key {key:?} is that of {other:?}, too; each topic needs its own")));
            }
            keys.mapped.insert(topic, key);
        }
        Ok(keys)
    }
}

impl TypedKey {
    fn state(self) -> Result<StateType, String> {
        let expected = format!(
            "type = {POSE:?} with `frame` (the base's axes) and `gripper` (0 to 1: the opening before the first command)"
        );
        // Written so that NaN fails.
        match (self.ros_type.as_str(), self.gripper, self.lost) {
            (POSE, Some(gripper), None) if (0.0..=1.0).contains(&gripper) && is_text(&self.frame) => {
                Ok(StateType::Pose { frame: self.frame, gripper })
            }
            (found, gripper, _) => {
                Err(format!("type {found:?} with frame {:?} and gripper {gripper:?}; expected {expected}", self.frame))
            }
        }
    }

    fn command(self) -> Result<CommandType, String> {
        let expected = format!(
            "type = {TWIST:?} with `frame` (the base's axes) and `lost` (why this robot does without what a twist cannot say: \
             gripper, expiry and number; it must stop by itself when no command comes)"
        );
        match (self.ros_type.as_str(), self.gripper, self.lost) {
            (TWIST, None, Some(lost)) if is_text(&lost) && is_text(&self.frame) => {
                Ok(CommandType::Twist { frame: self.frame, lost })
            }
            (found, _, lost) => {
                Err(format!("type {found:?} with frame {:?} and lost {lost:?}; expected {expected}", self.frame))
            }
        }
    }
}

fn is_text(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= TEXT_BYTES_MAX && !text.contains(char::is_control)
}

fn is_topic(topic: &str, cameras: &[&str]) -> bool {
    let of_camera = topic.strip_prefix("camera/").and_then(|rest| rest.split_once('/'));
    TOPICS.contains(&topic)
        || of_camera.is_some_and(|(camera, rest)| cameras.contains(&camera) && CAMERA_TOPICS.contains(&rest))
}

fn check_key(key: &str, robot: &RobotName) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let part = |part: &str| !part.is_empty() && part.chars().all(allowed);
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) || !key.split('/').all(part) {
        return Err(format!(
            "the key is {key:?}; expected 1 to {KEY_BYTES_MAX} of A-Z a-z 0-9 _ - . in parts joined by single /, without one at the \
             beginning (the ROS 2 topic /front/image_raw is front/image_raw)"
        ));
    }
    if key.starts_with(&robot.key("")) {
        return Err(format!("the key {key:?} is one of our own; without this line the topic has its own already"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn robot() -> RobotName {
        RobotName::new("arm").unwrap()
    }

    fn config(topic: &str, key: KeyConfig) -> KeysConfig {
        KeysConfig([(topic.to_owned(), key)].into())
    }

    fn plain(topic: &str, key: &str) -> Result<Keys, KeyError> {
        config(topic, KeyConfig::Plain(key.to_owned())).checked(&robot(), &["front"])
    }

    #[test]
    fn a_topic_without_a_line_has_our_own_key() {
        let keys = plain("camera/front/image", "front/image_raw").unwrap();
        assert_eq!(keys.key("camera/front/image"), "front/image_raw");
        assert_eq!(keys.key("camera/front/depth"), "egogrid/arm/camera/front/depth");
        assert_eq!(keys.key("command_dry_run"), "egogrid/arm/command_dry_run");
        assert_eq!(keys.all(), ["egogrid/arm/**", "front/image_raw"]);
    }

    #[test]
    fn a_key_can_reach_no_other_key() {
        assert!(plain("state", &"x".repeat(255)).is_ok());
        for key in [
            "",
            "/a",
            "a/",
            "a//b",
            "*",
            "a/*",
            "a/**",
            "a$*",
            "a?b",
            "a#b",
            "a b",
            "ä",
            "@/a",
            "a\n",
            &"x".repeat(256),
        ] {
            assert!(plain("state", key).is_err(), "{key:?}");
        }
        let error = plain("state", "egogrid/arm/command").unwrap_err();
        assert!(error.to_string().contains("our own"), "{error}");
    }

    #[test]
    fn only_topics_that_exist_are_mapped_and_no_two_to_one_key() {
        for topic in
            ["camera/back/image", "camera/front/video", "command_dry_run", "do/stop", "alive/daemon/1", "", "State"]
        {
            let error = plain(topic, "a").unwrap_err();
            assert!(error.problem.contains("no such topic") && error.problem.contains("camera/front"), "{error}");
        }
        let both = [("state", "a"), ("instruction", "a")];
        let both = both.map(|(topic, key)| (topic.to_owned(), KeyConfig::Plain(key.to_owned())));
        assert!(
            KeysConfig(both.into()).checked(&robot(), &[]).unwrap_err().problem.contains("each topic needs its own")
        );
    }

    #[test]
    fn a_type_that_says_less_needs_what_it_cannot_say() {
        let typed = |topic: &str, ros_type: &str, frame: &str, gripper, lost: Option<&str>| {
            let (key, ros_type, frame, lost) =
                ("a".to_owned(), ros_type.to_owned(), frame.to_owned(), lost.map(str::to_owned));
            config(topic, KeyConfig::Typed(TypedKey { key, ros_type, frame, gripper, lost }))
                .checked(&robot(), &["front"])
        };
        let keys = typed("state", POSE, "base", Some(1.0), None).unwrap();
        assert_eq!(*keys.state(), StateType::Pose { frame: "base".to_owned(), gripper: 1.0 });
        assert!(typed("command", TWIST, "base", None, Some("Servo stops after 0.1 s")).is_ok());
        for (topic, ros_type, frame, gripper, lost) in [
            ("state", POSE, "base", None, None),
            ("state", POSE, "base", Some(1.5), None),
            ("state", POSE, "base", Some(f64::NAN), None),
            ("state", POSE, "", Some(1.0), None),
            ("state", POSE, "base", Some(1.0), Some("x")),
            ("state", TWIST, "base", Some(1.0), None),
            ("command", TWIST, "base", None, None),
            ("command", TWIST, "base", None, Some(" ")),
            ("command", TWIST, "base", Some(1.0), Some("x")),
            ("command", POSE, "base", None, Some("x")),
            ("camera/front/image", "sensor_msgs/CompressedImage", "x", None, None),
        ] {
            assert!(typed(topic, ros_type, frame, gripper, lost).is_err(), "{topic} {ros_type} {gripper:?} {lost:?}");
        }
    }
}
