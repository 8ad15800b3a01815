//! How much room a disk has, and which old recordings go when a directory is at its limit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every recording in a directory is called `egogrid-<UTC time>-<number>.mcap`: by name is by age.
pub(super) const PREFIX: &str = "egogrid-";
pub(super) const ENDING: &str = ".mcap";

/// Bytes that are free for this user on the disk of `path`.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Recordings in `dir` and their sizes, oldest first. Files of others are not looked at.
pub(super) fn recordings(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(ENDING));
        if ours && entry.file_type()?.is_file() {
            found.push((entry.path(), entry.metadata()?.len()));
        }
    }
    found.sort();
    Ok(found)
}

/// Deletes the oldest recordings in `dir` until the rest takes at most `bytes_max`. How many.
pub(super) fn make_room(dir: &Path, bytes_max: u64) -> io::Result<u64> {
    let found = recordings(dir)?;
    let mut total: u64 = found.iter().map(|(_, bytes)| bytes).sum();
    let mut deleted = 0;
    for (path, bytes) in found {
        if total <= bytes_max {
            break;
        }
        fs::remove_file(&path)?;
        tracing::info!("{} deleted: the recordings are at their limit of disk", path.display());
        total -= bytes;
        deleted += 1;
    }
    Ok(deleted)
}
