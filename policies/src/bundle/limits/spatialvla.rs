//! Bounds of what only SpatialVLA has in its manifest.

use super::super::error::BundleError;
use super::super::manifest::{CellSpec, DepthSource, Ego3dSpec, Manifest, SpatialVlaTables};
use super::{check_capacity, within};
use egogrid_action_grids::TOKENS_PER_ACTION;
use egogrid_runtime::perception::depth::CELLS_MAX;
use egogrid_runtime::perception::ego3d::FREQUENCIES_MAX;

const PATCHES_PER_SIDE_MAX: u32 = 256;
const SAMPLES_PER_SIDE_MAX: u32 = 16;

/// Checks every number against its bounds and against those that every family has.
pub(super) fn check(manifest: &Manifest, tables: &SpatialVlaTables) -> Result<(), BundleError> {
    let rescale = tables.image.rescale;
    if !(rescale > 0.0 && rescale <= 1.0) {
        return Err(BundleError::field("image.rescale", rescale, "more than 0, at most 1"));
    }
    let sources = &tables.depth.sources;
    let known: [&[DepthSource]; 3] =
        [&[DepthSource::Sensor], &[DepthSource::Estimated], &[DepthSource::Sensor, DepthSource::Estimated]];
    if !known.contains(&sources.as_slice()) {
        return Err(BundleError::field(
            "depth.sources",
            format!("{sources:?}"),
            "sensor, estimated or both, in this order",
        ));
    }
    check_ego3d(manifest, &tables.ego3d)?;
    check_cells(manifest, &tables.tokens)?;
    check_capacity(manifest, TOKENS_PER_ACTION as u32 * u32::from(manifest.chunk.length))
}

fn check_ego3d(manifest: &Manifest, ego3d: &Ego3dSpec) -> Result<(), BundleError> {
    let image = &manifest.image;
    within("ego3d.patch_rows", ego3d.patch_rows, 1, PATCHES_PER_SIDE_MAX)?;
    within("ego3d.patch_cols", ego3d.patch_cols, 1, PATCHES_PER_SIDE_MAX)?;
    within("ego3d.samples_per_patch_side", ego3d.samples_per_patch_side, 1, SAMPLES_PER_SIDE_MAX)?;
    within("ego3d.frequency_count", ego3d.frequency_count, 1, FREQUENCIES_MAX)?;
    let divides = |side_px: u32, patches: u32| side_px.is_multiple_of(patches * ego3d.samples_per_patch_side);
    if !(divides(image.width_px, ego3d.patch_cols) && divides(image.height_px, ego3d.patch_rows)) {
        let found = format!(
            "{}x{} patches of {} samples a side",
            ego3d.patch_rows, ego3d.patch_cols, ego3d.samples_per_patch_side
        );
        return Err(BundleError::field(
            "ego3d",
            found,
            format!("a divisor of {}x{} px", image.height_px, image.width_px),
        ));
    }
    let cells = ego3d.patch_rows * ego3d.patch_cols * ego3d.samples_per_patch_side.pow(2);
    within("ego3d sample points", cells, 1, CELLS_MAX)?;
    if !ego3d.center_m.iter().all(|value| value.is_finite()) {
        return Err(BundleError::field("ego3d.center_m", format!("{:?}", ego3d.center_m), "three finite numbers"));
    }
    if !(ego3d.scale_m > 0.0 && ego3d.scale_m.is_finite()) {
        return Err(BundleError::field("ego3d.scale_m", ego3d.scale_m, "a finite number above 0"));
    }
    let patches = ego3d.patch_rows * ego3d.patch_cols;
    within("prompt.image_tokens", manifest.prompt.image_tokens, patches, patches)
}

fn check_cells(manifest: &Manifest, tokens: &CellSpec) -> Result<(), BundleError> {
    let vocabulary_size = manifest.tokens.vocabulary_size;
    let cells = [tokens.translation_cells, tokens.rotation_cells, tokens.gripper_cells];
    let end = cells.into_iter().try_fold(tokens.action_begin_id, u32::checked_add);
    if cells.contains(&0) || end.is_none_or(|end| end > vocabulary_size) {
        let found = format!("{cells:?} cells from id {}", tokens.action_begin_id);
        return Err(BundleError::field(
            "tokens",
            found,
            format!("at least one of each, inside {} ids", vocabulary_size),
        ));
    }
    Ok(())
}
