//! A plain table in one Parquet file: columns of one kind each, for whoever reads it with pandas, polars or DuckDB.

use super::super::error::DatasetError;
use super::tables::{create, damaged};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use std::path::Path;
use std::sync::Arc;

/// One value per row.
#[derive(Debug, Clone, PartialEq)]
pub enum FlatColumn {
    /// UTF-8; `None` is null.
    Texts(Vec<Option<String>>),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Doubles.
    Numbers(Vec<f64>),
    /// Yes or no.
    Flags(Vec<bool>),
}

impl FlatColumn {
    fn kind(&self) -> DataType {
        match self {
            Self::Texts(_) => DataType::Utf8,
            Self::Integers(_) => DataType::Int64,
            Self::Numbers(_) => DataType::Float64,
            Self::Flags(_) => DataType::Boolean,
        }
    }

    fn array(&self) -> ArrayRef {
        match self {
            Self::Texts(texts) => Arc::new(StringArray::from_iter(texts)),
            Self::Integers(values) => Arc::new(Int64Array::from_iter_values(values.iter().copied())),
            Self::Numbers(values) => Arc::new(Float64Array::from_iter_values(values.iter().copied())),
            Self::Flags(flags) => Arc::new(BooleanArray::from_iter(flags.iter().map(|flag| Some(*flag)))),
        }
    }
}

/// Writes `columns` to `path`, whole or not at all; `about` (key, text) goes with them.
///
/// # Errors
/// Columns of different lengths, or a file system that refuses.
pub fn write_flat(path: &Path, about: (&str, String), columns: &[(&str, FlatColumn)]) -> Result<(), DatasetError> {
    let field =
        |(name, column): &(&str, FlatColumn)| Field::new(*name, column.kind(), matches!(column, FlatColumn::Texts(_)));
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, column)| column.array()).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| damaged(path, &error))?;
    let part = path.with_extension("parquet.part");
    let written = create(&part, &schema, Some(about)).and_then(|mut writer| {
        writer.write(&batch).and_then(|()| writer.close()).map(|_| ()).map_err(|error| damaged(&part, &error))
    });
    let moved = written.and_then(|()| std::fs::rename(&part, path).map_err(|error| DatasetError::file(path, error)));
    if moved.is_err() {
        // Half a file helps nobody; that it cannot be removed either adds nothing.
        let _ = std::fs::remove_file(&part);
    }
    moved
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.parquet");
        let columns = [
            ("task", FlatColumn::Texts(vec![Some("a \"b\"".to_owned()), None])),
            ("seed", FlatColumn::Integers(vec![0, i64::MAX])),
            ("ms", FlatColumn::Numbers(vec![0.1, f64::MIN_POSITIVE])),
            ("success", FlatColumn::Flags(vec![true, false])),
        ];
        write_flat(&path, ("egogrid", "{\"x\": 1}".to_owned()), &columns).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap();
        let about = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
        assert!(about.iter().any(|pair| pair.key == "egogrid" && pair.value.as_deref() == Some("{\"x\": 1}")));
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 2);
        let texts = batch.column(0).as_string::<i32>();
        assert_eq!((texts.value(0), texts.iter().nth(1)), ("a \"b\"", Some(None)));
        assert_eq!(batch.column(1).as_primitive::<Int64Type>().value(1), i64::MAX);
        assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(1), f64::MIN_POSITIVE);
        assert!(batch.column(3).as_boolean().value(0) && !batch.column(3).as_boolean().value(1));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn uneven_columns_leave_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let columns = [("a", FlatColumn::Integers(vec![1, 2])), ("b", FlatColumn::Flags(vec![true]))];
        assert!(write_flat(&dir.path().join("t.parquet"), ("x", String::new()), &columns).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let nowhere = dir.path().join("no/such/t.parquet");
        let error = write_flat(&nowhere, ("x", String::new()), &columns[..1]).unwrap_err();
        assert!(error.to_string().contains("t.parquet"), "{error}");
    }
}
