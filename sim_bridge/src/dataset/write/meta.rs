//! `meta/`: tasks, episodes with their statistics, and the description of the whole.

use super::super::error::DatasetError;
use super::super::figures::FeatureFigures;
use super::super::info::INDEX_FEATURES;
use super::tables::{create, damaged};
use super::{DatasetFigures, FILES_PER_CHUNK, Layout, make_parent};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{Field, Schema};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

struct EpisodeRow {
    task: String,
    rows: u64,
    data: [u64; 2],
    film: [u64; 2],
    film_s: [f64; 2],
    figures: Vec<(String, FeatureFigures)>,
}

/// What `meta/episodes` and `meta/tasks.parquet` will say.
#[derive(Default)]
pub(super) struct Episodes {
    rows: Vec<EpisodeRow>,
    tasks: Vec<String>,
}

impl Episodes {
    /// Number of the task, new or known.
    pub(super) fn task(&mut self, words: &str) -> usize {
        self.tasks.iter().position(|known| known == words).unwrap_or_else(|| {
            self.tasks.push(words.to_owned());
            self.tasks.len() - 1
        })
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn add(
        &mut self,
        task: &str,
        rows: u64,
        data: [u64; 2],
        (film, film_s): ([u64; 2], [f64; 2]),
        figures: Vec<(String, FeatureFigures)>,
    ) {
        self.rows.push(EpisodeRow { task: task.to_owned(), rows, data, film, film_s, figures });
    }

    pub(super) fn write(&self, root: &Path, layout: &Layout) -> Result<(), DatasetError> {
        self.write_tasks(&root.join("meta/tasks.parquet"))?;
        let path = root.join("meta/episodes/chunk-000/file-000.parquet");
        let integers = |value: &dyn Fn(&EpisodeRow) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(self.rows.iter().map(|row| value(row) as i64)))
        };
        let floats = |value: &dyn Fn(&EpisodeRow) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(self.rows.iter().map(value)))
        };
        let ends: Vec<u64> = self
            .rows
            .iter()
            .scan(0, |end, row| {
                *end += row.rows;
                Some(*end)
            })
            .collect();
        let numbered = |values: Vec<u64>| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(values.into_iter().map(|value| value as i64)))
        };
        let mut tasks = ListBuilder::new(StringBuilder::new());
        for row in &self.rows {
            tasks.values().append_value(&row.task);
            tasks.append(true);
        }
        let film = |what: &str| format!("videos/{}/{what}", layout.film());
        let begins = ends.iter().zip(&self.rows).map(|(end, row)| end - row.rows).collect();
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("episode_index".to_owned(), numbered((0..self.rows.len() as u64).collect())),
            ("tasks".to_owned(), Arc::new(tasks.finish())),
            ("length".to_owned(), integers(&|row| row.rows)),
            ("data/chunk_index".to_owned(), integers(&|row| row.data[0])),
            ("data/file_index".to_owned(), integers(&|row| row.data[1])),
            ("dataset_from_index".to_owned(), numbered(begins)),
            ("dataset_to_index".to_owned(), numbered(ends)),
            (film("chunk_index"), integers(&|row| row.film[0])),
            (film("file_index"), integers(&|row| row.film[1])),
            (film("from_timestamp"), floats(&|row| row.film_s[0])),
            (film("to_timestamp"), floats(&|row| row.film_s[1])),
        ];
        columns.extend(self.statistics());
        let zero = || numbered(vec![0; self.rows.len()]);
        columns.push(("meta/episodes/chunk_index".to_owned(), zero()));
        columns.push(("meta/episodes/file_index".to_owned(), zero()));
        write_table(&path, columns, None)
    }

    /// `stats/<feature>/<statistic>`, lists.
    fn statistics(&self) -> Vec<(String, ArrayRef)> {
        let mut columns = Vec::new();
        let Some(first) = self.rows.first() else { return columns };
        for (place, (feature, figures)) in first.figures.iter().enumerate() {
            for (which, (name, _)) in figures.values.iter().enumerate() {
                let rows = self.rows.iter().map(|row| row.figures[place].1.values[which].1.as_slice());
                let rows: Vec<&[f64]> = rows.collect();
                columns.push((format!("stats/{feature}/{name}"), nested(&rows, figures.picture)));
            }
            let counts = Int64Array::from_iter_values(self.rows.iter().map(|row| row.figures[place].1.count as i64));
            let counts = list(Arc::new(counts), std::iter::repeat_n(1, self.rows.len()));
            columns.push((format!("stats/{feature}/count"), counts));
        }
        columns
    }

    /// As pandas writes a table whose index is the words.
    fn write_tasks(&self, path: &Path) -> Result<(), DatasetError> {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..self.tasks.len() as i64));
        let words: ArrayRef = Arc::new(StringArray::from_iter_values(&self.tasks));
        let column = |name: Option<&str>, field: &str, pandas: &str, numpy: &str| json!({ "name": name, "field_name": field, "pandas_type": pandas, "numpy_type": numpy, "metadata": null });
        let pandas = json!({
            "index_columns": ["__index_level_0__"],
            "column_indexes": [{ "name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object",
                                 "metadata": { "encoding": "UTF-8" } }],
            "columns": [
                column(Some("task_index"), "task_index", "int64", "int64"),
                column(None, "__index_level_0__", "unicode", "object"),
            ],
            "creator": { "library": "egogrid", "version": env!("CARGO_PKG_VERSION") },
            "pandas_version": "2.0.0",
        });
        let columns = vec![("task_index".to_owned(), numbers), ("__index_level_0__".to_owned(), words)];
        write_table(path, columns, Some(("pandas", pandas.to_string())))
    }
}

