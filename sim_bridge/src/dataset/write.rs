//! A new dataset, row by row: films and tables grow as rows come, and `meta/info.json` is written last, so that what is not whole
//! is not a dataset.
//!
//! From: pictures, states and actions at an even rate. To: a directory that `lerobot.datasets.LeRobotDataset` opens.

mod flat;
mod meta;
mod tables;

pub use flat::{FlatColumn, write_flat};

use super::error::{DatasetError, Place, Problem};
use super::figures::{FeatureFigures, PictureCounts};
use super::film::FilmWriter;
use super::info::INDEX_FEATURES;
use super::picture::depth_png;
use egogrid_runtime::camera::{DepthImage, RgbImage};
use meta::Episodes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tables::DataTable;

/// A file of rows ends behind the episode that makes it that large, as in LeRobot.
const DATA_BYTES_MAX: u64 = 100 << 20;
/// A film ends behind the episode that makes it that large, as in LeRobot.
const FILM_BYTES_MAX: u64 = 200 << 20;
/// Files of one folder.
const FILES_PER_CHUNK: u64 = 1000;
/// Most rows of one episode: they wait for its end.
const EPISODE_ROWS_MAX: usize = 100_000;

/// What every row has.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Rows per second.
    pub fps: f64,
    /// Free text.
    pub robot_type: String,
    /// Name and `[width, height]` of the picture.
    pub camera: (String, [u32; 2]),
    /// `[width, height]` of the depth of the same camera.
    pub depth_px: Option<[u32; 2]>,
    /// Names of the numbers of the state; empty: there is none.
    pub state: Vec<String>,
    /// Names of the numbers of an action.
    pub action: Vec<String>,
    /// Whether it is known how each episode ended.
    pub outcomes: bool,
}

impl Layout {
    /// Name of the film.
    pub fn film(&self) -> String {
        format!("observation.images.{}", self.camera.0)
    }

    /// Name of the depth, 16-bit PNG in millimetres.
    pub fn depth(&self) -> String {
        format!("observation.depth.{}", self.camera.0)
    }
}

/// One moment: what was seen, and what was done until the next one.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Of the layout's size.
    pub picture: &'a RgbImage,
    /// Where the layout has it.
    pub depth: Option<&'a DepthImage>,
    /// As many as the layout has names.
    pub state: &'a [f64],
    /// As many as the layout has names.
    pub action: &'a [f64],
}

/// How an episode ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpisodeEnd {
    /// What was to be done, in words.
    pub task: String,
    /// Where the layout says that it is known.
    pub success: Option<bool>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatasetFigures {
    /// Episodes.
    pub episodes: u64,
    /// Rows.
    pub rows: u64,
    /// Readings of depth that 16 bits of millimetres have no place for: written as none.
    pub depth_beyond: u64,
}

/// Rows of the episode under way.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) rows: usize,
    pub(super) state: Vec<f64>,
    pub(super) action: Vec<f64>,
    pub(super) depth: Vec<Vec<u8>>,
}

struct Film {
    writer: FilmWriter,
    path: PathBuf,
    file: u64,
    /// Pictures in it when the episode began.
    before: u64,
}

/// Writes a dataset.
pub struct DatasetWriter {
    root: PathBuf,
    ffmpeg: PathBuf,
    layout: Layout,
    film: Option<Film>,
    films: u64,
    data: Option<DataTable>,
    data_files: u64,
    pending: Pending,
    /// Of the episode under way, and of all before: picture, then depth.
    seen: [PictureCounts; 2],
    seen_all: [PictureCounts; 2],
    /// Every number of every row, by feature, for the statistics of the whole.
    numbers: BTreeMap<String, (usize, Vec<f64>)>,
    episodes: Episodes,
    figures: DatasetFigures,
}

fn counters() -> [PictureCounts; 2] {
    [PictureCounts::new(3, 256, 255.0), PictureCounts::new(1, 1 << 16, 1.0)]
}

fn chunk_and_file(number: u64) -> [u64; 2] {
    [number / FILES_PER_CHUNK, number % FILES_PER_CHUNK]
}

fn chunk_path(number: u64, ending: &str) -> String {
    let [chunk, file] = chunk_and_file(number);
    format!("chunk-{chunk:03}/file-{file:03}.{ending}")
}

fn make_parent(path: &Path) -> Result<(), DatasetError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|error| DatasetError::file(parent, error))
}

