//! What the graphs of this family must look like, against the tables of a manifest.
//!
//! From: `bundle.toml`. To: [`super::session`], which then binds tensors by names that are known to be there.

use crate::bundle::manifest::OpenVlaTables;
use crate::bundle::{BundleError, Manifest};
use crate::graph_tables::{check_language, check_names, f32_tensor, require, width};

/// Checks names, types and shapes of every graph in the manifest.
pub(crate) fn check_tables(manifest: &Manifest, own: &OpenVlaTables) -> Result<(), BundleError> {
    check_names(manifest, &["vision", "prefill", "decode"])?;
    let features = width(manifest, "vision", "image_features")?;
    let patches = width(manifest, "vision", "patch_features")?;
    let (image, rows) = (&manifest.image, manifest.prompt.image_tokens);
    let channels = 3 * own.image.towers.len() as u32;
    let pixels = f32_tensor("pixel_values", &[1, channels, image.height_px, image.width_px]);
    let outputs = [("image_features", features), ("patch_features", patches)];
    let outputs = outputs.map(|(name, width)| f32_tensor(name, &[1, rows, width]));
    for flavour in manifest.flavours() {
        require(manifest, flavour, "vision", std::slice::from_ref(&pixels), &outputs)?;
        check_language(manifest, flavour, features)?;
    }
    Ok(())
}
