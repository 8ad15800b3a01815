//! Names, sizes and digests of the files in a bundle's directory.

use super::error::BundleError;
use super::manifest::{FileEntry, Manifest};
use super::{MANIFEST_FILE, limits};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

const CHUNK_BYTES: usize = 1 << 18;

/// How much of a bundle has been verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// So far.
    pub bytes_done: u64,
    /// In all.
    pub bytes_total: u64,
}

/// Exactly the listed files, each a regular file of the listed size.
pub(super) fn check_listing(dir: &Path, manifest: &Manifest) -> Result<(), BundleError> {
    for entry in &manifest.files {
        // Links are not followed: what they point to can change without the bundle changing.
        let found = match fs::symlink_metadata(dir.join(&entry.path)) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => return Err(BundleError::MissingFile { file: entry.path.clone() }),
        };
        if found != entry.bytes {
            return Err(BundleError::WrongSize { file: entry.path.clone(), found, expected: entry.bytes });
        }
    }
    let read = |source| BundleError::Read { path: dir.to_path_buf(), source };
    for (count, found) in fs::read_dir(dir).map_err(read)?.enumerate() {
        let name = found.map_err(read)?.file_name().to_string_lossy().into_owned();
        if count > limits::FILES_MAX || (name != MANIFEST_FILE && manifest.file(&name).is_none()) {
            return Err(BundleError::UnlistedFile { file: name });
        }
    }
    Ok(())
}

/// Every file against its digest, small ones first.
pub(super) fn verify_all(
    dir: &Path,
    manifest: &Manifest,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), BundleError> {
    let mut entries: Vec<&FileEntry> = manifest.files.iter().collect();
    entries.sort_by_key(|entry| entry.bytes);
    let bytes_total = entries.iter().map(|entry| entry.bytes).sum();
    let mut bytes_done = 0;
    let mut buffer = vec![0; CHUNK_BYTES];
    for entry in entries {
        let hash = hash_of(&dir.join(&entry.path), &mut buffer, &mut |count| {
            bytes_done += count;
            progress(Progress { bytes_done, bytes_total });
        })?;
        require_digest(entry, hash)?;
    }
    Ok(())
}

/// Size and digest of a file.
pub(super) fn measured(path: &Path) -> Result<(u64, String), BundleError> {
    let (mut buffer, mut bytes) = (vec![0; CHUNK_BYTES], 0);
    let hash = hash_of(path, &mut buffer, &mut |count| bytes += count)?;
    Ok((bytes, hexadecimal(hash)))
}

/// `read` is told of the bytes as they come.
fn hash_of(path: &Path, buffer: &mut [u8], read: &mut dyn FnMut(u64)) -> Result<Sha256, BundleError> {
    let failed = |source| BundleError::Read { path: path.to_path_buf(), source };
    let (mut file, mut hash) = (File::open(path).map_err(failed)?, Sha256::new());
    loop {
        let count = match file.read(buffer) {
            Ok(0) => return Ok(hash),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        hash.update(&buffer[..count]);
        read(count as u64);
    }
}

/// The contents of a listed file, of exactly the listed size and digest.
pub(super) fn read_verified(
    dir: &Path,
    manifest: &Manifest,
    file: &str,
    bytes_max: u64,
) -> Result<Vec<u8>, BundleError> {
    let entry = manifest.file(file).ok_or_else(|| BundleError::MissingFile { file: file.to_owned() })?;
    let bytes = read_limited(&dir.join(file), bytes_max)?;
    require_digest(entry, Sha256::new_with_prefix(&bytes))?;
    Ok(bytes)
}

/// The contents of a file, if it is not larger than `bytes_max`.
pub(super) fn read_limited(path: &Path, bytes_max: u64) -> Result<Vec<u8>, BundleError> {
    let read = |source| BundleError::Read { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    // One more than allowed: a file that grows while it is read is noticed too.
    let count = File::open(path).map_err(read)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(read)?;
    if count as u64 > bytes_max {
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        return Err(BundleError::TooLarge { file, bytes: count as u64, bytes_max });
    }
    Ok(bytes)
}

fn require_digest(entry: &FileEntry, hash: Sha256) -> Result<(), BundleError> {
    let found = hexadecimal(hash);
    if found == entry.sha256 {
        return Ok(());
    }
    Err(BundleError::Altered { file: entry.path.clone(), found, expected: entry.sha256.clone() })
}

/// Lower-case hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes everything
        text
    })
}
