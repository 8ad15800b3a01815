//! Promises about topics: another process's session gets what was published, and a publisher never waits for one.

#![allow(clippy::unwrap_used)]

use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, RgbImage, Stamp};
use egogrid_sim_bridge::codec;
use egogrid_sim_bridge::convert::{wire_to_depth, wire_to_intrinsics, wire_to_rgb};
use egogrid_sim_bridge::endpoint::{BridgeSession, Listeners};
use egogrid_sim_bridge::message::{CameraInfo, Image};
use egogrid_sim_bridge::session::{RobotName, SessionConfig, SessionError};
use std::time::Duration;
use zenoh::Wait;

const PATIENCE: Duration = Duration::from_secs(60);

/// Two sessions as two processes would have them.
fn pair() -> (BridgeSession, BridgeSession) {
    let here = BridgeSession::open(&SessionConfig::loopback()).unwrap();
    let connect = vec![here.listen_endpoint().unwrap().to_string()];
    let there = BridgeSession::open(&SessionConfig { connect, ..SessionConfig::default() }).unwrap();
    (here, there)
}

fn frame() -> Frame {
    Frame {
        stamp: Stamp { ns: 5 },
        rgb: RgbImage::new(64, 48, (0..64 * 48 * 3).map(|i| (i % 251) as u8).collect::<Vec<_>>()).unwrap(),
        depth: Some(DepthImage::new(64, 48, DepthKind::Sensor, vec![0.75; 64 * 48]).unwrap()),
        intrinsics: Some(
            CameraIntrinsics::from_matrix([50.0, 0.0, 31.5, 0.0, 50.0, 23.5, 0.0, 0.0, 1.0], [64, 48]).unwrap(),
        ),
        base_from_camera: None,
    }
}

#[test]
fn a_frame_arrives_as_three_standard_messages() {
    let (here, there) = pair();
    let robot = RobotName::new("arm").unwrap();
    let topics = ["image", "depth", "camera_info"];
    let heard = topics
        .map(|topic| there.zenoh().declare_subscriber(robot.key(&format!("camera/front/{topic}"))).wait().unwrap());
    let frame = frame();
    let mut listeners = Listeners::new(&here, &robot);
    // A subscriber needs a moment to be known to the other side; until then there is nobody to send to.
    let [image, depth, info] = heard.map(|subscriber| {
        for _ in 0..100 {
            listeners.frame("front", &frame).unwrap();
            if let Ok(Some(sample)) = subscriber.recv_timeout(PATIENCE / 100) {
                eprintln!("{}: shared memory {}", sample.key_expr(), sample.payload().as_shm().is_some());
                return sample.payload().to_bytes().into_owned();
            }
        }
        panic!("nothing arrived");
    });
    assert_eq!(wire_to_rgb(&codec::decode::<Image<'_>>(&image).unwrap()).unwrap(), frame.rgb);
    assert_eq!(Some(wire_to_depth(&codec::decode::<Image<'_>>(&depth).unwrap()).unwrap()), frame.depth);
    let info: CameraInfo = codec::decode(&info).unwrap();
    assert_eq!(Some(wire_to_intrinsics(&info).unwrap()), frame.intrinsics);
}

#[test]
fn a_camera_name_cannot_reach_other_keys() {
    let (here, _) = pair();
    let mut listeners = Listeners::new(&here, &RobotName::new("arm").unwrap());
    for name in ["", "*", "a/b", "Front"] {
        assert!(listeners.frame(name, &frame()).is_err(), "{name:?}");
    }
}

#[test]
fn connecting_to_nobody_is_an_error_and_not_a_silence() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = SessionConfig { connect: vec![format!("tcp/{free}")], ..SessionConfig::default() };
    let error = BridgeSession::open(&config).unwrap_err();
    assert!(matches!(error, SessionError::Connect { .. }) && error.to_string().contains("nobody listens"), "{error}");
}
