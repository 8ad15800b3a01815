//! The middle 90 % of a picture's area, back at the picture's size, as TensorFlow cuts it out.
//!
//! From: `[height, width, 3]` u8. To: the same shape. Source: the official evaluation scripts of OpenVLA, for
//! checkpoints that were trained with random crops: `tf.image.crop_and_resize`, bilinear with corners on corners,
//! float32 throughout. `runtime/tests/perception_evaluation.rs` compares with what TensorFlow made.

use super::resize::{ResizeError, check_lengths, check_sides};
use std::array::from_fn;

/// Share of the picture's area that is kept.
const AREA_KEPT: f32 = 0.9;

/// One size of picture: where every pixel comes from. No frame allocates.
#[derive(Debug, Clone)]
pub struct CenterCrop {
    size_px: [u32; 2],
    rows: Vec<Place>,
    columns: Vec<Place>,
}

/// Between which two source pixels a target pixel lies.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    near: usize,
    far: usize,
    /// How far from `near`, 0 to 1.
    part: f32,
}

impl CenterCrop {
    /// For pictures of `size_px` (width, height).
    ///
    /// # Errors
    /// A side of zero or above [`crate::camera::SIDE_PX_MAX`].
    pub fn new(size_px: [u32; 2]) -> Result<Self, ResizeError> {
        check_sides(size_px, size_px)?;
        Ok(Self { size_px, rows: places(size_px[1]), columns: places(size_px[0]) })
    }

    /// Crops into `target`, `[height, width, 3]`.
    ///
    /// # Errors
    /// A buffer of another length than the plan's.
    pub fn crop(&self, source: &[u8], target: &mut [u8]) -> Result<(), ResizeError> {
        check_lengths(self.size_px, self.size_px, source.len(), target.len())?;
        for (pixel, values) in target.as_chunks_mut().0.iter_mut().zip(self.pixels(source)) {
            *pixel = values.map(|value| (value * 255.5) as u8); // a cast from float saturates
        }
        Ok(())
    }

    /// The same in 0..=1 before it becomes u8; for comparisons.
    ///
    /// # Errors
    /// A picture of another length than the plan's.
    pub fn values(&self, source: &[u8]) -> Result<Vec<f32>, ResizeError> {
        check_lengths(self.size_px, self.size_px, source.len(), source.len())?;
        Ok(self.pixels(source).flatten().collect())
    }

    fn pixels<'a>(&'a self, source: &'a [u8]) -> impl Iterator<Item = [f32; 3]> + 'a {
        const UNIT: f32 = 1.0 / 255.0;
        let pixels = source.as_chunks::<3>().0;
        let width = self.size_px[0] as usize;
        let at = move |row: usize, column: usize| pixels[row * width + column].map(|byte| f32::from(byte) * UNIT);
        let between = |near: [f32; 3], far: [f32; 3], part: f32| from_fn(|i| near[i] + (far[i] - near[i]) * part);
        let row = move |row: &'a Place| {
            self.columns.iter().map(move |column| {
                let line = |y| between(at(y, column.near), at(y, column.far), column.part);
                between(line(row.near), line(row.far), row.part).map(|value: f32| value.clamp(0.0, 1.0))
            })
        };
        self.rows.iter().flat_map(row)
    }
}

/// Where `size` pixels lie in the middle of as many.
fn places(size: u32) -> Vec<Place> {
    let side = AREA_KEPT.sqrt();
    let low = (1.0 - side) / 2.0;
    let high = low + side;
    let last = (size - 1) as f32;
    let place = |index: u32| {
        // A single pixel is the middle of what is kept.
        let at = if size > 1 { low * last + index as f32 * ((high - low) * last / last) } else { 0.0 };
        Place { near: at.floor() as usize, far: at.ceil() as usize, part: at - at.floor() }
    };
    (0..size).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_lies_inside_the_picture() {
        for size in 1..=8192 {
            let places = places(size);
            assert!(places.iter().all(|place| place.near <= place.far && place.far < size as usize), "{size} px");
            assert!(places.is_sorted_by(|a, b| a.near <= b.near), "{size} px");
        }
    }
}
