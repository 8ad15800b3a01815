//! Depth picture to a coloured point cloud that is small enough to record with every look.
//!
//! From: a frame with depth and intrinsics. To: at most [`POINTS_MAX`] points, `[n, 3]` metres in camera optical axes
//! (x right, y down, z forward), with the picture's colours `[n]`. For people to look at: policies use
//! `runtime::perception`.

use egogrid_runtime::camera::Frame;

/// Points in one cloud: 16 bytes each, so 190 kB a look.
pub(super) const POINTS_MAX: u32 = 12_000;

/// Positions and colours, in the same order.
#[derive(Debug, Default)]
pub(super) struct Cloud {
    pub points_m: Vec<[f32; 3]>,
    pub colors_rgb: Vec<[u8; 3]>,
    /// Distance of neighbouring points at the median depth.
    pub spacing_m: f32,
}

/// `None` without depth or intrinsics. Pixels without a depth (0, negative, not finite) have no point.
pub(super) fn sample(frame: &Frame) -> Option<Cloud> {
    let (depth, rgb) = (frame.depth.as_ref()?, &frame.rgb);
    let size_px = [depth.width_px(), depth.height_px()];
    let lens = frame.intrinsics?.resized(size_px);
    let ([fx, fy], [cx, cy], skew) = (lens.focal_px(), lens.center_px(), lens.skew_px());
    let step_px = (size_px[0] as f32 * size_px[1] as f32 / POINTS_MAX as f32).sqrt().max(1.0);
    let places = |side_px: u32| (0..).map(move |i| (i as f32 * step_px) as u32).take_while(move |&px| px < side_px);
    let mut cloud = Cloud::default();
    for v in places(size_px[1]) {
        for u in places(size_px[0]) {
            let z = depth.data_m()[(v * size_px[0] + u) as usize];
            if !(z.is_finite() && z > 0.0) {
                continue;
            }
            let y = (v as f32 - cy) / fy;
            let x = (u as f32 - cx - skew * y) / fx;
            cloud.points_m.push([x * z, y * z, z]);
            let column = u64::from(u) * u64::from(rgb.width_px()) / u64::from(size_px[0]);
            let row = u64::from(v) * u64::from(rgb.height_px()) / u64::from(size_px[1]);
            let at = 3 * (row * u64::from(rgb.width_px()) + column) as usize;
            cloud.colors_rgb.push([rgb.data()[at], rgb.data()[at + 1], rgb.data()[at + 2]]);
        }
    }
    let mut depths: Vec<f32> = cloud.points_m.iter().map(|point| point[2]).collect();
    if !depths.is_empty() {
        let middle = depths.len() / 2;
        let (_, median, _) = depths.select_nth_unstable_by(middle, f32::total_cmp);
        cloud.spacing_m = *median * step_px / fx;
    }
    Some(cloud)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, RgbImage, Stamp};

    fn frame(side_px: u32, depth_m: Vec<f32>) -> Frame {
        let pixels = side_px * side_px;
        let rgb: Vec<u8> = (0..pixels).flat_map(|i| [(i % 251) as u8, 1, 2]).collect();
        let middle = f64::from(side_px) / 2.0;
        let matrix = [100.0, 0.0, middle, 0.0, 100.0, middle, 0.0, 0.0, 1.0];
        Frame {
            stamp: Stamp::default(),
            rgb: RgbImage::new(side_px, side_px, rgb).unwrap(),
            depth: Some(DepthImage::new(side_px, side_px, DepthKind::Sensor, depth_m).unwrap()),
            intrinsics: Some(CameraIntrinsics::from_matrix(matrix, [side_px; 2]).unwrap()),
            base_from_camera: None,
        }
    }

    #[test]
    fn a_cloud_of_any_picture_stays_below_its_limit() {
        for side_px in [1, 2, 64, 109, 110, 224, 480, 1023] {
            let cloud = sample(&frame(side_px, vec![1.0; (side_px * side_px) as usize])).unwrap();
            // The last row and column of a step that is no whole number may add one each.
            assert!(cloud.points_m.len() <= (POINTS_MAX + 2 * 110 + 1) as usize, "{side_px}: {}", cloud.points_m.len());
            assert!(!cloud.points_m.is_empty());
        }
    }

    #[test]
    fn pixels_without_a_depth_have_no_point() {
        let cloud = sample(&frame(2, vec![0.0, f32::NAN, -1.0, 2.0])).unwrap();
        assert_eq!(cloud.points_m, [[0.0, 0.0, 2.0]]);
        assert_eq!(cloud.colors_rgb, [[3, 1, 2]]);
    }
}
