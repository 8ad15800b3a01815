//! What a shared library says it needs, read from the file without loading it.

use object::Endianness;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader64};
use object::read::ReadCache;
use object::read::elf::FileHeader as _;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Most entries that are read of one library.
const NEEDED_MAX: usize = 1024;

/// The dynamic section of a shared library, as far as the loader's search depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Names of other libraries, as `libcudart.so.13`.
    pub(super) libraries: Vec<String>,
    /// Directories that it has them looked for in, `$ORIGIN` filled in.
    pub(super) directories: Vec<PathBuf>,
}

/// Reads `file`.
///
/// # Errors
/// Not a 64-bit ELF library; the text says what was found.
pub(super) fn needs_of(file: &Path) -> Result<Needs, String> {
    let handle = File::open(file).map_err(|error| error.to_string())?;
    let data = ReadCache::new(handle);
    let wrong = |error: object::read::Error| format!("not a shared library of this machine ({error})");
    let header = FileHeader64::<Endianness>::parse(&data).map_err(wrong)?;
    let endian = header.endian().map_err(wrong)?;
    let sections = header.sections(endian, &data).map_err(wrong)?;
    let table = sections.dynamic_table(endian, &data).map_err(wrong)?;
    let origin = file.parent().unwrap_or(Path::new("/"));
    let mut needs = Needs::default();
    for entry in table.iter().take(NEEDED_MAX) {
        let text = || {
            let bytes = table.string(entry).map_err(wrong)?;
            Ok::<_, String>(String::from_utf8_lossy(bytes).into_owned())
        };
        match entry.tag {
            tag if tag == DT_NEEDED => needs.libraries.push(text()?),
            tag if tag == DT_RUNPATH || tag == DT_RPATH => {
                let paths = text()?.replace("${ORIGIN}", "$ORIGIN");
                let paths = paths.split(':').filter(|path| !path.is_empty());
                needs.directories.extend(paths.map(|path| path.replace("$ORIGIN", &origin.to_string_lossy()).into()));
            }
            _ => {}
        }
    }
    Ok(needs)
}