impl DatasetWriter {
    /// Begins one in a directory that is empty or not there.
    ///
    /// # Errors
    /// A directory that holds something, or a layout without a camera, a rate or an action.
    pub fn create(root: &Path, ffmpeg: &Path, layout: Layout) -> Result<Self, DatasetError> {
        let holds = std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
        if holds {
            return Err(DatasetError::value(
                root,
                Place::File,
                "a directory that is not empty",
                "an empty or a new one",
            ));
        }
        let name_fits = !layout.camera.0.is_empty() && !layout.camera.0.contains(['/', '\\']);
        if !(layout.fps > 0.0 && layout.fps.is_finite()) || layout.action.is_empty() || !name_fits {
            let found = format!("{} rows per second of camera {:?}", layout.fps, layout.camera.0);
            return Err(DatasetError::value(root, Place::File, found, "a rate above 0, a camera and an action"));
        }
        std::fs::create_dir_all(root).map_err(|error| DatasetError::file(root, error))?;
        Ok(Self {
            root: root.to_path_buf(),
            ffmpeg: ffmpeg.to_path_buf(),
            layout,
            film: None,
            films: 0,
            data: None,
            data_files: 0,
            pending: Pending::default(),
            seen: counters(),
            seen_all: counters(),
            numbers: BTreeMap::new(),
            episodes: Episodes::default(),
            figures: DatasetFigures::default(),
        })
    }

    /// One row of the episode under way.
    ///
    /// # Errors
    /// A row that does not fit the layout, or a film that fails.
    pub fn add(&mut self, row: &Row<'_>) -> Result<(), DatasetError> {
        let refuse =
            |found: String, expected: String| Err(DatasetError::value(&self.root, Place::File, found, expected));
        for (what, found, names) in
            [("state", row.state, &self.layout.state), ("action", row.action, &self.layout.action)]
        {
            if found.len() != names.len() || !found.iter().all(|value| value.is_finite()) {
                return refuse(format!("{what} {found:?}"), format!("{} finite numbers", names.len()));
            }
        }
        let depth_px = row.depth.map(|depth| [depth.width_px(), depth.height_px()]);
        if depth_px != self.layout.depth_px {
            return refuse(format!("depth of {depth_px:?} px"), format!("{:?} in every row", self.layout.depth_px));
        }
        if self.pending.rows >= EPISODE_ROWS_MAX {
            let problem = Problem::TooMany {
                what: "rows in one episode",
                found: 1 + EPISODE_ROWS_MAX as u64,
                max: EPISODE_ROWS_MAX as u64,
            };
            return Err(DatasetError::file(&self.root, problem));
        }
        self.film()?.writer.push(row.picture)?;
        self.seen[0].add(row.picture.data());
        if let Some(depth) = row.depth {
            let (png, mm, beyond) =
                depth_png(depth).map_err(|what| DatasetError::file(&self.root, Problem::Damaged(what)))?;
            self.seen[1].add(&mm);
            self.figures.depth_beyond += beyond;
            self.pending.depth.push(png);
        }
        self.pending.state.extend_from_slice(row.state);
        self.pending.action.extend_from_slice(row.action);
        self.pending.rows += 1;
        Ok(())
    }

    fn film(&mut self) -> Result<&mut Film, DatasetError> {
        if self.film.is_none() {
            let relative = format!("videos/{}/{}", self.layout.film(), chunk_path(self.films, "mp4"));
            let path = self.root.join(relative);
            make_parent(&path)?;
            let writer = FilmWriter::start(&self.ffmpeg, &path, self.layout.fps, self.layout.camera.1)?;
            self.film = Some(Film { writer, path, file: self.films, before: 0 });
            self.films += 1;
        }
        self.film.as_mut().ok_or_else(|| DatasetError::file(&self.root, Problem::Film("it is gone".to_owned())))
    }

    /// Ends the episode; one without rows is none.
    ///
    /// # Errors
    /// An outcome where the layout has none, or the other way round, or a file that cannot be written.
    pub fn end_episode(&mut self, end: &EpisodeEnd) -> Result<(), DatasetError> {
        if end.success.is_some() != self.layout.outcomes {
            let expected = if self.layout.outcomes { "whether it succeeded" } else { "no outcome, as the layout says" };
            return Err(DatasetError::value(&self.root, Place::File, format!("outcome {:?}", end.success), expected));
        }
        let pending = std::mem::take(&mut self.pending);
        if pending.rows == 0 {
            return Ok(());
        }
        let numbers = self.episode_numbers(&pending, end);
        let mut figures: Vec<(String, FeatureFigures)> = numbers
            .iter()
            .map(|(name, (per_row, values))| (name.clone(), FeatureFigures::of_numbers(values, *per_row)))
            .collect();
        figures.push((self.layout.film(), self.seen[0].figures()));
        if self.layout.depth_px.is_some() {
            figures.push((self.layout.depth(), self.seen[1].figures()));
        }
        let seen = std::mem::replace(&mut self.seen, counters());
        self.seen_all.iter_mut().zip(&seen).for_each(|(all, more)| all.merge(more));
        for (name, (per_row, values)) in &numbers {
            self.numbers.entry(name.clone()).or_insert((*per_row, Vec::new())).1.extend_from_slice(values);
        }
        let data_file = self.write_rows(&numbers, &pending)?;
        let film = self.end_film_part(pending.rows as u64)?;
        self.episodes.add(&end.task, pending.rows as u64, data_file, film, figures);
        self.figures.rows += pending.rows as u64;
        self.figures.episodes += 1;
        Ok(())
    }

