//! What the graphs of this family must look like, against the tables of a manifest.
//!
//! From: `bundle.toml`. To: [`super::session`], which then binds tensors by names that are known to be there.

use crate::bundle::manifest::{DepthSource, Ego3dSpec, SpatialVlaTables};
use crate::bundle::{BundleError, Manifest};
use crate::graph_tables::{check_language, check_names, f32_tensor, require, width};
use egogrid_runtime::execution::{Dim, Element, Flavour, TensorSpec};

/// The depth estimator's graph.
pub(super) const ESTIMATOR: &str = "depth";
/// Its metric depth, `[1, height, width]` at the size of `pixel_values`.
pub(super) const ESTIMATED_DEPTH: &str = "depth_m";
/// How its other outputs begin: stages by which a check names what differs.
const ESTIMATOR_STAGES: &str = "zoe_";
const ESTIMATOR_OUTPUTS_MAX: usize = 16;

/// Checks names, types and shapes of every graph in the manifest.
pub(crate) fn check_tables(manifest: &Manifest, own: &SpatialVlaTables) -> Result<(), BundleError> {
    let estimated = own.depth.sources.contains(&DepthSource::Estimated);
    let names = [ESTIMATOR, "vision", "prefill", "decode"];
    check_names(manifest, &names[usize::from(!estimated)..])?;
    let features = width(manifest, "vision", "image_features")?;
    let hidden = width(manifest, "vision", "siglip_last_hidden")?;
    let rows = manifest.prompt.image_tokens;
    let image = &manifest.image;
    for flavour in manifest.flavours() {
        let batch = manifest.batch(flavour);
        let pixels = f32_tensor("pixel_values", &[batch, 3, image.height_px, image.width_px]);
        let encoding = f32_tensor("freq_encoding", &[batch, rows, encoding_width(&own.ego3d)]);
        let feature_rows = f32_tensor("image_features", &[batch, rows, features]);
        let halves = ["siglip_last_hidden", "pos_embed_3d"].map(|name| f32_tensor(name, &[batch, rows, hidden]));
        let (inputs, outputs) = ([pixels.clone(), encoding], [[feature_rows].as_slice(), &halves].concat());
        if estimated {
            check_estimator(manifest, flavour, &pixels)?;
        }
        require(manifest, flavour, "vision", &inputs, &outputs)?;
        check_language(manifest, flavour, features)?;
    }
    Ok(())
}

/// Pixels to depth of the same size; any further output must be one that a check can compare.
fn check_estimator(manifest: &Manifest, flavour: Flavour, pixels: &TensorSpec) -> Result<(), BundleError> {
    let image = &manifest.image;
    let depth = f32_tensor(ESTIMATED_DEPTH, &[1, image.height_px, image.width_px]);
    let outputs = manifest.graph(flavour, ESTIMATOR).map_or(&[][..], |table| &table.outputs);
    let stage = |spec: &&TensorSpec| {
        let fixed = spec.shape.iter().all(|dim| matches!(dim, Dim::Fixed(1..)));
        spec.name.starts_with(ESTIMATOR_STAGES) && spec.dtype == Element::F32 && fixed
    };
    let stages = outputs.iter().filter(stage).take(ESTIMATOR_OUTPUTS_MAX).cloned();
    let expected: Vec<TensorSpec> = std::iter::once(depth).chain(stages).collect();
    require(manifest, flavour, ESTIMATOR, std::slice::from_ref(pixels), &expected)
}

/// Numbers per patch after the frequency encoding: a value, its sines and its cosines, for three axes of every sample.
pub(super) fn encoding_width(ego3d: &Ego3dSpec) -> u32 {
    ego3d.samples_per_patch_side.pow(2) * 3 * (1 + 2 * ego3d.frequency_count)
}
