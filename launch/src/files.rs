//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes `path`, forced to the disk, through a sibling `NAME.part` that nothing is left of.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_added_extension("part");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&part, path)).inspect_err(|_| {
        // Half a file helps nobody; that it cannot be removed either adds nothing.
        let _ = fs::remove_file(&part);
    })
}
