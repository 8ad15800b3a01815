//! One Parquet file to typed columns, one column at a time, so that what is wrong has a name and a byte.
//!
//! From: untrusted bytes. To: [`Column`]s. Every length that the file states is compared with the file and with a limit before the
//! `parquet` crate acts on it. What that crate still panics about (it asserts where a page contradicts itself) becomes an error too.

use super::arrays;
use super::columns::Column;
use super::error::{DatasetError, Place, Problem};
use super::{COLUMN_BYTES_MAX, ROWS_MAX, TABLE_BYTES_MAX, VALUES_MAX};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ColumnChunkMetaData;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = *b"PAR1";
/// Magic, length of the description and magic again.
const TABLE_BYTES_MIN: u64 = 12;
/// Largest description of a table.
const FOOTER_BYTES_MAX: u64 = 64 << 20;
/// Rows that are unpacked at once.
const BATCH_ROWS: usize = 4096;

/// An open file whose description has been checked.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    names: Vec<String>,
    rows: usize,
}

impl Table {
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let mut file = File::open(path).map_err(|error| DatasetError::file(path, error))?;
        let footer = check_frame(path, &mut file)?;
        let at = |problem| DatasetError::new(path, Place::Byte(footer), problem);
        // The types of the columns themselves; what Arrow says about them beside is another thing that can be damaged.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guarded(|| ArrowReaderMetadata::load(&file, options)).map_err(at)?;
        let names = metadata.metadata().file_metadata().schema().get_fields().iter().map(|f| f.name().to_owned());
        let names: Vec<String> = names.collect();
        let mut table = Self { path: path.to_path_buf(), file, names, rows: 0, metadata };
        table.rows = table.check_groups(footer)?;
        Ok(table)
    }

    /// Rows of all groups; every column of every group lies before `footer`.
    fn check_groups(&self, footer: u64) -> Result<usize, DatasetError> {
        let mut rows = 0u64;
        let at = |problem| DatasetError::new(&self.path, Place::Byte(footer), problem);
        for group in self.metadata.metadata().row_groups() {
            let found = u64::try_from(group.num_rows())
                .map_err(|_| at(Problem::Damaged(format!("{} rows in a group", group.num_rows()))))?;
            rows = rows.saturating_add(found);
            for column in group.columns() {
                let start = start_of(column);
                let name = column.column_path().string();
                let place = Place::Column { name, byte: start.unwrap_or_default() };
                let packed = u64::try_from(column.compressed_size()).ok();
                let inside = start.zip(packed).is_some_and(|(start, packed)| {
                    start >= MAGIC.len() as u64 && start.checked_add(packed).is_some_and(|end| end <= footer)
                });
                if !inside {
                    let what = format!(
                        "its {} bytes are not all before the description of the table at byte {footer}",
                        column.compressed_size()
                    );
                    return Err(DatasetError::new(&self.path, place, Problem::Damaged(what)));
                }
                let unpacked = u64::try_from(column.uncompressed_size()).unwrap_or(u64::MAX);
                if unpacked > COLUMN_BYTES_MAX {
                    let problem = Problem::TooMany { what: "bytes unpacked", found: unpacked, max: COLUMN_BYTES_MAX };
                    return Err(DatasetError::new(&self.path, place, problem));
                }
            }
        }
        if rows > ROWS_MAX {
            return Err(at(Problem::TooMany { what: "rows", found: rows, max: ROWS_MAX }));
        }
        Ok(rows as usize)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// All rows of one column.
    pub(super) fn column(&self, name: &str) -> Result<Column, DatasetError> {
        let Some(root) = self.names.iter().position(|known| known == name) else {
            let problem = Problem::Missing { what: "column", wanted: name.to_owned(), known: self.names.clone() };
            return Err(DatasetError::file(&self.path, problem));
        };
        let description = self.metadata.metadata().file_metadata().schema_descr();
        let mut column: Option<Column> = None;
        let mut rows = 0;
        for (group, of_group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let leaf = (0..description.num_columns()).find(|leaf| description.get_column_root_idx(*leaf) == root);
            let byte = leaf.and_then(|leaf| start_of(of_group.column(leaf))).unwrap_or_default();
            let at = |problem| DatasetError::new(&self.path, Place::Column { name: name.to_owned(), byte }, problem);
            let file = self.file.try_clone().map_err(|error| at(error.into()))?;
            let mut batches = guarded(|| {
                ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                    .with_row_groups(vec![group])
                    .with_projection(ProjectionMask::roots(description, [root]))
                    .with_batch_size(BATCH_ROWS)
                    .build()
            })
            .map_err(at)?;
            while let Some(batch) = guarded(|| batches.next().transpose()).map_err(at)? {
                let unpacked = arrays::column(batch.column(0).as_ref()).map_err(|problem| match problem {
                    arrays::Refused::Null(row) => DatasetError::value(
                        &self.path,
                        Place::Row { column: name.to_owned(), row: rows + row },
                        "no value",
                        "one in every row",
                    ),
                    arrays::Refused::Other(problem) => at(problem),
                })?;
                rows += batch.num_rows();
                match &mut column {
                    None => column = Some(unpacked),
                    Some(column) => column.append(unpacked).map_err(at)?,
                }
                let values = column.as_ref().map_or(0, Column::weight);
                if values > VALUES_MAX {
                    let (found, max) = (values as u64, VALUES_MAX as u64);
                    return Err(at(Problem::TooMany { what: "values in a column", found, max }));
                }
            }
        }
        if rows != self.rows {
            let (found, expected) = (rows.to_string(), self.rows.to_string());
            let problem = Problem::Disagree { what: "the number of rows of a column", found, expected };
            let place = Place::Column { name: name.to_owned(), byte: 0 };
            return Err(DatasetError::new(&self.path, place, problem));
        }
        Ok(column.unwrap_or(Column::Empty))
    }
}

