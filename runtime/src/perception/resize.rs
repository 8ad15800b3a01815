//! What both resizers share: which sizes they take and what they answer to the wrong ones.
//!
//! From: pictures `[height, width, 3]` u8. To: [`super::resize_pillow`], [`super::resize_area`], [`super::pixel_norm`].

use crate::camera::{RgbImage, SIDE_PX_MAX};

/// Why a picture was not resized.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ResizeError {
    /// A side of zero, or larger than any picture that is accepted.
    #[error(
        "cannot resize {source_px:?} px to {target_px:?} px (width, height): every side must be 1..={side_px_max}; \
             check the camera's size and `[image]` in the bundle"
    )]
    BadSide {
        /// Width, height.
        source_px: [u32; 2],
        /// Width, height.
        target_px: [u32; 2],
        /// Limit.
        side_px_max: u32,
    },
    /// The plan was made for another picture.
    #[error(
        "this plan resizes pictures of {expected:?} px (width, height), found {found:?}; make a plan for that size"
    )]
    OtherSource {
        /// Of the plan.
        expected: [u32; 2],
        /// Of the picture.
        found: [u32; 2],
    },
    /// A buffer has the wrong length.
    #[error("a picture needs a buffer of {expected} values, found {found}; size it as 3 * height * width")]
    Length {
        /// Values needed.
        expected: usize,
        /// Values there.
        found: usize,
    },
}

pub(super) fn check_sides(source_px: [u32; 2], target_px: [u32; 2]) -> Result<(), ResizeError> {
    if source_px.into_iter().chain(target_px).all(|side| (1..=SIDE_PX_MAX).contains(&side)) {
        Ok(())
    } else {
        Err(ResizeError::BadSide { source_px, target_px, side_px_max: SIDE_PX_MAX })
    }
}

/// Both buffers hold `[height, width, 3]` of their sizes.
pub(super) fn check_lengths(
    source_px: [u32; 2],
    target_px: [u32; 2],
    source_len: usize,
    target_len: usize,
) -> Result<(), ResizeError> {
    for (size_px, found) in [(source_px, source_len), (target_px, target_len)] {
        let expected = 3 * size_px[0] as usize * size_px[1] as usize;
        if found != expected {
            return Err(ResizeError::Length { expected, found });
        }
    }
    Ok(())
}

pub(super) fn check_frame(
    expected_px: [u32; 2],
    target_px: [u32; 2],
    source: &RgbImage,
    target_len: usize,
) -> Result<(), ResizeError> {
    let found = [source.width_px(), source.height_px()];
    if found != expected_px {
        return Err(ResizeError::OtherSource { expected: expected_px, found });
    }
    check_lengths(expected_px, target_px, source.data().len(), target_len)
}
