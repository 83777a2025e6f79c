//! Dead letters of a batch: the records' own bytes and places, with every violation.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray, StructArray, UInt32Array, new_null_array};
use arrow_buffer::OffsetBuffer;
use arrow_schema::DataType;
use arrow_select::take::take;

use super::raw::Raw;
use super::slow::Refused;
use super::violation::Violation;
use crate::batch::{letters_schema, violation_fields};
use crate::contract::Plan;
use crate::error::Result;

/// The letters of the refused rows of a batch, in `LETTERS` layout.
pub fn letters(plan: &Plan, raw: &Raw, refused: &[(u32, Refused)]) -> Result<RecordBatch> {
    let rows = UInt32Array::from_iter_values(refused.iter().map(|(row, _)| *row));
    let schema = letters_schema();
    let taken = |array: &dyn Array| take(array, &rows, None).map_err(super::arrow);
    let constant = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows.len()))) };
    let stages = StringArray::from_iter_values(refused.iter().map(|(_, (stage, _))| stage.as_str()));
    let null =
        |name: &str| new_null_array(schema.field_with_name(name).map_or(&DataType::Null, |field| field.data_type()), rows.len());
    let columns = vec![
        constant(&plan.name),
        constant(&plan.version),
        decoded(taken(raw.log)?.as_ref()),
        decoded(taken(raw.partition)?.as_ref()),
        taken(raw.offset)?,
        taken(raw.request)?,
        taken(raw.received_at)?,
        Arc::new(stages),
        violations(refused.iter().map(|(_, (_, violations))| violations.as_slice())),
        taken(raw.value)?,
        taken(raw.key)?,
        taken(raw.source)?,
        null("first"),
        null("_replay"),
    ];
    RecordBatch::try_new(schema.clone(), columns).map_err(super::arrow)
}

/// A dictionary column as plain text.
fn decoded(column: &dyn Array) -> ArrayRef {
    let column = column.as_dictionary::<Int32Type>();
    let texts = column.downcast_dict::<StringArray>();
    Arc::new(texts.map(|texts| texts.into_iter().collect::<StringArray>()).unwrap_or_else(|| StringArray::new_null(column.len())))
}

/// Violations as a list of structs; `index` is null: the letter's place says which record.
fn violations<'a>(letters: impl Iterator<Item = &'a [Violation]>) -> ArrayRef {
    let (mut lengths, mut index) = (Vec::new(), Int64Builder::new());
    let mut texts: [StringBuilder; 5] = Default::default();
    for letter in letters {
        lengths.push(letter.len());
        for violation in letter {
            index.append_null();
            let values: [&str; 4] = [&violation.path, violation.code, &violation.message, &violation.hint];
            for (column, value) in texts.iter_mut().zip(values) {
                column.append_value(value);
            }
            texts[4].append_option(violation.value.as_deref());
        }
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(index.finish())];
    columns.extend(texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
    let element = arrow_schema::Field::new("element", DataType::Struct(violation_fields()), true);
    let items = StructArray::new(violation_fields(), columns, None);
    Arc::new(ListArray::new(Arc::new(element), OffsetBuffer::from_lengths(lengths), Arc::new(items), None))
}
