//! Pictures inside tables: PNG and JPEG to [`RgbImage`], and depth as 16-bit PNG in millimetres.
//!
//! LeRobot has no feature for depth. A 16-bit gray PNG in an `image` feature is what most depth data sets use, keeps millimetres, and
//! any reader of Parquet and PNG opens it. 0 is no reading; what is beyond 65.535 m is none either, and is counted.

use egogrid_runtime::camera::{DepthImage, DepthKind, RgbImage, SIDE_PX_MAX};
use image::{DynamicImage, ImageEncoder, ImageReader, Limits};
use std::io::Cursor;

/// Farthest depth that is written, millimetres.
pub const DEPTH_MM_MAX: u16 = u16::MAX;

fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PX_MAX);
    limits.max_image_height = Some(SIDE_PX_MAX);
    reader.limits(limits);
    reader.decode().map_err(|error| error.to_string())
}

/// A picture of 8 bits per channel.
///
/// # Errors
/// In words: damaged, too large, or of another kind.
pub fn png_rgb(bytes: &[u8]) -> Result<RgbImage, String> {
    match decode(bytes)? {
        DynamicImage::ImageRgb8(picture) => {
            let (width, height) = picture.dimensions();
            RgbImage::new(width, height, picture.into_raw()).map_err(|error| error.to_string())
        }
        other => Err(format!("{:?}; expected a picture of red, green and blue with 8 bits each", other.color())),
    }
}

/// Depth of 16-bit millimetres, 0 = no reading.
///
/// # Errors
/// In words: damaged, too large, or of another kind.
pub fn png_depth(bytes: &[u8]) -> Result<DepthImage, String> {
    match decode(bytes)? {
        DynamicImage::ImageLuma16(picture) => {
            let (width, height) = picture.dimensions();
            let depth_m: Vec<f32> = picture.into_raw().into_iter().map(|mm| f32::from(mm) * 1e-3).collect();
            DepthImage::new(width, height, DepthKind::Sensor, depth_m).map_err(|error| error.to_string())
        }
        other => Err(format!("{:?}; expected 16-bit gray in millimetres", other.color())),
    }
}

/// The file, its millimetres, and how many readings had no place in them.
///
/// # Errors
/// In words: the encoder's.
pub fn depth_png(depth: &DepthImage) -> Result<(Vec<u8>, Vec<u16>, u64), String> {
    let mut beyond = 0;
    let to_mm = |depth_m: &f32| {
        let mm = (f64::from(*depth_m) * 1e3).round();
        if (1.0..=f64::from(DEPTH_MM_MAX)).contains(&mm) {
            return mm as u16;
        }
        // A sensor's holes are 0 or not finite: those lose nothing.
        beyond += u64::from(depth_m.is_finite() && *depth_m != 0.0);
        0
    };
    let mm: Vec<u16> = depth.data_m().iter().map(to_mm).collect();
    let bytes: Vec<u8> = mm.iter().flat_map(|mm| mm.to_ne_bytes()).collect();
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(&bytes, depth.width_px(), depth.height_px(), image::ExtendedColorType::L16)
        .map_err(|error| error.to_string())?;
    Ok((png, mm, beyond))
}
