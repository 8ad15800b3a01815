//! One frame of the film: the camera's picture, enlarged, with the caption below.
//!
//! From: pictures of any size. To: `[FRAME_HEIGHT_PX, FRAME_WIDTH_PX, 3]` bytes for the encoder.

use super::{Shot, caption};
use egogrid_runtime::camera::RgbImage;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb};
use std::io::Write;

/// Side of the square that the picture is fitted into.
const PICTURE_PX: u32 = 448;
/// Width of the film. Even, as H.264 with half-resolution colour needs it.
pub const FRAME_WIDTH_PX: u32 = PICTURE_PX;
/// Height of the film: picture and caption.
pub const FRAME_HEIGHT_PX: u32 = PICTURE_PX + caption::HEIGHT_PX;

/// The film that is being written.
pub(super) struct Film<W> {
    frames: W,
    episodes: u32,
    /// The last picture, enlarged.
    picture: ImageBuffer<Rgb<u8>, Vec<u8>>,
}

impl<W: Write> Film<W> {
    pub(super) fn new(frames: W, episodes: u32) -> Self {
        Self { frames, episodes, picture: ImageBuffer::new(PICTURE_PX, PICTURE_PX) }
    }

    /// Writes the frames of one shot.
    ///
    /// # Errors
    /// The encoder takes no more.
    pub(super) fn show(&mut self, shot: &Shot) -> std::io::Result<()> {
        if let Some(picture) = &shot.picture {
            self.picture = fitted(picture);
        }
        let mut frame = ImageBuffer::new(FRAME_WIDTH_PX, FRAME_HEIGHT_PX);
        imageops::replace(&mut frame, &self.picture, 0, 0);
        caption::draw(&mut frame, PICTURE_PX, &shot.progress, self.episodes);
        for _ in 0..shot.frames {
            self.frames.write_all(frame.as_raw())?;
        }
        Ok(())
    }
}

/// The whole picture, enlarged as far as it fits, centred on black.
fn fitted(picture: &RgbImage) -> ImageBuffer<Rgb<u8>, Vec<u8>> {
    let (width_px, height_px) = (picture.width_px(), picture.height_px());
    let mut square = ImageBuffer::new(PICTURE_PX, PICTURE_PX);
    // `RgbImage` has as many bytes as its size says, so this is always `Some`.
    let Some(source) = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(width_px, height_px, picture.data()) else {
        return square;
    };
    let longest_px = width_px.max(height_px);
    let [fit_width, fit_height] = [width_px, height_px].map(|px| (px * PICTURE_PX / longest_px).max(1));
    let fit = imageops::resize(&source, fit_width, fit_height, FilterType::Triangle);
    let corner = [fit_width, fit_height].map(|px| i64::from((PICTURE_PX - px) / 2));
    imageops::replace(&mut square, &fit, corner[0], corner[1]);
    square
}
