//! Where a shared library would come from, before anything is loaded.
//!
//! The order is that of a process that first loads what lies beside `libonnxruntime.so` (see [`super::Chain::preload`])
//! and then leaves the rest to the system's loader: `DT_RUNPATH` of the library that needs it, `LD_LIBRARY_PATH`, the
//! loader's cache, the system's directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const SYSTEM_DIRECTORIES: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// The places of this process.
#[derive(Debug, Clone)]
pub(super) struct Search {
    beside: PathBuf,
    library_path: Vec<PathBuf>,
    cache: BTreeMap<String, PathBuf>,
}

impl Search {
    /// `beside`: the directory of `libonnxruntime.so`.
    pub(super) fn new(beside: &Path) -> Self {
        let library_path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let library_path = std::env::split_paths(&library_path).filter(|dir| !dir.as_os_str().is_empty());
        Self { beside: beside.to_path_buf(), library_path: library_path.collect(), cache: loader_cache() }
    }

    /// The directory of `libonnxruntime.so`.
    pub(super) fn beside(&self) -> &Path {
        &self.beside
    }

    /// Where library `name` comes from; `own` are directories that whoever needs it names itself.
    pub(super) fn find(&self, name: &str, own: &[PathBuf]) -> Option<PathBuf> {
        let in_dir = |dir: &PathBuf| Some(dir.join(name)).filter(|file| file.is_file());
        let before = std::iter::once(&self.beside).chain(own).chain(&self.library_path);
        before
            .filter_map(in_dir)
            .next()
            .or_else(|| self.cache.get(name).filter(|file| file.is_file()).cloned())
            .or_else(|| SYSTEM_DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(|file| file.is_file()))
    }

    /// Everywhere that [`Self::find`] looks.
    pub(super) fn places(&self, own: &[PathBuf]) -> Vec<String> {
        let mut places: Vec<String> = std::iter::once(&self.beside)
            .chain(own)
            .chain(&self.library_path)
            .map(|dir| dir.display().to_string())
            .collect();
        places.dedup();
        if self.library_path.is_empty() {
            places.push("LD_LIBRARY_PATH (not set)".to_owned());
        }
        places.push(format!("the loader's cache ({} libraries)", self.cache.len()));
        places.extend(SYSTEM_DIRECTORIES.map(str::to_owned));
        places
    }
}

/// Digits of the file's name after `.so.`, links resolved: `libcuda.so.1` is a link to `libcuda.so.580.65.06`.
pub(super) fn version_of(file: &Path) -> Option<String> {
    let real = file.canonicalize().ok()?;
    let name = real.file_name()?.to_string_lossy().into_owned();
    let (_, version) = name.split_once(".so.")?;
    let digits = version.chars().all(|character| character.is_ascii_digit() || character == '.');
    (digits && !version.is_empty()).then(|| version.to_owned())
}

/// What `ldconfig -p` prints; empty where there is no such program, and then only directories are searched.
fn loader_cache() -> BTreeMap<String, PathBuf> {
    let printed = ["ldconfig", "/sbin/ldconfig"].iter().find_map(|program| {
        let output = Command::new(program).arg("-p").output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    parse_cache(&printed.unwrap_or_default())
}

/// Lines are `libfoo.so.1 (libc6,x86-64) => /usr/lib/libfoo.so.1`; the first of a name wins, as in the loader.
fn parse_cache(text: &str) -> BTreeMap<String, PathBuf> {
    let foreign = if cfg!(target_pointer_width = "64") { "libc6)" } else { "libc6,x86-64)" };
    let mut cache = BTreeMap::new();
    for line in text.lines() {
        let Some((head, path)) = line.trim().split_once(" => ") else { continue };
        let Some((name, kind)) = head.split_once(" (") else { continue };
        if kind != foreign {
            cache.entry(name.to_owned()).or_insert_with(|| PathBuf::from(path));
        }
    }
    cache
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_library_of_a_name_and_of_this_word_size_wins() {
        let text = "3 libs found in cache\n\tliba.so.1 (libc6) => /lib32/liba.so.1\n\
                    \tliba.so.1 (libc6,x86-64) => /lib64/liba.so.1\n\tliba.so.1 (libc6,x86-64) => /other/liba.so.1\n";
        let cache = parse_cache(text);
        assert_eq!(cache["liba.so.1"], Path::new("/lib64/liba.so.1"));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn beside_comes_first_and_absence_says_where_it_was_looked_for() {
        let (beside, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let search = Search { beside: beside.path().to_path_buf(), library_path: Vec::new(), cache: BTreeMap::new() };
        let dirs = [own.path().to_path_buf()];
        assert_eq!(search.find("libx.so.1", &dirs), None);
        std::fs::write(own.path().join("libx.so.1"), "").unwrap();
        assert_eq!(search.find("libx.so.1", &dirs), Some(own.path().join("libx.so.1")));
        std::fs::write(beside.path().join("libx.so.1"), "").unwrap();
        assert_eq!(search.find("libx.so.1", &dirs), Some(beside.path().join("libx.so.1")));
        let places = search.places(&dirs);
        assert_eq!(places[..2], [beside.path().display().to_string(), own.path().display().to_string()]);
        assert!(places.iter().any(|place| place.contains("LD_LIBRARY_PATH")));
    }

    #[test]
    fn a_version_is_that_of_the_real_file() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("libcuda.so.580.65.06"), dir.path().join("libcuda.so.1"));
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(version_of(&link).as_deref(), Some("580.65.06"));
        std::fs::write(dir.path().join("libonnxruntime_providers_cuda.so"), "").unwrap();
        assert_eq!(version_of(&dir.path().join("libonnxruntime_providers_cuda.so")), None);
    }
}
