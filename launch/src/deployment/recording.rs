//! `[recording]` of a deployment file: where, how much is kept, how much room stays for others.

use super::File;
use crate::exit::CommandResult;
use egogrid_sim_bridge::recording::RecordingRules;
use serde::Deserialize;
use std::path::PathBuf;

/// Largest bound that can be meant, MiB.
const MIB_MAX: u64 = 1 << 24;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordingConfig {
    dir: PathBuf,
    file_mb_max: u64,
    disk_mb_max: u64,
    free_mb_min: u64,
}

/// What is kept where.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Directory of the files.
    pub dir: PathBuf,
    /// Bounds.
    pub rules: RecordingRules,
}

impl RecordingConfig {
    pub(super) fn checked(self, file: &File<'_>) -> CommandResult<Recording> {
        const SECTION: &str = "recording";
        let bytes = |key: &str, mib: u64, mib_min: u64| {
            let allowed = format!("{mib_min} to {MIB_MAX} MiB");
            let fits = (mib_min..=MIB_MAX).contains(&mib);
            fits.then_some(mib << 20).ok_or_else(|| file.wrong(SECTION, key, mib, allowed))
        };
        let file_bytes_max = bytes("file_mb_max", self.file_mb_max, 8)?;
        // Two files: the one that is written and the one before it, else a rotation would leave next to nothing.
        let disk_bytes_max = bytes("disk_mb_max", self.disk_mb_max, 2 * self.file_mb_max)?;
        // The index of a file is written when the room for messages is used up.
        let free_bytes_min = bytes("free_mb_min", self.free_mb_min, 16)?;
        let rules = RecordingRules { file_bytes_max, disk_bytes_max, free_bytes_min, ..RecordingRules::default() };
        Ok(Recording { dir: file.beside(&self.dir), rules })
    }
}
