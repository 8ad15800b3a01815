//! Pictures: `sensor_msgs/Image` and `CameraInfo` to one `Frame`, and back.
//!
//! From: pixels borrowed from the payload, any row padding. To: packed `[height, width, 3]` bytes and `[height, width]`
//! metres, each copied exactly once.

use super::{ConvertError, pose_to_wire, stamp_to_wire, wire_to_pose, wire_to_stamp};
use crate::limits::IMAGE_SIDE_PX_MAX;
use crate::message::{CameraFrame, CameraInfo, Header, Image, RegionOfInterest};
use egogrid_runtime::camera::{CameraIntrinsics, DepthImage, DepthKind, Frame, RgbImage};
use std::sync::Arc;

/// Rows of a picture whose size, step and length have been checked.
fn rows<'a>(
    image: &Image<'a>,
    what: &'static str,
    pixel_bytes: u32,
) -> Result<impl Iterator<Item = &'a [u8]> + Clone, ConvertError> {
    let (width_px, height_px, step) = (image.width, image.height, image.step);
    let sides = 1..=IMAGE_SIDE_PX_MAX;
    if !(sides.contains(&width_px) && sides.contains(&height_px)) {
        return Err(ConvertError::Size { what, width_px, height_px, side_px_max: IMAGE_SIDE_PX_MAX });
    }
    let row_bytes = width_px * pixel_bytes; // sides are at most 4096
    if step < row_bytes || image.data.len() as u64 != u64::from(step) * u64::from(height_px) {
        let found = image.data.len();
        return Err(ConvertError::Layout { what, width_px, height_px, pixel_bytes, step, found });
    }
    Ok(image.data.chunks_exact(step as usize).map(move |row| &row[..row_bytes as usize]))
}

fn is_packed(image: &Image<'_>, pixel_bytes: u32) -> bool {
    image.step == image.width * pixel_bytes
}

/// `rgb8` or `bgr8`.
///
/// # Errors
/// Another encoding, or a layout that does not fit.
pub fn wire_to_rgb(image: &Image<'_>) -> Result<RgbImage, ConvertError> {
    const WHAT: &str = "image";
    let mut rows = rows(image, WHAT, 3)?;
    let data: Arc<[u8]> = match image.encoding.as_str() {
        "rgb8" if is_packed(image, 3) => Arc::from(image.data),
        "rgb8" => rows.flatten().copied().collect(),
        "bgr8" => {
            let mut data = Vec::with_capacity(image.width as usize * image.height as usize * 3);
            rows.by_ref().for_each(|row| data.extend(row.as_chunks::<3>().0.iter().flat_map(|[b, g, r]| [*r, *g, *b])));
            data.into()
        }
        _ => return Err(wrong_encoding(image, WHAT, "rgb8 or bgr8")),
    };
    Ok(RgbImage::new(image.width, image.height, data)?)
}

/// `32FC1` metres or `16UC1` millimetres, from a sensor: 0 and NaN stay what they are, holes.
///
/// # Errors
/// Another encoding, or a layout that does not fit.
pub fn wire_to_depth(image: &Image<'_>) -> Result<DepthImage, ConvertError> {
    const WHAT: &str = "depth";
    let big = image.is_bigendian != 0;
    let data: Arc<[f32]> = match image.encoding.as_str() {
        "32FC1" => {
            let metres = |bytes: &[u8; 4]| if big { f32::from_be_bytes(*bytes) } else { f32::from_le_bytes(*bytes) };
            let rows = rows(image, WHAT, 4)?;
            if is_packed(image, 4) {
                // One slice has a known length, so this fills its one allocation directly.
                image.data.as_chunks::<4>().0.iter().map(metres).collect()
            } else {
                rows.flat_map(|row| row.as_chunks::<4>().0).map(metres).collect()
            }
        }
        "16UC1" => {
            let metres = |bytes: &[u8; 2]| {
                let millimetres = if big { u16::from_be_bytes(*bytes) } else { u16::from_le_bytes(*bytes) };
                f32::from(millimetres) / 1000.0
            };
            rows(image, WHAT, 2)?.flat_map(|row| row.as_chunks::<2>().0).map(metres).collect()
        }
        _ => return Err(wrong_encoding(image, WHAT, "32FC1 or 16UC1")),
    };
    Ok(DepthImage::new(image.width, image.height, DepthKind::Sensor, data)?)
}

