//! In which precision geometry and pixels are handed to the model.
//!
//! From: the bundle's wish. To: [`super::ego3d`] and [`super::pixel_norm`].
//! Source: the official SpatialVLA code runs in bfloat16 and rounds its inputs on the way; a float32 run does not.

use half::bf16;

/// Whether to compute as a float32 run does, or to round where the official bfloat16 run rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// Nothing is rounded below float32. The saner reference.
    F32,
    /// Pixel values, camera matrix, pixel centres, depth, normalized coordinates and their sines are rounded to
    /// bfloat16.
    Bf16Emulation,
}

impl Arithmetic {
    /// `value` as it is, or rounded to the nearest bfloat16 (ties to even). NaN stays NaN.
    #[inline]
    #[must_use]
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::Bf16Emulation => bf16::from_f32(value).to_f32(),
        }
    }
}
