//! Bytes to the numbers a vision graph takes.
//!
//! From: a camera picture, or resized bytes. To: the `pixel_values` input, `[3, height, width]` f32. Mean and standard
//! deviation are inside the graph. Source: the official processors multiply in float64 and round once to float32:
//! `f32(u8 * rescale)`; there are only 256 results, so they are looked up.

use super::arithmetic::Arithmetic;
use super::resize::ResizeError;
use super::resize_pillow::BicubicPlan;
use crate::camera::RgbImage;

/// A scale that makes no picture.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "rescale is {found}, expected a finite factor above 0, such as 0.00392156862745098 (1/255); check `[image]` in the bundle"
)]
pub struct RescaleError {
    /// As found.
    pub found: f64,
}

/// What each byte becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelTable {
    values: [f32; 256],
}

impl PixelTable {
    /// `byte * rescale`, computed in float64 and rounded to float32, and from there to what `arithmetic` asks for.
    ///
    /// # Errors
    /// A factor that is not finite and above zero.
    pub fn new(rescale: f64, arithmetic: Arithmetic) -> Result<Self, RescaleError> {
        if !(rescale.is_finite() && rescale > 0.0) {
            return Err(RescaleError { found: rescale });
        }
        let mut values = [0.0; 256];
        for (byte, value) in (0u8..=255).zip(&mut values) {
            *value = arithmetic.round((f64::from(byte) * rescale) as f32);
        }
        Ok(Self { values })
    }

    /// What `byte` becomes.
    #[inline]
    pub fn value(&self, byte: u8) -> f32 {
        self.values[usize::from(byte)]
    }

    /// Every byte in turn; both slices have the same length.
    #[inline]
    pub(super) fn apply(&self, bytes: &[u8], values: &mut [f32]) {
        debug_assert_eq!(bytes.len(), values.len());
        for (value, &byte) in values.iter_mut().zip(bytes) {
            *value = self.value(byte);
        }
    }
}

/// The whole way from a camera picture to `pixel_values`. Makes a new plan when the camera changes its size, and only
/// then.
#[derive(Debug, Clone)]
pub struct PixelInput {
    image_px: [u32; 2],
    table: PixelTable,
    plan: Option<BicubicPlan>,
}

impl PixelInput {
    /// For a model that takes pictures of `image_px` (width, height).
    pub fn new(image_px: [u32; 2], table: PixelTable) -> Self {
        Self { image_px, table, plan: None }
    }

    /// `3 * height * width`.
    pub fn values_len(&self) -> usize {
        3 * self.image_px[0] as usize * self.image_px[1] as usize
    }

    /// Writes `pixel_values`, `[3, height, width]`.
    ///
    /// # Errors
    /// Sizes that cannot be resized, or a buffer that is not [`Self::values_len`] long.
    pub fn write(&mut self, picture: &RgbImage, pixel_values: &mut [f32]) -> Result<(), ResizeError> {
        let source_px = [picture.width_px(), picture.height_px()];
        let plan = match self.plan.take().filter(|plan| plan.source_px() == source_px) {
            Some(plan) => plan,
            None => BicubicPlan::new(source_px, self.image_px)?,
        };
        self.plan.insert(plan).resize_planar(picture, &self.table, pixel_values)
    }
}
