//! Arrow arrays to [`Column`]s: the few types that LeRobot's tables are made of.

use super::columns::{Column, uneven};
use super::error::Problem;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType, PrimitiveArray};
use arrow_schema::DataType;

/// Why an array is no column.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is no value in this row.
    Null(usize),
    Other(Problem),
}

fn other(found: &DataType) -> Refused {
    let expected = "numbers, flags, texts, pictures, or lists of them".to_owned();
    Refused::Other(Problem::Value { found: format!("type {found}"), expected })
}

pub(super) fn column(array: &dyn Array) -> Result<Column, Refused> {
    full(array)?;
    Ok(match array.data_type() {
        DataType::Utf8 => Column::Texts(texts(array.as_string::<i32>().iter())),
        DataType::LargeUtf8 => Column::Texts(texts(array.as_string::<i64>().iter())),
        DataType::Binary => Column::Bytes(array.as_binary::<i32>().iter().flatten().map(<[u8]>::to_vec).collect()),
        DataType::LargeBinary => Column::Bytes(array.as_binary::<i64>().iter().flatten().map(<[u8]>::to_vec).collect()),
        DataType::Struct(_) => match array.as_struct().column_by_name("bytes") {
            Some(bytes) => column(bytes.as_ref())?,
            None => return Err(other(array.data_type())),
        },
        DataType::List(_) => list(array)?,
        kind => match integers(array) {
            Some(values) => Column::Integers(values),
            None => Column::Numbers { per_row: 1, values: numbers(array).ok_or_else(|| other(kind))? },
        },
    })
}

fn full(array: &dyn Array) -> Result<(), Refused> {
    match (0..array.len()).find(|row| array.null_count() > 0 && array.is_null(*row)) {
        Some(row) => Err(Refused::Null(row)),
        None => Ok(()),
    }
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Vec<String> {
    values.flatten().map(str::to_owned).collect()
}

/// Rows of lists: of texts, or of as many numbers each; lists inside are more axes of the same.
fn list(array: &dyn Array) -> Result<Column, Refused> {
    let lists = array.as_list::<i32>();
    let offsets = lists.value_offsets();
    let lengths = offsets.windows(2).map(|pair| (pair[1] - pair[0]).max(0) as usize);
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(Column::Empty) };
    let inner = lists.values().slice(*first as usize, (last - first).max(0) as usize);
    full(inner.as_ref())?;
    if let DataType::Utf8 = inner.data_type() {
        let mut texts = texts(inner.as_string::<i32>().iter()).into_iter();
        return Ok(Column::TextLists(lengths.map(|length| texts.by_ref().take(length).collect()).collect()));
    }
    let (per_value, values) = match column(inner.as_ref())? {
        Column::Integers(values) => (1, values.into_iter().map(|value| value as f64).collect()),
        Column::Numbers { per_row, values } => (per_row, values),
        _ => return Err(other(array.data_type())),
    };
    let mut per_row = None;
    for length in lengths {
        match per_row {
            Some(per_row) if per_row != length => return Err(Refused::Other(uneven(per_row, length))),
            _ => per_row = Some(length),
        }
    }
    Ok(Column::Numbers { per_row: per_row.unwrap_or(0) * per_value, values })
}

fn integers(array: &dyn Array) -> Option<Vec<i64>> {
    fn of<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<Vec<i64>>
    where
        T::Native: Into<i64>,
    {
        array
            .as_primitive_opt::<T>()
            .map(|array: &PrimitiveArray<T>| array.values().iter().map(|v| (*v).into()).collect())
    }
    of::<Int64Type>(array)
        .or_else(|| of::<Int32Type>(array))
        .or_else(|| of::<Int16Type>(array))
        .or_else(|| of::<Int8Type>(array))
        .or_else(|| of::<UInt8Type>(array))
        .or_else(|| of::<UInt16Type>(array))
        .or_else(|| of::<UInt32Type>(array))
        .or_else(|| array.as_boolean_opt().map(|flags| flags.values().iter().map(i64::from).collect()))
}

fn numbers(array: &dyn Array) -> Option<Vec<f64>> {
    if let Some(values) = array.as_primitive_opt::<Float32Type>() {
        return Some(values.values().iter().map(|value| f64::from(*value)).collect());
    }
    if let Some(values) = array.as_primitive_opt::<UInt64Type>() {
        return Some(values.values().iter().map(|value| *value as f64).collect());
    }
    array.as_primitive_opt::<Float64Type>().map(|values| values.values().to_vec())
}
