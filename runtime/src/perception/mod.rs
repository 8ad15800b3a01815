//! Pure functions that policy families call in their own order: pixels and geometry in, model inputs out.
//!
//! ```text
//! RgbImage   ──► resize_pillow (or resize_area) ──► pixel_norm ──► pixel_values [3, height, width]
//! DepthImage ──► depth ──► ego3d (with intrinsics) ──► points_m [patches, s*s*3]
//!                                              └──► freq_encoding [patches, s*s*3*(1+2n)]
//! ```
//! Every plan is made once for its sizes and then reused: after the first frame nothing here allocates.

pub mod arithmetic;
pub mod depth;
pub mod ego3d;
mod encoding;
mod fill;
pub mod pixel_norm;
pub mod resize;
pub mod resize_area;
mod resize_area_tables;
pub mod resize_pillow;
mod resize_pillow_taps;
