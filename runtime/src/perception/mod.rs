//! Pure functions that policy families call in their own order: pixels and geometry in, model inputs out.
//!
//! ```text
//! RgbImage   ──► resize_pillow (or resize_area) ──► pixel_norm ──► pixel_values [3, height, width]
//! RgbImage  (──► evaluation: jpeg, lanczos, center_crop) ──► square ──► towers ──► pixel_values [3 * towers, side, side]
//! DepthImage ──► depth ──► ego3d (with intrinsics) ──► points_m [patches, s*s*3]
//!                                              └──► freq_encoding [patches, s*s*3*(1+2n)]
//! ```
//! Every plan is made once for its sizes and then reused: after the first frame nothing here allocates.

pub mod arithmetic;
pub mod center_crop;
pub mod depth;
pub mod ego3d;
mod encoding;
pub mod evaluation;
mod fill;
pub mod jpeg;
mod jpeg_blocks;
pub mod lanczos;
pub mod pixel_norm;
pub mod resize;
pub mod resize_area;
mod resize_area_tables;
pub mod resize_pillow;
mod resize_pillow_taps;
pub mod square;
pub mod towers;
