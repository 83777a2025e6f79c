//! Equality of rows by typed values.

use arrow_array::{BooleanArray, RecordBatch};

use super::cells::{Cells, Class, Values};
use crate::error::{Error, ErrorKind, Result};

/// Per row whether the named columns hold equal values: null equals null, NaN equals NaN, 0.0 equals -0.0, lists and structs
/// by their parts, text as plain UTF-8 or as codes.
pub fn equal_rows(left: &RecordBatch, right: &RecordBatch, columns: &[String]) -> Result<BooleanArray> {
    if left.num_rows() != right.num_rows() {
        let message = format!("{} rows cannot be compared with {} rows one by one", left.num_rows(), right.num_rows());
        return Err(Error::new(ErrorKind::Plan, "key.row_count", message)
            .int("left", left.num_rows() as i64)
            .int("right", right.num_rows() as i64));
    }
    let mut same = vec![true; left.num_rows()];
    for name in columns {
        let (left, right) = (Cells::named(left, name)?, Cells::named(right, name)?);
        comparable(&left, &right, name)?;
        for (row, same) in same.iter_mut().enumerate() {
            *same = *same && equal_cells(&left, row, &right, row);
        }
    }
    Ok(BooleanArray::from(same))
}

/// Refuses two columns whose values mean different things.
pub(super) fn comparable(left: &Cells, right: &Cells, name: &str) -> Result<()> {
    let (a, b) = (left.class(), right.class());
    let differ = || {
        Error::new(ErrorKind::Plan, "key.type_mismatch", format!("column {name:?} is {a:?} on one side and {b:?} on the other"))
            .hint("read the rows back with the table's own schema")
            .text("column", name)
    };
    match (left.values(), right.values()) {
        (Values::Nothing, _) | (_, Values::Nothing) => Ok(()),
        (Values::Struct(ours), Values::Struct(theirs)) => {
            for (child, cells) in ours {
                let other = theirs.iter().find(|(other, _)| other == child);
                other.map_or(Ok(()), |(_, other)| comparable(cells, other, &format!("{name}.{child}")))?;
            }
            Ok(())
        }
        _ if a == Class::List && b == Class::List => match (list_items(left), list_items(right)) {
            (Some(ours), Some(theirs)) => comparable(ours, theirs, &format!("{name}.element")),
            _ => Ok(()),
        },
        _ if a == b => Ok(()),
        _ => Err(differ()),
    }
}

fn list_items<'c, 'a>(cells: &'c Cells<'a>) -> Option<&'c Cells<'a>> {
    match cells.values() {
        Values::List(_, items) | Values::LargeList(_, items) => Some(items),
        _ => None,
    }
}

/// Whether two cells of comparable columns hold the same value.
pub(super) fn equal_cells(left: &Cells, i: usize, right: &Cells, j: usize) -> bool {
    if missing(left, i) || missing(right, j) {
        return missing(left, i) && missing(right, j);
    }
    match (left.values(), right.values()) {
        (Values::Decimal(ours, _), Values::Decimal(theirs, _)) => ours[i] == theirs[j],
        (Values::Struct(ours), Values::Struct(theirs)) => equal_structs(ours, i, theirs, j),
        _ => match left.class() {
            Class::Bool | Class::Int => left.long(i) == right.long(j),
            Class::Float => {
                let (a, b) = (left.double(i), right.double(j));
                a == b || (a.is_nan() && b.is_nan())
            }
            Class::Text | Class::Bytes => left.bytes(i) == right.bytes(j),
            _ => equal_lists(left, i, right, j),
        },
    }
}

/// A dictionary's null may sit in its values, an untyped column has nothing but nulls.
fn missing(cells: &Cells, row: usize) -> bool {
    cells.is_null(row) || matches!(cells.values(), Values::Nothing)
}

/// By field name: a field that only one side knows counts as null on the other, so a column added later makes no difference.
fn equal_structs(ours: &[(&str, Cells)], i: usize, theirs: &[(&str, Cells)], j: usize) -> bool {
    let find = |side: &[(&str, Cells)], name: &str| side.iter().position(|(other, _)| *other == name);
    ours.iter().all(|(name, cells)| match find(theirs, name) {
        Some(at) => equal_cells(cells, i, &theirs[at].1, j),
        None => missing(cells, i),
    }) && theirs.iter().all(|(name, cells)| find(ours, name).is_some() || missing(cells, j))
}

fn equal_lists(left: &Cells, i: usize, right: &Cells, j: usize) -> bool {
    match (left.items(i), right.items(j)) {
        (Some((a, a_end, ours)), Some((b, b_end, theirs))) => {
            a_end - a == b_end - b && (0..a_end - a).all(|k| equal_cells(ours, a + k, theirs, b + k))
        }
        _ => false,
    }
}