fn wrong_encoding(image: &Image<'_>, what: &'static str, expected: &'static str) -> ConvertError {
    ConvertError::Encoding { what, found: image.encoding.clone(), expected }
}

/// The pinhole matrix, if that is all there is to say about the camera.
///
/// # Errors
/// Distortion, binning, a region of interest, a matrix that is no pinhole.
pub fn wire_to_intrinsics(info: &CameraInfo) -> Result<CameraIntrinsics, ConvertError> {
    let refused = [
        // Written so that NaN fails.
        (!info.d.iter().all(|value| *value == 0.0), "lens distortion"),
        (info.binning_x > 1 || info.binning_y > 1, "binning"),
        (info.roi != RegionOfInterest::default(), "a region of interest"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(found, _)| *found) {
        return Err(ConvertError::NotRectified { what });
    }
    Ok(CameraIntrinsics::from_matrix(info.k, [info.width, info.height])?)
}

/// Everything that one exposure has.
///
/// # Errors
/// A part that cannot be used, parts of different exposures or sizes.
pub fn wire_to_frame(camera: &CameraFrame<'_>) -> Result<Frame, ConvertError> {
    let stamp = wire_to_stamp(camera.image.header.stamp)?;
    if let Some(depth) = &camera.depth {
        let depth_stamp = wire_to_stamp(depth.header.stamp)?;
        if depth_stamp != stamp {
            return Err(ConvertError::Exposures { image_ns: stamp.ns, depth_ns: depth_stamp.ns });
        }
    }
    let size_px = [camera.image.width, camera.image.height];
    let intrinsics = camera.camera_info.as_ref().map(wire_to_intrinsics).transpose()?;
    Ok(Frame {
        stamp,
        rgb: wire_to_rgb(&camera.image)?,
        depth: camera.depth.as_ref().map(wire_to_depth).transpose()?,
        intrinsics: intrinsics.map(|k| k.for_size(size_px)).transpose()?,
        base_from_camera: camera.base_from_camera.map(|pose| wire_to_pose(&pose, "base_from_camera")).transpose()?,
    })
}

/// The messages of one frame, borrowing its pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameWire<'a> {
    /// `rgb8`.
    pub image: Image<'a>,
    /// `32FC1`.
    pub depth: Option<Image<'a>>,
    /// Of `image`.
    pub camera_info: Option<CameraInfo>,
    /// Pose of the optical axes in the base.
    pub base_from_camera: Option<crate::message::Pose>,
}

impl<'a> FrameWire<'a> {
    /// Of `frame`, whose axes are called `frame_id`.
    ///
    /// # Errors
    /// A stamp that does not fit.
    pub fn new(frame: &'a Frame, frame_id: &str) -> Result<Self, ConvertError> {
        let header = Header { stamp: stamp_to_wire(frame.stamp)?, frame_id: frame_id.to_owned() };
        let (width, height) = (frame.rgb.width_px(), frame.rgb.height_px());
        Ok(Self {
            image: Image {
                header: header.clone(),
                height,
                width,
                encoding: "rgb8".to_owned(),
                is_bigendian: 0,
                step: width * 3,
                data: frame.rgb.data(),
            },
            depth: frame.depth.as_ref().map(|depth| Image {
                header: header.clone(),
                height: depth.height_px(),
                width: depth.width_px(),
                encoding: "32FC1".to_owned(),
                is_bigendian: u8::from(cfg!(target_endian = "big")),
                step: depth.width_px() * 4,
                data: bytemuck::cast_slice(depth.data_m()),
            }),
            camera_info: frame.intrinsics.map(|k| intrinsics_to_wire(&k, header)),
            base_from_camera: frame.base_from_camera.as_ref().map(pose_to_wire),
        })
    }
}

fn intrinsics_to_wire(intrinsics: &CameraIntrinsics, header: Header) -> CameraInfo {
    let k = intrinsics.matrix().map(f64::from);
    let [width, height] = intrinsics.size_px();
    CameraInfo {
        header,
        height,
        width,
        distortion_model: "plumb_bob".to_owned(),
        d: vec![0.0; 5],
        k,
        r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: [k[0], k[1], k[2], 0.0, k[3], k[4], k[5], 0.0, k[6], k[7], k[8], 0.0],
        binning_x: 0,
        binning_y: 0,
        roi: RegionOfInterest::default(),
    }
}