fn list(values: ArrayRef, lengths: impl Iterator<Item = usize>) -> ArrayRef {
    let field = Arc::new(Field::new("element", values.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths), values, None))
}

/// Lists of numbers; those of pictures with two axes of one more.
fn nested(rows: &[&[f64]], picture: bool) -> ArrayRef {
    let count: usize = rows.iter().map(|row| row.len()).sum();
    let mut values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().copied().flatten().copied()));
    for _ in 0..if picture { 2 } else { 0 } {
        values = list(values, std::iter::repeat_n(1, count));
    }
    list(values, rows.iter().map(|row| row.len()))
}

fn write_table(
    path: &Path,
    columns: Vec<(String, ArrayRef)>,
    about: Option<(&str, String)>,
) -> Result<(), DatasetError> {
    make_parent(path)?;
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
    // Twice: PyArrow looks only into Arrow's own schema where there is one, others only beside it.
    let metadata = about.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| damaged(path, &error))?;
    let mut writer = create(path, &schema, about)?;
    writer.write(&batch).and_then(|()| writer.close().map(|_| ())).map_err(|error| damaged(path, &error))
}

/// `meta/info.json`.
pub(super) fn info(layout: &Layout, figures: DatasetFigures, tasks: usize) -> Value {
    let [width, height] = layout.camera.1;
    // A whole rate is written as an integer, as LeRobot does.
    let fps = if layout.fps.fract() == 0.0 { json!(layout.fps as u64) } else { json!(layout.fps) };
    let picture = |[width, height]: [u32; 2], channels: u32, dtype: &str| json!({ "dtype": dtype, "shape": [height, width, channels], "names": ["height", "width", "channels"] });
    let mut film = picture([width, height], 3, "video");
    film["info"] = json!({
        "video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p",
        "video.is_depth_map": false, "video.fps": fps, "video.channels": 3, "has_audio": false,
    });
    let mut features = serde_json::Map::new();
    features.insert(layout.film(), film);
    if let Some(depth_px) = layout.depth_px {
        features.insert(layout.depth(), picture(depth_px, 1, "image"));
    }
    let vector = |names: &[String]| json!({ "dtype": "float32", "shape": [names.len()], "names": names });
    if !layout.state.is_empty() {
        features.insert("observation.state".to_owned(), vector(&layout.state));
    }
    features.insert("action".to_owned(), vector(&layout.action));
    let one = |dtype: &str| json!({ "dtype": dtype, "shape": [1], "names": null });
    features.insert("next.done".to_owned(), one("bool"));
    if layout.outcomes {
        features.insert("next.success".to_owned(), one("bool"));
    }
    for (name, dtype) in INDEX_FEATURES {
        features.insert(name.to_owned(), one(dtype.name()));
    }
    json!({
        "codebase_version": "v3.0",
        "robot_type": layout.robot_type,
        "total_episodes": figures.episodes,
        "total_frames": figures.rows,
        "total_tasks": tasks,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": super::DATA_BYTES_MAX >> 20,
        "video_files_size_in_mb": super::FILM_BYTES_MAX >> 20,
        "fps": fps,
        "splits": { "train": format!("0:{}", figures.episodes) },
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    })
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DatasetError> {
    make_parent(path)?;
    let text = serde_json::to_string_pretty(value).map_err(|error| damaged(path, &error))?;
    std::fs::write(path, text).map_err(|error| DatasetError::file(path, error))
}
