//! Promises about a ROS 2 robot behind a bridge, on real sessions: bytes that `rosbags` wrote, on the keys that a bridge
//! uses, arrive as what they are; and a command leaves as the type and on the key that the deployment file says.

#![allow(clippy::unwrap_used)]

use egogrid_runtime::live::{Assembler, Shelf, Signs, clock, slot};
use egogrid_runtime::observation_set::{CameraSpec, ObservationSets, SetRules};
use egogrid_sim_bridge::codec;
use egogrid_sim_bridge::endpoint::{BridgeSession, Onboard, command_to_twist};
use egogrid_sim_bridge::message::{Command, TwistStamped};
use egogrid_sim_bridge::session::{KeyConfig, Keys, KeysConfig, RobotName, SessionConfig, TypedKey};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zenoh::Wait;

/// Bytes of a vector, with the first 8 bytes of its header, the stamp, set to now.
fn bytes_now(name: &str) -> Vec<u8> {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../tests/fixtures/wire/vectors.json")).unwrap();
    let vector = vectors.into_iter().find(|vector| vector["name"] == name).unwrap();
    let hex = vector["hex"].as_str().unwrap();
    let mut bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let now = clock::calendar().ns;
    bytes[4..8].copy_from_slice(&i32::try_from(now / 1_000_000_000).unwrap().to_le_bytes());
    bytes[8..12].copy_from_slice(&u32::try_from(now % 1_000_000_000).unwrap().to_le_bytes());
    bytes
}

fn keys(frame: &str) -> Keys {
    let plain = |topic: &str, key: &str| (topic.to_owned(), KeyConfig::Plain(key.to_owned()));
    let pose = TypedKey {
        key: "arm/pose".to_owned(),
        ros_type: "geometry_msgs/PoseStamped".to_owned(),
        frame: frame.to_owned(),
        gripper: Some(0.75),
        lost: None,
    };
    let mapped = [
        plain("camera/front/image", "front/image_raw"),
        plain("instruction", "task"),
        ("state".to_owned(), KeyConfig::Typed(pose)),
    ];
    KeysConfig(mapped.into()).checked(&RobotName::new("arm").unwrap(), &["front"]).unwrap()
}

struct Daemon {
    assembler: Arc<Mutex<Assembler>>,
    onboard: Onboard,
    peer: BridgeSession,
    _session: BridgeSession,
}

/// What `egogrid run` listens with, and a peer.
fn daemon(keys: &Keys) -> Daemon {
    let long = Duration::from_secs(60);
    let camera = CameraSpec {
        name: "front".to_owned(),
        size_px: [3, 2],
        depth: false,
        frozen_frames: None,
        dark_mean_min: None,
        base_from_camera: None,
    };
    let rules =
        SetRules { cameras: vec![camera], join_max: long, age_max: long, silent_max: long, future_max: Duration::ZERO };
    let sets = ObservationSets::new(rules, clock::now()).unwrap();
    let (newest, _) = slot(None);
    let (states, _) = slot(None);
    let assembler = Arc::new(Mutex::new(Assembler::new(sets, None, Shelf::default(), newest, states)));
    let session = BridgeSession::open_for(&SessionConfig::loopback(), keys).unwrap();
    let onboard = Onboard::listen(&session, keys, Arc::clone(&assembler), Arc::new(Signs::default()), None).unwrap();
    let connect = vec![session.listen_endpoint().unwrap().to_string()];
    let peer = BridgeSession::open(&SessionConfig { connect, ..SessionConfig::default() }).unwrap();
    Daemon { assembler, onboard, peer, _session: session }
}

/// Sends what `name` is, as of now, again and again until `done`; whether that came.
fn send_until(daemon: &Daemon, key: &str, name: &str, mut done: impl FnMut(&Daemon) -> bool) -> bool {
    (0..600).any(|_| {
        daemon.peer.zenoh().put(key, bytes_now(name)).wait().unwrap();
        std::thread::park_timeout(Duration::from_millis(20));
        done(daemon)
    })
}

#[test]
fn pictures_and_poses_of_a_bridge_arrive_under_its_keys() {
    let daemon = daemon(&keys("panda_link0"));
    assert!(send_until(&daemon, "arm/pose", "pose_stamped", |it| it
        .assembler
        .lock()
        .unwrap()
        .state_measured()
        .is_some()));
    let text = codec::encode(&egogrid_sim_bridge::message::RosString { data: "open the drawer".to_owned() }).unwrap();
    daemon.peer.zenoh().put("task", text).wait().unwrap();
    let seen = |it: &Daemon| it.assembler.lock().unwrap().sets().sets() > 0;
    assert!(send_until(&daemon, "front/image_raw", "image_rgb8", seen));
    assert_eq!(daemon.assembler.lock().unwrap().instruction(), Some("open the drawer"));
    let refused: u64 =
        daemon.onboard.refusals().iter().filter(|(kind, _)| kind.1 != "stale").map(|(_, count)| count).sum();
    assert_eq!(refused, 0, "{:?}", daemon.onboard.refusals());
}

/// And what comes under our own key, or in other axes, is not the robot's state.
#[test]
fn a_pose_in_other_axes_is_refused_and_our_own_key_is_not_listened_to() {
    let daemon = daemon(&keys("base_link"));
    let unusable = |it: &Daemon| it.onboard.refusals().iter().any(|(kind, _)| kind.1 == "unusable");
    assert!(send_until(&daemon, "arm/pose", "pose_stamped", unusable));
    for _ in 0..10 {
        daemon.peer.zenoh().put("egogrid/arm/state", bytes_now("end_effector_state")).wait().unwrap();
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(daemon.assembler.lock().unwrap().state_measured().is_none());
}

#[test]
fn a_twist_has_the_commands_velocity_and_a_command_that_is_over_is_none() {
    let bytes = bytes_now("command");
    let command: Command = codec::decode(&bytes).unwrap();
    let twist = command_to_twist(command.clone(), "panda_link0").unwrap();
    let sent = codec::encode(&twist).unwrap();
    let read: TwistStamped = codec::decode(&sent).unwrap();
    assert_eq!((read.twist, read.header.stamp), (command.twist, command.header.stamp));
    assert_eq!(read.header.frame_id, "panda_link0");
    for valid_ms in [0.0, -1.0, f64::NAN] {
        let over = Command { valid_ms, ..command.clone() };
        assert!(command_to_twist(over, "panda_link0").unwrap_err().contains("is over"), "{valid_ms}");
    }
}
