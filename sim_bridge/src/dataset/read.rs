//! A dataset's description: what it says about itself, its tasks, and where each episode lies. No row and no picture is read here.

use super::error::{DatasetError, Place, Problem};
use super::info::Info;
use super::table::Table;
use super::{EPISODES_MAX, rows::RowReader};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Most tables of episodes.
const EPISODE_FILES_MAX: usize = 100_000;

/// Where an episode's pictures of one camera are.
#[derive(Debug, Clone, PartialEq)]
pub struct FilmPlace {
    /// Chunk and file.
    pub file: [u64; 2],
    /// When the episode begins in the film, seconds.
    pub from_s: f64,
}

/// One episode.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// From 0.
    pub index: u64,
    /// What was to be done, in words.
    pub tasks: Vec<String>,
    /// Its rows among those of all episodes.
    pub rows: Range<u64>,
    /// Chunk and file of its rows.
    pub data: [u64; 2],
    /// By feature.
    pub films: BTreeMap<String, FilmPlace>,
}

impl Episode {
    /// Rows.
    pub fn length(&self) -> u64 {
        self.rows.end - self.rows.start
    }
}

/// A dataset that agrees with itself as far as its description goes.
#[derive(Debug)]
pub struct Dataset {
    root: PathBuf,
    info: Info,
    tasks: BTreeMap<i64, String>,
    episodes: Vec<Episode>,
    /// First row of each file of rows.
    first_rows: BTreeMap<[u64; 2], u64>,
}

impl Dataset {
    /// Reads the description in `root`.
    ///
    /// # Errors
    /// A file that is missing, cut, damaged, beyond a limit, or says something else than another one.
    pub fn open(root: &Path) -> Result<Self, DatasetError> {
        let info = Info::read(root)?;
        let tasks = read_tasks(root)?;
        let mut episodes: Vec<Episode> = Vec::new();
        for path in episode_files(root)? {
            read_episodes(&path, &info, &mut episodes)?;
        }
        let disagree = |what, found: u64, expected: u64| {
            let problem = Problem::Disagree { what, found: found.to_string(), expected: expected.to_string() };
            DatasetError::file(&root.join("meta/episodes"), problem)
        };
        if episodes.len() as u64 != info.episodes {
            return Err(disagree("the number of episodes", episodes.len() as u64, info.episodes));
        }
        let rows = episodes.last().map_or(0, |episode| episode.rows.end);
        if rows != info.frames {
            return Err(disagree("the number of rows", rows, info.frames));
        }
        let mut first_rows = BTreeMap::new();
        for episode in &episodes {
            first_rows.entry(episode.data).or_insert(episode.rows.start);
        }
        Ok(Self { root: root.to_path_buf(), info, tasks, episodes, first_rows })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it says about itself.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// In order.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// By number.
    pub fn tasks(&self) -> &BTreeMap<i64, String> {
        &self.tasks
    }

    /// Reads rows of `features`, which are numbers or pictures in the table; episode by episode.
    ///
    /// # Errors
    /// An unknown feature, or one that is a film.
    pub fn rows<'a>(&'a self, features: &[&str]) -> Result<RowReader<'a>, DatasetError> {
        RowReader::new(self, features)
    }

    /// Where the film of `feature` for `episode` is.
    ///
    /// # Errors
    /// It has none.
    pub fn film(&self, episode: &Episode, feature: &str) -> Result<(PathBuf, f64), DatasetError> {
        let Some(place) = episode.films.get(feature) else {
            let known = episode.films.keys().cloned().collect();
            let problem = Problem::Missing { what: "film", wanted: feature.to_owned(), known };
            return Err(DatasetError::file(&self.root, problem));
        };
        Ok((self.info.film_file(&self.root, feature, place.file)?, place.from_s))
    }

    pub(super) fn first_row(&self, data: [u64; 2]) -> u64 {
        self.first_rows.get(&data).copied().unwrap_or(0)
    }
}

/// Number to words. Written by pandas: the words are its index.
fn read_tasks(root: &Path) -> Result<BTreeMap<i64, String>, DatasetError> {
    let path = root.join("meta/tasks.parquet");
    let table = Table::open(&path)?;
    let words = ["__index_level_0__", "task"].into_iter().find(|name| table.names().iter().any(|known| known == name));
    let words = words.unwrap_or("__index_level_0__");
    let numbers = table.column("task_index")?.integers(&table, "task_index")?;
    let words = table.column(words)?.texts(&table, words)?;
    if numbers.len() as u64 > EPISODES_MAX {
        let problem = Problem::TooMany { what: "tasks", found: numbers.len() as u64, max: EPISODES_MAX };
        return Err(DatasetError::file(&path, problem));
    }
    Ok(numbers.into_iter().zip(words).collect())
}

