//! One column of a table as plain values.

use super::error::{DatasetError, Place, Problem};
use super::table::Table;

/// What a column holds, one entry per row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Column {
    /// A table without rows.
    Empty,
    Integers(Vec<i64>),
    /// As many in every row.
    Numbers {
        per_row: usize,
        values: Vec<f64>,
    },
    Texts(Vec<String>),
    TextLists(Vec<Vec<String>>),
    Bytes(Vec<Vec<u8>>),
}

impl Column {
    fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "nothing",
            Self::Integers(_) => "integers",
            Self::Numbers { .. } => "numbers",
            Self::Texts(_) => "texts",
            Self::TextLists(_) => "lists of texts",
            Self::Bytes(_) => "bytes",
        }
    }

    /// What it costs to keep, in values.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Integers(values) => values.len(),
            Self::Numbers { values, .. } => values.len(),
            Self::Texts(texts) => texts.iter().map(|text| 4 + text.len() / 8).sum(),
            Self::TextLists(lists) => {
                lists.iter().flatten().map(|text| 4 + text.len() / 8).sum::<usize>() + lists.len()
            }
            Self::Bytes(rows) => rows.iter().map(|row| 4 + row.len() / 8).sum(),
        }
    }

    /// The rows of another batch behind these.
    pub(super) fn append(&mut self, other: Self) -> Result<(), Problem> {
        match (&mut *self, other) {
            (_, Self::Empty) => {}
            (Self::Empty, other) => *self = other,
            (Self::Integers(all), Self::Integers(more)) => all.extend(more),
            (Self::Texts(all), Self::Texts(more)) => all.extend(more),
            (Self::TextLists(all), Self::TextLists(more)) => all.extend(more),
            (Self::Bytes(all), Self::Bytes(more)) => all.extend(more),
            (Self::Numbers { per_row, values }, Self::Numbers { per_row: other, values: more }) => {
                if *per_row != other {
                    return Err(uneven(*per_row, other));
                }
                values.extend(more);
            }
            (all, more) => {
                return Err(Problem::Damaged(format!("{} behind {} in one column", more.kind(), all.kind())));
            }
        }
        Ok(())
    }

    pub(super) fn integers(self, table: &Table, name: &str) -> Result<Vec<i64>, DatasetError> {
        match self {
            Self::Integers(values) => Ok(values),
            Self::Empty => Ok(Vec::new()),
            other => Err(other.refused(table, name, "integers")),
        }
    }

    pub(super) fn texts(self, table: &Table, name: &str) -> Result<Vec<String>, DatasetError> {
        match self {
            Self::Texts(values) => Ok(values),
            Self::Empty => Ok(Vec::new()),
            other => Err(other.refused(table, name, "texts")),
        }
    }

    pub(super) fn text_lists(self, table: &Table, name: &str) -> Result<Vec<Vec<String>>, DatasetError> {
        match self {
            Self::TextLists(values) => Ok(values),
            Self::Empty => Ok(Vec::new()),
            other => Err(other.refused(table, name, "lists of texts")),
        }
    }

    pub(super) fn bytes(self, table: &Table, name: &str) -> Result<Vec<Vec<u8>>, DatasetError> {
        match self {
            Self::Bytes(values) => Ok(values),
            Self::Empty => Ok(Vec::new()),
            other => Err(other.refused(table, name, "pictures, each a struct of bytes and path")),
        }
    }

    /// `[rows, per_row]`; integers are numbers too.
    pub(super) fn numbers(self, table: &Table, name: &str) -> Result<(usize, Vec<f64>), DatasetError> {
        match self {
            Self::Numbers { per_row, values } => Ok((per_row, values)),
            // Exact below 2^53: indices and counts.
            Self::Integers(values) => Ok((1, values.into_iter().map(|value| value as f64).collect())),
            Self::Empty => Ok((0, Vec::new())),
            other => Err(other.refused(table, name, "numbers")),
        }
    }

    fn refused(&self, table: &Table, name: &str, expected: &str) -> DatasetError {
        DatasetError::value(table.path(), Place::Column { name: name.to_owned(), byte: 0 }, self.kind(), expected)
    }
}

pub(super) fn uneven(first: usize, other: usize) -> Problem {
    Problem::Value {
        found: format!("a row of {other} values behind rows of {first}"),
        expected: "as many in each".to_owned(),
    }
}
