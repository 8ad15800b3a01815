//! Promises of the step from messages to checked types: what is not plainly right is refused, and says so.

#![allow(clippy::unwrap_used)]

use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, RgbImage, Stamp};
use egogrid_sim_bridge::convert::{
    ConvertError, FrameWire, pose_to_wire, stamp_to_wire, wire_to_depth, wire_to_frame, wire_to_intrinsics,
    wire_to_pose, wire_to_rgb, wire_to_stamp, wire_to_state,
};
use egogrid_sim_bridge::message::{
    CameraFrame, CameraInfo, EndEffectorState, Header, Image, Point, Pose, Quaternion, RegionOfInterest, Time,
};
use nalgebra::Isometry3;

fn image<'a>(width: u32, height: u32, encoding: &str, step: u32, data: &'a [u8]) -> Image<'a> {
    Image { header: Header::default(), height, width, encoding: encoding.to_owned(), is_bigendian: 0, step, data }
}

fn frame() -> Frame {
    Frame {
        stamp: Stamp { ns: 1_234_567_890 },
        rgb: RgbImage::new(3, 2, (0..18).collect::<Vec<u8>>()).unwrap(),
        depth: Some(DepthImage::new(2, 2, DepthKind::Sensor, vec![0.0, 0.5, 1.5, 1e3]).unwrap()),
        intrinsics: Some(
            CameraIntrinsics::from_matrix([100.0, 0.0, 1.0, 0.0, 101.0, 0.5, 0.0, 0.0, 1.0], [3, 2]).unwrap(),
        ),
        base_from_camera: Some(Isometry3::from_parts(
            nalgebra::Translation3::new(0.1, 0.2, 0.3),
            nalgebra::UnitQuaternion::from_euler_angles(0.1, -0.2, 3.0),
        )),
    }
}

