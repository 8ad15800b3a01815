//! A new bundle made of another one: a copy in which some files are replaced, listed anew, and renamed when it is whole.
//!
//! From: a verified [`Bundle`] and what is to be different. To: a directory of the same format, under its name only when nothing is missing.

use super::error::BundleError;
use super::{Bundle, DIGEST_PREFIX, MANIFEST_FILE, files, limits};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The copy while it is worked on. Dropped unfinished, it is removed.
pub(crate) struct Draft {
    work: PathBuf,
    target: PathBuf,
    table: toml::Table,
    /// Files that are no longer as the manifest lists them: the others are not read again.
    changed: BTreeSet<String>,
}

impl Draft {
    /// Copies all of `bundle` to a sibling of `target`, which must not exist.
    pub(crate) fn copy_of(bundle: &Bundle, target: &Path) -> Result<Self, BundleError> {
        if target.exists() {
            return Err(BundleError::Taken { path: target.to_path_buf() });
        }
        let bytes = files::read_limited(&bundle.path(MANIFEST_FILE), limits::MANIFEST_BYTES_MAX)?;
        let malformed = |detail: String| BundleError::Manifest { detail };
        let text = str::from_utf8(&bytes).map_err(|error| malformed(error.to_string()))?;
        let table = text.parse().map_err(|error: toml::de::Error| malformed(error.to_string()))?;
        let work = sibling(target)?;
        fs::create_dir(&work).map_err(|source| BundleError::Write { path: work.clone(), source })?;
        let draft = Self { work, target: target.to_path_buf(), table, changed: BTreeSet::new() };
        for entry in &bundle.manifest().files {
            let path = draft.work.join(&entry.path);
            fs::copy(bundle.path(&entry.path), &path).map_err(|source| BundleError::Write { path, source })?;
        }
        Ok(draft)
    }

    /// Where it lies for now.
    pub(crate) fn dir(&self) -> &Path {
        &self.work
    }

    /// One of its files, to be changed in place.
    pub(crate) fn path_to_change(&mut self, file: &str) -> PathBuf {
        self.changed.insert(file.to_owned());
        self.work.join(file)
    }

    /// Replaces a file.
    pub(crate) fn write(&mut self, file: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let path = self.path_to_change(file);
        fs::write(&path, bytes).map_err(|source| BundleError::Write { path, source })
    }

    /// Replaces a table of the manifest.
    pub(crate) fn set_table(&mut self, name: &str, table: toml::Table) {
        self.table.insert(name.to_owned(), toml::Value::Table(table));
    }

    /// Lists every changed file as it is now and writes the manifest: from here on the draft can be opened as a bundle.
    pub(crate) fn sign(&mut self) -> Result<(), BundleError> {
        let unwritable = |detail: String| BundleError::Manifest { detail };
        let Some(entries) = self.table.get_mut("files").and_then(toml::Value::as_array_mut) else {
            return Err(unwritable("there is no list of files".to_owned()));
        };
        for entry in entries.iter_mut().filter_map(toml::Value::as_table_mut) {
            let Some(name) = entry.get("path").and_then(toml::Value::as_str) else { continue };
            if !self.changed.contains(name) {
                continue;
            }
            let (bytes, sha256) = files::measured(&self.work.join(name))?;
            let bytes = i64::try_from(bytes).map_err(|error| unwritable(error.to_string()))?;
            entry.insert("bytes".to_owned(), toml::Value::Integer(bytes));
            entry.insert("sha256".to_owned(), toml::Value::String(sha256));
        }
        let body = toml::to_string(&self.table).map_err(|error| unwritable(error.to_string()))?;
        let first = [DIGEST_PREFIX, files::sha256(body.as_bytes()).as_bytes(), b"\n"].concat();
        self.write(MANIFEST_FILE, &[first.as_slice(), body.as_bytes()].concat())?;
        self.changed.clear();
        Ok(())
    }

    /// Gives it its name.
    pub(crate) fn finish(self) -> Result<(), BundleError> {
        // Somebody may have taken the name meanwhile: an empty directory would be replaced without a word.
        if self.target.exists() {
            return Err(BundleError::Taken { path: self.target.clone() });
        }
        let moved = fs::rename(&self.work, &self.target);
        moved.map_err(|source| BundleError::Write { path: self.target.clone(), source })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there any more once it has its name; what cannot be removed otherwise is told, and is nobody's bundle.
        if let Err(error) = fs::remove_dir_all(&self.work)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.work.display(), %error, "an unfinished bundle could not be removed");
        }
    }
}

fn sibling(target: &Path) -> Result<PathBuf, BundleError> {
    let Some(name) = target.file_name() else {
        let source = std::io::Error::other("it has no name");
        return Err(BundleError::Write { path: target.to_path_buf(), source });
    };
    Ok(target.with_file_name(format!(".{}.part-{}", name.to_string_lossy(), std::process::id())))
}
