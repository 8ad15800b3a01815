//! What the graphs of this family must look like, against the tables of a manifest.
//!
//! From: `bundle.toml`. To: [`super::session`], which then binds tensors by names that are known to be there.

use crate::bundle::manifest::{Ego3dSpec, SpatialVlaTables};
use crate::bundle::{BundleError, Manifest};
use crate::graph_tables::{check_language, check_names, f32_tensor, require, width};

/// Checks names, types and shapes of every graph in the manifest.
pub(crate) fn check_tables(manifest: &Manifest, own: &SpatialVlaTables) -> Result<(), BundleError> {
    check_names(manifest, &["vision", "prefill", "decode"])?;
    let features = width(manifest, "vision", "image_features")?;
    let hidden = width(manifest, "vision", "siglip_last_hidden")?;
    let rows = manifest.prompt.image_tokens;
    let image = &manifest.image;
    let pixels = f32_tensor("pixel_values", &[1, 3, image.height_px, image.width_px]);
    let encoding = f32_tensor("freq_encoding", &[1, rows, encoding_width(&own.ego3d)]);
    let feature_rows = f32_tensor("image_features", &[1, rows, features]);
    let halves = ["siglip_last_hidden", "pos_embed_3d"].map(|name| f32_tensor(name, &[1, rows, hidden]));
    require(manifest, "vision", &[pixels, encoding], &[[feature_rows].as_slice(), &halves].concat())?;
    check_language(manifest, features)
}

/// Numbers per patch after the frequency encoding: a value, its sines and its cosines, for three axes of every sample.
pub(super) fn encoding_width(ego3d: &Ego3dSpec) -> u32 {
    ego3d.samples_per_patch_side.pow(2) * 3 * (1 + 2 * ego3d.frequency_count)
}