fn camera(wire: FrameWire<'_>) -> CameraFrame<'_> {
    CameraFrame {
        name: "front".into(),
        image: wire.image,
        depth: wire.depth,
        camera_info: wire.camera_info,
        base_from_camera: wire.base_from_camera,
    }
}

#[test]
fn a_frame_survives_the_wire() {
    let frame = frame();
    let back = wire_to_frame(&camera(FrameWire::new(&frame, "front").unwrap())).unwrap();
    let (before, after) = (frame.base_from_camera.unwrap(), back.base_from_camera.unwrap());
    assert!((before.to_homogeneous() - after.to_homogeneous()).abs().max() < 1e-15);
    assert_eq!(Frame { base_from_camera: frame.base_from_camera, ..back }, frame);
}

#[test]
fn colours_keep_their_order_and_row_padding_is_left_out() {
    let rgb = wire_to_rgb(&image(2, 1, "rgb8", 6, &[1, 2, 3, 4, 5, 6])).unwrap();
    assert_eq!(rgb.data(), [1, 2, 3, 4, 5, 6]);
    let bgr = wire_to_rgb(&image(1, 2, "bgr8", 4, &[3, 2, 1, 99, 6, 5, 4, 99])).unwrap();
    assert_eq!(bgr.data(), [1, 2, 3, 4, 5, 6]);
    let padded = wire_to_rgb(&image(1, 2, "rgb8", 4, &[1, 2, 3, 99, 4, 5, 6, 99])).unwrap();
    assert_eq!(padded.data(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn depth_is_metres_in_either_encoding_and_byte_order() {
    let little: Vec<u8> = [0.0f32, 1.5, f32::NAN].iter().flat_map(|metres| metres.to_le_bytes()).collect();
    let depth = wire_to_depth(&image(3, 1, "32FC1", 12, &little)).unwrap();
    assert_eq!(&depth.data_m()[..2], [0.0, 1.5]);
    assert!(depth.data_m()[2].is_nan(), "a hole stays a hole");
    let big: Vec<u8> = [0.25f32, 1.5].iter().flat_map(|metres| metres.to_be_bytes()).collect();
    let depth = wire_to_depth(&Image { is_bigendian: 1, ..image(1, 2, "32FC1", 4, &big) }).unwrap();
    assert_eq!(depth.data_m(), [0.25, 1.5]);
    let depth = wire_to_depth(&image(2, 1, "16UC1", 6, &[0xDC, 0x05, 0, 0, 9, 9])).unwrap();
    assert_eq!((depth.data_m(), depth.kind()), (&[1.5, 0.0][..], DepthKind::Sensor));
}

#[test]
fn a_layout_that_does_not_fit_is_refused() {
    let data = [0; 24];
    for (width, height, step, bytes) in
        [(2, 2, 5, 10), (2, 2, 6, 11), (2, 2, 6, 13), (2, 2, u32::MAX, 24), (2, 2, 0, 0), (4096, 4096, 12288, 24)]
    {
        let error = wire_to_rgb(&image(width, height, "rgb8", step, &data[..bytes])).unwrap_err();
        assert!(matches!(error, ConvertError::Layout { .. }), "{error}");
    }
    for (width, height) in [(0, 2), (2, 0), (4097, 1), (1, u32::MAX)] {
        let error = wire_to_rgb(&image(width, height, "rgb8", 6, &data)).unwrap_err();
        assert!(matches!(error, ConvertError::Size { .. }), "{error}");
    }
    for encoding in ["", "RGB8", "rgba8", "mono8", "32FC1"] {
        let error = wire_to_rgb(&image(2, 2, encoding, 6, &data[..12])).unwrap_err();
        assert!(matches!(error, ConvertError::Encoding { .. }), "{error}");
    }
    assert!(matches!(wire_to_depth(&image(2, 2, "64FC1", 8, &data[..16])), Err(ConvertError::Encoding { .. })));
}

#[test]
fn colour_and_depth_of_different_exposures_are_refused() {
    let frame = frame();
    let mut wire = camera(FrameWire::new(&frame, "front").unwrap());
    wire.depth.as_mut().unwrap().header.stamp.nanosec += 1;
    assert!(matches!(wire_to_frame(&wire), Err(ConvertError::Exposures { .. })));
}

#[test]
fn intrinsics_of_another_picture_size_are_refused() {
    let frame = frame();
    let mut wire = camera(FrameWire::new(&frame, "front").unwrap());
    wire.camera_info.as_mut().unwrap().width = 6;
    assert!(matches!(wire_to_frame(&wire), Err(ConvertError::Intrinsics(_))));
}

#[test]
fn a_camera_that_a_pinhole_matrix_does_not_describe_is_refused() {
    let frame = frame();
    let good = FrameWire::new(&frame, "front").unwrap().camera_info.unwrap();
    assert!(wire_to_intrinsics(&good).is_ok());
    let refused = [
        CameraInfo { d: vec![0.0, 1e-9], ..good.clone() },
        CameraInfo { d: vec![f64::NAN], ..good.clone() },
        CameraInfo { binning_x: 2, ..good.clone() },
        CameraInfo { roi: RegionOfInterest { x_offset: 1, ..RegionOfInterest::default() }, ..good.clone() },
        CameraInfo { k: [0.0; 9], ..good.clone() }, // ROS: uncalibrated
        CameraInfo { k: [f64::NAN; 9], ..good },
    ];
    for info in refused {
        assert!(wire_to_intrinsics(&info).is_err(), "{info:?}");
    }
}

#[test]
fn every_moment_survives_and_a_billion_nanoseconds_are_refused() {
    for ns in [0, 1, -1, 999_999_999, 1_000_000_000, -1_000_000_001, i64::from(i32::MAX) * 1_000_000_000] {
        assert_eq!(wire_to_stamp(stamp_to_wire(Stamp { ns }).unwrap()).unwrap().ns, ns);
    }
    assert!(wire_to_stamp(Time { sec: 0, nanosec: 1_000_000_000 }).is_err());
    assert!(stamp_to_wire(Stamp { ns: i64::MAX }).is_err());
}

#[test]
fn a_pose_that_is_none_is_refused() {
    let good = pose_to_wire(&Isometry3::identity());
    assert!(wire_to_pose(&good, "test").is_ok());
    let quaternion = |x, y, z, w| Pose { orientation: Quaternion { x, y, z, w }, ..good };
    let refused = [
        quaternion(0.0, 0.0, 0.0, 0.0),
        quaternion(0.0, 0.0, 0.0, 1.01),
        quaternion(0.0, 0.0, f64::NAN, 1.0),
        quaternion(f64::INFINITY, 0.0, 0.0, 1.0),
        Pose { position: Point { x: f64::NAN, y: 0.0, z: 0.0 }, ..good },
    ];
    for pose in refused {
        assert!(wire_to_pose(&pose, "test").is_err(), "{pose:?}");
    }
}

#[test]
fn a_state_with_a_gripper_on_another_scale_is_refused() {
    let state = |gripper, joints_rad| EndEffectorState {
        header: Header::default(),
        base_from_ee: pose_to_wire(&Isometry3::identity()),
        gripper,
        joints_rad,
    };
    assert!(wire_to_state(state(1.0, vec![])).is_ok());
    for (gripper, joints) in [(1.0001, vec![]), (-0.1, vec![]), (f64::NAN, vec![]), (0.5, vec![f64::NAN])] {
        assert!(wire_to_state(state(gripper, joints)).is_err());
    }
}