    /// By feature, as many in each row as the layout says, and the numbers that every dataset has.
    fn episode_numbers(&mut self, pending: &Pending, end: &EpisodeEnd) -> BTreeMap<String, (usize, Vec<f64>)> {
        let rows = pending.rows;
        let count = |from: u64| (0..rows).map(|row| (from + row as u64) as f64).collect::<Vec<f64>>();
        let same = |value: f64| vec![value; rows];
        let last = |value: bool| {
            let mut flags = same(0.0);
            if let Some(flag) = flags.last_mut() {
                *flag = f64::from(u8::from(value));
            }
            flags
        };
        let task = self.episodes.task(&end.task) as f64;
        let timestamps = count(0).into_iter().map(|frame| f64::from((frame / self.layout.fps) as f32)).collect();
        let index = [timestamps, count(0), same(self.figures.episodes as f64), count(self.figures.rows), same(task)];
        let mut numbers: BTreeMap<String, (usize, Vec<f64>)> =
            INDEX_FEATURES.iter().zip(index).map(|((name, _), values)| ((*name).to_owned(), (1, values))).collect();
        numbers.insert("action".to_owned(), (self.layout.action.len(), pending.action.clone()));
        if !self.layout.state.is_empty() {
            numbers.insert("observation.state".to_owned(), (self.layout.state.len(), pending.state.clone()));
        }
        numbers.insert("next.done".to_owned(), (1, last(true)));
        if let Some(success) = end.success {
            numbers.insert("next.success".to_owned(), (1, last(success)));
        }
        numbers
    }

    fn write_rows(
        &mut self,
        numbers: &BTreeMap<String, (usize, Vec<f64>)>,
        pending: &Pending,
    ) -> Result<[u64; 2], DatasetError> {
        let mut table = match self.data.take() {
            Some(table) => table,
            None => {
                let path = self.root.join("data").join(chunk_path(self.data_files, "parquet"));
                make_parent(&path)?;
                self.data_files += 1;
                DataTable::create(&path, &self.layout)?
            }
        };
        table.write(numbers, pending)?;
        let place = chunk_and_file(self.data_files - 1);
        if table.bytes() < DATA_BYTES_MAX {
            self.data = Some(table);
        } else {
            table.finish()?;
        }
        Ok(place)
    }

    /// Chunk and file of the episode's pictures, and from when to when they are there.
    fn end_film_part(&mut self, rows: u64) -> Result<([u64; 2], [f64; 2]), DatasetError> {
        let fps = self.layout.fps;
        let film = self.film()?;
        let (before, file) = (film.before, chunk_and_file(film.file));
        film.before += rows;
        let written = std::fs::metadata(&film.path).map_or(0, |file| file.len());
        if written >= FILM_BYTES_MAX
            && let Some(film) = self.film.take()
        {
            film.writer.finish()?;
        }
        Ok((file, [before as f64 / fps, (before + rows) as f64 / fps]))
    }

    /// Ends films and tables and writes what describes them. `about` goes to `meta/egogrid.json`, which is ours alone.
    ///
    /// # Errors
    /// No episode, or a file that cannot be written.
    pub fn finish(mut self, about: &serde_json::Value) -> Result<DatasetFigures, DatasetError> {
        if self.figures.episodes == 0 {
            return Err(DatasetError::value(&self.root, Place::File, "no row", "at least one"));
        }
        if let Some(film) = self.film.take() {
            film.writer.finish()?;
        }
        if let Some(table) = self.data.take() {
            table.finish()?;
        }
        self.episodes.write(&self.root, &self.layout)?;
        let mut figures: BTreeMap<String, FeatureFigures> = self
            .numbers
            .iter()
            .map(|(name, (per_row, values))| (name.clone(), FeatureFigures::of_numbers(values, *per_row)))
            .collect();
        figures.insert(self.layout.film(), self.seen_all[0].figures());
        if self.layout.depth_px.is_some() {
            figures.insert(self.layout.depth(), self.seen_all[1].figures());
        }
        let stats: serde_json::Map<String, serde_json::Value> =
            figures.iter().map(|(name, figures)| (name.clone(), figures.json())).collect();
        meta::write_json(&self.root.join("meta/stats.json"), &stats)?;
        meta::write_json(&self.root.join("meta/egogrid.json"), about)?;
        let info = meta::info(&self.layout, self.figures, self.episodes.tasks());
        meta::write_json(&self.root.join("meta/info.json"), &info)?;
        Ok(self.figures)
    }
}
