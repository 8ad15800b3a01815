//! LeRobot datasets, version 3: tables (Parquet), films (MP4) and JSON, to values and back. Nothing here knows what a policy is.
//!
//! From: an untrusted directory. To: [`Dataset`], its [`Rows`] and [`FilmReader`]. And from values: [`DatasetWriter`];
//! [`write_flat`] writes any other table.
//! Layout: `meta/info.json`, `meta/stats.json`, `meta/tasks.parquet`, `meta/episodes/chunk-000/file-000.parquet`,
//! `data/chunk-000/file-000.parquet`, `videos/<feature>/chunk-000/file-000.mp4`; several episodes share a file.
//! Source: PyPI `lerobot` 0.4.4, `lerobot.datasets`; checked against datasets that it wrote, and by it on those that we write.

mod arrays;
mod columns;
mod error;
mod figures;
mod film;
mod info;
mod picture;
mod read;
mod rows;
mod table;
mod write;

pub use error::{DatasetError, Place, Problem};
pub use figures::quantile;
pub use film::{FilmReader, FilmWriter};
pub use info::{Dtype, Feature, Info};
pub use picture::{DEPTH_MM_MAX, depth_png, png_depth, png_rgb};
pub use read::{Dataset, Episode, FilmPlace};
pub use rows::{Numbers, RowReader, Rows};
pub use write::{DatasetFigures, DatasetWriter, EpisodeEnd, FlatColumn, Layout, Row, write_flat};

/// Largest table, bytes.
pub const TABLE_BYTES_MAX: u64 = 4 << 30;
/// Largest JSON file, bytes.
pub const JSON_BYTES_MAX: u64 = 64 << 20;
/// Most rows of one table.
pub const ROWS_MAX: u64 = 20_000_000;
/// Most numbers that one column of one table is unpacked to.
pub const VALUES_MAX: usize = 1 << 26;
/// Most bytes that one column of one table is unpacked to.
pub const COLUMN_BYTES_MAX: u64 = 1 << 30;
/// Most episodes, tasks or features of one dataset.
pub const EPISODES_MAX: u64 = 1_000_000;
/// Most features of one dataset.
pub const FEATURES_MAX: usize = 256;
/// Most numbers of one feature in one row.
pub const FEATURE_VALUES_MAX: usize = 1 << 16;
