//! Tables being written: rows of episodes, one group of rows for each, and whatever else is columns.

use super::super::error::{DatasetError, Problem};
use super::super::info::INDEX_FEATURES;
use super::{Layout, Pending};
use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One file of rows.
pub(super) struct DataTable {
    path: PathBuf,
    writer: ArrowWriter<File>,
    schema: SchemaRef,
}

/// Opens a table for columns of `schema`; Snappy, as LeRobot writes.
pub(super) fn create(
    path: &Path,
    schema: &SchemaRef,
    about: Option<(&str, String)>,
) -> Result<ArrowWriter<File>, DatasetError> {
    let file = File::create(path).map_err(|error| DatasetError::file(path, error))?;
    let about = about.map(|(key, value)| vec![KeyValue::new(key.to_owned(), value)]);
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_key_value_metadata(about).build();
    ArrowWriter::try_new(file, Arc::clone(schema), Some(properties)).map_err(|error| damaged(path, &error))
}

pub(super) fn damaged(path: &Path, error: &dyn std::fmt::Display) -> DatasetError {
    DatasetError::file(path, Problem::System(std::io::Error::other(error.to_string())))
}

fn png_fields() -> Fields {
    Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)])
}

fn vector(length: usize) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("element", DataType::Float32, true)), length as i32)
}

/// Columns in the order of a row: what was seen, what was done, how it ended, where it lies.
fn schema(layout: &Layout) -> Schema {
    let mut fields = Vec::new();
    if layout.depth_px.is_some() {
        fields.push(Field::new(layout.depth(), DataType::Struct(png_fields()), true));
    }
    if !layout.state.is_empty() {
        fields.push(Field::new("observation.state", vector(layout.state.len()), true));
    }
    fields.push(Field::new("action", vector(layout.action.len()), true));
    fields.push(Field::new("next.done", DataType::Boolean, true));
    if layout.outcomes {
        fields.push(Field::new("next.success", DataType::Boolean, true));
    }
    for (name, _) in INDEX_FEATURES {
        let kind = if name == "timestamp" { DataType::Float32 } else { DataType::Int64 };
        fields.push(Field::new(name, kind, true));
    }
    Schema::new(fields)
}

impl DataTable {
    pub(super) fn create(path: &Path, layout: &Layout) -> Result<Self, DatasetError> {
        let schema = Arc::new(schema(layout));
        let writer = create(path, &schema, None)?;
        Ok(Self { path: path.to_path_buf(), writer, schema })
    }

    /// Bytes in the file so far.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    pub(super) fn write(
        &mut self,
        numbers: &BTreeMap<String, (usize, Vec<f64>)>,
        pending: &Pending,
    ) -> Result<(), DatasetError> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        for field in self.schema.fields() {
            columns.push(match numbers.get(field.name()) {
                Some((_, values)) => column(field, values).map_err(|error| damaged(&self.path, &error))?,
                None => pictures(&pending.depth),
            });
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let batch = batch.map_err(|error| damaged(&self.path, &error))?;
        self.writer.write(&batch).and_then(|()| self.writer.flush()).map_err(|error| damaged(&self.path, &error))
    }

    pub(super) fn finish(self) -> Result<(), DatasetError> {
        self.writer.close().map(|_| ()).map_err(|error| damaged(&self.path, &error))
    }
}

fn column(field: &Field, values: &[f64]) -> Result<ArrayRef, arrow_schema::ArrowError> {
    let floats = || Float32Array::from_iter_values(values.iter().map(|value| *value as f32));
    Ok(match field.data_type() {
        DataType::FixedSizeList(element, length) => {
            Arc::new(FixedSizeListArray::try_new(Arc::clone(element), *length, Arc::new(floats()), None)?)
        }
        DataType::Boolean => Arc::new(BooleanArray::from_iter(values.iter().map(|value| Some(*value != 0.0)))),
        DataType::Int64 => Arc::new(Int64Array::from_iter_values(values.iter().map(|value| *value as i64))),
        _ => Arc::new(floats()),
    })
}

fn pictures(files: &[Vec<u8>]) -> ArrayRef {
    let (mut bytes, mut paths) = (BinaryBuilder::new(), StringBuilder::new());
    for file in files {
        bytes.append_value(file);
        paths.append_null();
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(bytes.finish()), Arc::new(paths.finish())];
    Arc::new(StructArray::new(png_fields(), columns, None))
}
