//! Bounds of what only OpenVLA has in its manifest.

use super::super::error::BundleError;
use super::super::manifest::{Manifest, OpenVlaTables, SquareStrategy};
use super::within;
use egogrid_action_grids::ActionBins;
use egogrid_action_grids::row::ROW_DIMS_MAX;

/// Most vision towers.
const TOWERS_MAX: u32 = 4;

/// Checks every number against its bounds and against those that every family has.
pub(super) fn check(manifest: &Manifest, tables: &OpenVlaTables) -> Result<(), BundleError> {
    check_square(manifest, tables)?;
    let vocabulary_size = manifest.tokens.vocabulary_size;
    within("prompt.final_id", tables.prompt.final_id, 0, vocabulary_size - 1)?;
    within("tokens.action_end_id", tables.tokens.action_end_id, 1, vocabulary_size)?;
    bins(manifest, tables)?;
    within("chunk.length", u32::from(manifest.chunk.length), 1, 1)?;
    // How many tokens an action has stands in the statistics; there it is compared again, exactly.
    let prompt = manifest.prompt.image_tokens + manifest.prompt.text_tokens_max;
    within("cache.capacity", manifest.cache.capacity, prompt + 1, prompt + ROW_DIMS_MAX as u32)
}

/// The bins of a manifest.
pub(in super::super) fn bins(manifest: &Manifest, tables: &OpenVlaTables) -> Result<ActionBins, BundleError> {
    let tokens = &tables.tokens;
    Ok(ActionBins::new(tokens.bins, tokens.action_end_id, manifest.prompt.eos_id)?)
}

fn check_square(manifest: &Manifest, tables: &OpenVlaTables) -> Result<(), BundleError> {
    let (size, own) = (&manifest.image, &tables.image);
    if size.width_px != size.height_px {
        let found = format!("{}x{} px", size.width_px, size.height_px);
        return Err(BundleError::field("[image]", found, "a square"));
    }
    let has_fill = own.letterbox_fill.is_some();
    if has_fill != (own.strategy == SquareStrategy::Letterbox) {
        let found = if has_fill { "there" } else { "missing" };
        return Err(BundleError::field("image.letterbox_fill", found, "a colour with letterbox, and only then"));
    }
    within("image.towers entries", own.towers.len() as u32, 1, TOWERS_MAX)?;
    for tower in &own.towers {
        if !tower.mean.iter().all(|mean| mean.is_finite()) {
            return Err(BundleError::field("image.towers.mean", format!("{:?}", tower.mean), "three finite numbers"));
        }
        if !tower.std.iter().all(|std| *std > 0.0 && std.is_finite()) {
            return Err(BundleError::field("image.towers.std", format!("{:?}", tower.std), "three numbers above 0"));
        }
    }
    Ok(())
}
