//! Rows of a dataset, one episode at a time. The columns of one file are kept until an episode lies in another one.

use super::error::{DatasetError, Place, Problem};
use super::info::Dtype;
use super::read::{Dataset, Episode};
use super::table::Table;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Numbers of one feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers {
    /// In each row.
    pub per_row: usize,
    /// `[rows, per_row]`.
    pub values: Vec<f64>,
}

impl Numbers {
    /// One row.
    pub fn row(&self, row: usize) -> &[f64] {
        self.values.get(row * self.per_row..(row + 1) * self.per_row).unwrap_or_default()
    }
}

/// The rows of one episode.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// How many.
    pub length: usize,
    /// What was to be done at each, in words.
    pub tasks: Vec<String>,
    /// By feature.
    pub numbers: BTreeMap<String, Numbers>,
    /// PNG or JPEG files, by feature, one per row.
    pub pictures: BTreeMap<String, Vec<Vec<u8>>>,
}

/// Reads rows in the order of the episodes.
pub struct RowReader<'a> {
    dataset: &'a Dataset,
    /// Name, whether pictures, numbers in a row.
    features: Vec<(String, bool, usize)>,
    open: Option<OpenFile>,
}

struct OpenFile {
    data: [u64; 2],
    path: PathBuf,
    rows: usize,
    index: Vec<i64>,
    episode: Vec<i64>,
    task: Vec<i64>,
    numbers: BTreeMap<String, Numbers>,
    pictures: BTreeMap<String, Vec<Vec<u8>>>,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(dataset: &'a Dataset, features: &[&str]) -> Result<Self, DatasetError> {
        let info_path = || dataset.root().join("meta/info.json");
        let mut wanted = Vec::new();
        for name in features {
            let feature = dataset.info().feature(dataset.root(), name)?;
            if matches!(feature.dtype, Dtype::Video | Dtype::String) {
                let found = format!("feature {name:?} is {}", feature.dtype.name());
                return Err(DatasetError::value(&info_path(), Place::File, found, "numbers or pictures in the table"));
            }
            wanted.push(((*name).to_owned(), feature.dtype == Dtype::Image, feature.values()));
        }
        Ok(Self { dataset, features: wanted, open: None })
    }

    /// The rows of `episode`.
    ///
    /// # Errors
    /// A file that is missing, cut or damaged, or rows of another episode where these should be.
    pub fn episode(&mut self, episode: &Episode) -> Result<Rows, DatasetError> {
        if self.open.as_ref().is_none_or(|open| open.data != episode.data) {
            self.open = None; // before the next one is read: two at once are twice the memory
            self.open = Some(self.read(episode.data)?);
        }
        let Some(open) = &self.open else { return Ok(Rows::default()) };
        let first = episode.rows.start.saturating_sub(self.dataset.first_row(episode.data)) as usize;
        let length = episode.length() as usize;
        let range = first..first.saturating_add(length);
        if range.end > open.rows {
            let problem = Problem::Disagree {
                what: "the number of rows",
                found: open.rows.to_string(),
                expected: format!("at least {} for episode {}", range.end, episode.index),
            };
            return Err(DatasetError::file(&open.path, problem));
        }
        let mut tasks = Vec::with_capacity(length);
        for row in range.clone() {
            let expected = [episode.index as i64, (episode.rows.start + (row - first) as u64) as i64];
            for (column, found, expected) in
                [("episode_index", open.episode[row], expected[0]), ("index", open.index[row], expected[1])]
            {
                if found != expected {
                    let (found, expected) = (found.to_string(), expected.to_string());
                    let problem = Problem::Disagree { what: "a row's place", found, expected };
                    return Err(DatasetError::new(&open.path, Place::Row { column: column.to_owned(), row }, problem));
                }
            }
            let words = self.dataset.tasks().get(&open.task[row]).cloned().ok_or_else(|| {
                let place = Place::Row { column: "task_index".to_owned(), row };
                DatasetError::value(&open.path, place, open.task[row], "a task of meta/tasks.parquet")
            })?;
            tasks.push(words);
        }
        let numbers = open.numbers.iter().map(|(name, all)| {
            let values = all.values[range.start * all.per_row..range.end * all.per_row].to_vec();
            (name.clone(), Numbers { per_row: all.per_row, values })
        });
        let pictures = open.pictures.iter().map(|(name, all)| (name.clone(), all[range.clone()].to_vec()));
        Ok(Rows { length, tasks, numbers: numbers.collect(), pictures: pictures.collect() })
    }

    fn read(&self, data: [u64; 2]) -> Result<OpenFile, DatasetError> {
        let path = self.dataset.info().data_file(self.dataset.root(), data)?;
        let table = Table::open(&path)?;
        let integers = |name: &str| table.column(name)?.integers(&table, name);
        let (mut numbers, mut pictures) = (BTreeMap::new(), BTreeMap::new());
        for (name, is_picture, values) in &self.features {
            if *is_picture {
                pictures.insert(name.clone(), table.column(name)?.bytes(&table, name)?);
                continue;
            }
            let (per_row, all) = table.column(name)?.numbers(&table, name)?;
            if per_row != *values && table.rows() > 0 {
                let (found, expected) = (per_row.to_string(), format!("{values}, as in info.json"));
                let problem = Problem::Disagree { what: "the number of values in a row", found, expected };
                return Err(DatasetError::new(&path, Place::Column { name: name.clone(), byte: 0 }, problem));
            }
            numbers.insert(name.clone(), Numbers { per_row, values: all });
        }
        Ok(OpenFile {
            data,
            rows: table.rows(),
            index: integers("index")?,
            episode: integers("episode_index")?,
            task: integers("task_index")?,
            numbers,
            pictures,
            path,
        })
    }
}