fn episode_files(root: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let dir = root.join("meta/episodes");
    let mut files = Vec::new();
    for chunk in entries(&dir)?.into_iter().filter(|path| path.is_dir()) {
        files.extend(entries(&chunk)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "parquet")));
        if files.len() > EPISODE_FILES_MAX {
            let (found, max) = (files.len() as u64, EPISODE_FILES_MAX as u64);
            return Err(DatasetError::file(&dir, Problem::TooMany { what: "tables of episodes", found, max }));
        }
    }
    files.sort();
    Ok(files)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let system = |error: std::io::Error| DatasetError::file(dir, error);
    let entries = std::fs::read_dir(dir).map_err(system)?.collect::<Result<Vec<_>, _>>().map_err(system)?;
    Ok(entries.into_iter().map(|entry| entry.path()).collect())
}

fn read_episodes(path: &Path, info: &Info, episodes: &mut Vec<Episode>) -> Result<(), DatasetError> {
    let table = Table::open(path)?;
    let (found, max) = ((episodes.len() + table.rows()) as u64, EPISODES_MAX);
    if found > max {
        return Err(DatasetError::file(path, Problem::TooMany { what: "episodes", found, max }));
    }
    let count = |name: &str| counts(&table, name);
    let (index, length) = (count("episode_index")?, count("length")?);
    let (from, to) = (count("dataset_from_index")?, count("dataset_to_index")?);
    let (chunk, file) = (count("data/chunk_index")?, count("data/file_index")?);
    let tasks = table.column("tasks")?.text_lists(&table, "tasks")?;
    let films: Vec<FilmColumns<'_>> =
        info.films().map(|film| FilmColumns::read(&table, film)).collect::<Result<_, _>>()?;
    for (row, tasks) in tasks.into_iter().enumerate() {
        let expected = episodes.len() as u64;
        let end = episodes.last().map_or(0, |episode: &Episode| episode.rows.end);
        let disagree = |column: &str, found: u64, expected: u64| {
            let problem = Problem::Disagree {
                what: "a number of this episode",
                found: found.to_string(),
                expected: expected.to_string(),
            };
            DatasetError::new(path, Place::Row { column: column.to_owned(), row }, problem)
        };
        if index[row] != expected {
            return Err(disagree("episode_index", index[row], expected));
        }
        if from[row] != end {
            return Err(disagree("dataset_from_index", from[row], end));
        }
        if from[row].checked_add(length[row]) != Some(to[row]) {
            return Err(disagree("dataset_to_index", to[row], from[row].saturating_add(length[row])));
        }
        episodes.push(Episode {
            index: expected,
            tasks,
            rows: from[row]..to[row],
            data: [chunk[row], file[row]],
            films: films.iter().map(|film| film.place(path, row)).collect::<Result<_, _>>()?,
        });
    }
    Ok(())
}

/// Where the parts of one film are.
struct FilmColumns<'a> {
    name: &'a str,
    chunk: Vec<u64>,
    file: Vec<u64>,
    from_s: Vec<f64>,
}

impl<'a> FilmColumns<'a> {
    fn read(table: &Table, name: &'a str) -> Result<Self, DatasetError> {
        let column = |what: &str| format!("videos/{name}/{what}");
        let begin = column("from_timestamp");
        let (per_row, from_s) = table.column(&begin)?.numbers(table, &begin)?;
        if per_row != 1 && table.rows() > 0 {
            let place = Place::Column { name: begin, byte: 0 };
            return Err(DatasetError::value(table.path(), place, format!("rows of {per_row} numbers"), "one in each"));
        }
        let (chunk, file) = (counts(table, &column("chunk_index"))?, counts(table, &column("file_index"))?);
        Ok(Self { name, chunk, file, from_s })
    }

    fn place(&self, path: &Path, row: usize) -> Result<(String, FilmPlace), DatasetError> {
        let from_s = self.from_s[row];
        if !(0.0..1e9).contains(&from_s) {
            let place = Place::Row { column: format!("videos/{}/from_timestamp", self.name), row };
            return Err(DatasetError::value(path, place, from_s, "seconds from 0"));
        }
        Ok((self.name.to_owned(), FilmPlace { file: [self.chunk[row], self.file[row]], from_s }))
    }
}

/// A column of numbers from 0.
fn counts(table: &Table, name: &str) -> Result<Vec<u64>, DatasetError> {
    let values = table.column(name)?.integers(table, name)?;
    let count = |(row, value): (usize, i64)| {
        u64::try_from(value).map_err(|_| {
            let place = Place::Row { column: name.to_owned(), row };
            DatasetError::value(table.path(), place, value, "a number from 0")
        })
    };
    values.into_iter().enumerate().map(count).collect()
}
