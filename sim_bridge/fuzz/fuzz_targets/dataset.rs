//! A table of a LeRobot dataset of any bytes: rows, episodes or tasks, in a dataset whose other files are whole.
//!
//! Promise: rows, or an error with a place in a file; never a panic that escapes, and no more memory than the limits say.
//! Begin with the tables of the fixture, each with one byte more behind it (0, 1, 2 in the order of `TABLES`).

#![no_main]

use egogrid_sim_bridge::dataset::{Dataset, DatasetError};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const TABLES: [&str; 3] =
    ["data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet", "meta/tasks.parquet"];

/// A copy of the fixture for this process, in memory where the system has that.
static DATASET: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let dir = parent.join(format!("egogrid-fuzz-{}", std::process::id()));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/lerobot/small");
    for file in TABLES.iter().chain(&["meta/info.json"]) {
        let target = dir.join(file);
        fs::create_dir_all(target.parent().expect("a file in a folder")).expect("a folder");
        fs::copy(fixture.join(file), target).expect("a copy of the fixture");
    }
    dir
});

fn read(dir: &Path) -> Result<(), DatasetError> {
    let dataset = Dataset::open(dir)?;
    let mut rows = dataset.rows(&["action", "observation.state", "observation.images.wrist", "next.success"])?;
    for episode in dataset.episodes() {
        rows.episode(episode)?;
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // The last byte chooses the table.
    let Some((which, data)) = data.split_last() else { return };
    let path = DATASET.join(TABLES[usize::from(*which) % TABLES.len()]);
    let whole = fs::read(&path).expect("the fixture");
    fs::write(&path, data).expect("a file");
    let _ = read(&DATASET);
    fs::write(&path, whole).expect("a file");
});
