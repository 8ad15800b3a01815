//! Why a dataset is refused: which file, where in it, what was found and what was expected.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A dataset that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}{place}: {problem}", path.display())]
pub struct DatasetError {
    /// Which file, or the directory.
    pub path: PathBuf,
    /// Where in it.
    pub place: Box<Place>,
    /// What is wrong there.
    pub problem: Box<Problem>,
}

/// Where in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// All of it.
    File,
    /// From this byte on.
    Byte(u64),
    /// The column of a table; its values are stored from this byte on.
    Column {
        /// Name.
        name: String,
        /// First of the column in this group of rows.
        byte: u64,
    },
    /// One value of a table.
    Row {
        /// Name of the column.
        column: String,
        /// From 0, in this file.
        row: usize,
    },
    /// A key of a JSON file.
    Key(String),
    /// A picture of a film.
    Picture(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Byte(byte) => write!(f, ", byte {byte}"),
            Self::Column { name, byte } => write!(f, ", column {name:?} at byte {byte}"),
            Self::Row { column, row } => write!(f, ", column {column:?}, row {row}"),
            Self::Key(key) => write!(f, ", key {key:?}"),
            Self::Picture(index) => write!(f, ", picture {index}"),
        }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Another version of the format.
    #[error(
        "dataset version {found:?}, expected v3.x; convert it with `python -m lerobot.datasets.v30.convert_dataset_v21_to_v30`"
    )]
    Version {
        /// As found.
        found: String,
    },
    /// Ends too early.
    #[error("the file ends after {found} bytes; it is cut, copy it again")]
    Cut {
        /// Its length.
        found: u64,
    },
    /// Another kind of file.
    #[error("this is no {expected} file: found {found}")]
    Kind {
        /// What it should be.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// More than is ever read.
    #[error("{what}: {found}, at most {max} are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// Stated or found.
        found: u64,
        /// Limit.
        max: u64,
    },
    /// Not as the format says.
    #[error("{0}; the file is damaged here, or is no LeRobot dataset")]
    Damaged(String),
    /// Something else than the rest of the dataset says.
    #[error("{what} is {found}, expected {expected}; the files of this dataset do not belong together")]
    Disagree {
        /// What.
        what: &'static str,
        /// Here.
        found: String,
        /// Elsewhere.
        expected: String,
    },
    /// There is no such thing.
    #[error("no {what} {wanted:?}, only {known:?}")]
    Missing {
        /// Of what kind.
        what: &'static str,
        /// Asked for.
        wanted: String,
        /// All there are.
        known: Vec<String>,
    },
    /// Values that this format, or this reader, has no place for.
    #[error("{found}; expected {expected}")]
    Value {
        /// As found.
        found: String,
        /// What is taken.
        expected: String,
    },
    /// The film's program.
    #[error("ffmpeg: {0}")]
    Film(String),
}

impl DatasetError {
    pub(super) fn new(path: &Path, place: Place, problem: impl Into<Problem>) -> Self {
        Self { path: path.to_path_buf(), place: Box::new(place), problem: Box::new(problem.into()) }
    }

    pub(super) fn file(path: &Path, problem: impl Into<Problem>) -> Self {
        Self::new(path, Place::File, problem)
    }

    pub(super) fn value(path: &Path, place: Place, found: impl fmt::Display, expected: impl fmt::Display) -> Self {
        Self::new(path, place, Problem::Value { found: found.to_string(), expected: expected.to_string() })
    }

    /// Whether a file is not there, rather than wrong.
    pub fn is_missing(&self) -> bool {
        matches!(self.problem.as_ref(), Problem::System(error) if error.kind() == io::ErrorKind::NotFound)
    }
}
