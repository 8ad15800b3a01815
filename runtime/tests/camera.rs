//! Pictures and calibrations are checked once, on the way in.

#![allow(clippy::unwrap_used)]

use egogrid_runtime::camera::{
    CameraIntrinsics, DepthImage, DepthKind, FrameError, IntrinsicsError, RgbImage, SIDE_PX_MAX,
};

#[test]
fn an_image_whose_bytes_and_size_disagree_is_refused() {
    let wrong = |expected, found| FrameError::WrongLength { width_px: 4, height_px: 3, expected, found };
    assert_eq!(RgbImage::new(4, 3, vec![0; 35]).unwrap_err(), wrong(36, 35));
    assert_eq!(DepthImage::new(4, 3, DepthKind::Sensor, vec![0.0; 13]).unwrap_err(), wrong(12, 13));
    for (width_px, height_px) in [(0, 1), (1, 0), (SIDE_PX_MAX + 1, 1), (1, u32::MAX)] {
        let refused = RgbImage::new(width_px, height_px, vec![]).unwrap_err();
        assert_eq!(refused, FrameError::BadSize { width_px, height_px, side_px_max: SIDE_PX_MAX });
    }
}

#[test]
fn a_matrix_that_is_not_a_pinhole_is_refused() {
    let good = [500.0, 0.5, 320.0, 0.0, 501.0, 240.0, 0.0, 0.0, 1.0];
    assert_eq!(CameraIntrinsics::from_matrix(good, [640, 480]).unwrap().skew_px(), 0.5);
    let broken =
        [(0, 0.0), (0, -1.0), (4, 0.0), (0, f64::NAN), (2, f64::INFINITY), (3, 0.1), (6, 1e-9), (7, 1.0), (8, 0.0)];
    for (at, value) in broken {
        let mut matrix = good;
        matrix[at] = value;
        let refused = CameraIntrinsics::from_matrix(matrix, [640, 480]);
        assert!(matches!(refused, Err(IntrinsicsError::NotPinhole { .. })), "element {at} = {value}: {refused:?}");
    }
    let empty = CameraIntrinsics::from_matrix(good, [0, 480]);
    assert_eq!(empty, Err(IntrinsicsError::BadSize { width_px: 0, height_px: 480 }));
}

/// A number that is finite in float64 and infinite in float32 would pass a check made before rounding.
#[test]
fn a_matrix_that_overflows_or_vanishes_in_float32_is_refused() {
    for value in [1e39, 1e-60] {
        let matrix = [value, 0.0, 320.0, 0.0, 501.0, 240.0, 0.0, 0.0, 1.0];
        assert!(CameraIntrinsics::from_matrix(matrix, [640, 480]).is_err(), "fx = {value}");
    }
}

#[test]
fn intrinsics_of_another_size_are_refused() {
    let matrix = [500.0, 0.0, 320.0, 0.0, 501.0, 240.0, 0.0, 0.0, 1.0];
    let camera = CameraIntrinsics::from_matrix(matrix, [640, 480]).unwrap();
    assert_eq!(camera.for_size([640, 480]), Ok(camera));
    let swapped = IntrinsicsError::OtherSize { expected: [640, 480], found: [480, 640] };
    assert_eq!(camera.for_size([480, 640]), Err(swapped));
}