/// The first byte of a column in a group of rows; `None` where the file states a negative one.
fn start_of(column: &ColumnChunkMetaData) -> Option<u64> {
    u64::try_from(column.dictionary_page_offset().unwrap_or(column.data_page_offset())).ok()
}

/// Where the description begins, of a file that begins and ends as a table does.
fn check_frame(path: &Path, file: &mut File) -> Result<u64, DatasetError> {
    let system = |error: std::io::Error| DatasetError::file(path, error);
    let length = file.metadata().map_err(system)?.len();
    if length > TABLE_BYTES_MAX {
        let problem = Problem::TooMany { what: "bytes", found: length, max: TABLE_BYTES_MAX };
        return Err(DatasetError::file(path, problem));
    }
    if length < TABLE_BYTES_MIN {
        return Err(DatasetError::new(path, Place::Byte(length), Problem::Cut { found: length }));
    }
    let mut head = [0; 4];
    file.read_exact(&mut head).map_err(system)?;
    if head != MAGIC {
        let problem = Problem::Kind { expected: "Parquet", found: format!("{head:02x?}") };
        return Err(DatasetError::new(path, Place::Byte(0), problem));
    }
    let mut tail = [0; 8];
    file.seek(SeekFrom::Start(length - 8)).and_then(|_| file.read_exact(&mut tail)).map_err(system)?;
    let [a, b, c, d, magic @ ..] = tail;
    if magic != MAGIC {
        return Err(DatasetError::new(path, Place::Byte(length), Problem::Cut { found: length }));
    }
    let footer_bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
    if footer_bytes > FOOTER_BYTES_MAX || footer_bytes + TABLE_BYTES_MIN > length {
        let what = format!("a description of {footer_bytes} bytes in a file of {length}");
        return Err(DatasetError::new(path, Place::Byte(length - 8), Problem::Damaged(what)));
    }
    file.rewind().map_err(system)?;
    Ok(length - 8 - footer_bytes)
}

/// The crate's answer, its panics included: a page that contradicts itself is met by an assertion there. Its message on
/// stderr is not in our hands.
fn guarded<T, E: std::fmt::Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, Problem> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Problem::Damaged(error.to_string())),
        Err(_) => Err(Problem::Damaged("the reader of Parquet gave up on it".to_owned())),
    }
}
