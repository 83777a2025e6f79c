//! Rules of typed columns, column by column: text rules once per distinct text, ranges over whole vectors.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, StringArray};
use arrow_schema::DataType;

use super::wide;
use crate::contract::{Kind, Plan, TextRule};

/// Marks the rows of typed columns that break, or may break, a rule of the plan. On a bound of a double the record's text decides;
/// where that is the shortest that names the double (`shortest`), on a closed bound the double does.
pub fn marked(plan: &Plan, columns: &[ArrayRef], rows: usize, shortest: bool) -> Vec<bool> {
    let mut marks = vec![false; rows];
    for (field, column) in plan.record().fields.iter().zip(columns) {
        mark(plan, field.kind, column, &mut marks, shortest);
    }
    marks
}

fn mark(plan: &Plan, kind: Kind, column: &ArrayRef, marks: &mut [bool], shortest: bool) {
    match kind {
        Kind::Text(leaf) if !plan.texts[leaf].is_free() => mark_text(&plan.texts[leaf], column, marks),
        Kind::Integer(leaf) => mark_values::<Int64Type>(column, marks, |value| plan.integers[leaf].admits(value)),
        Kind::Number(leaf) => {
            mark_values::<Float64Type>(column, marks, |value| plan.numbers[leaf].surely_admits(value, shortest))
        }
        Kind::Decimal(leaf) => mark_values::<Decimal128Type>(column, marks, |value| plan.decimals[leaf].admits(value)),
        Kind::Object(number) => {
            for (field, child) in plan.nodes[number].fields.iter().zip(column.as_struct().columns()) {
                mark(plan, field.kind, child, marks, shortest);
            }
        }
        Kind::Array(number) => mark_lists(plan, number, column, marks, shortest),
        _ => {} // a type is all these have
    }
}

fn mark_values<T: ArrowPrimitiveType>(column: &ArrayRef, marks: &mut [bool], admits: impl Fn(T::Native) -> bool) {
    let column = column.as_primitive::<T>();
    // Nearly always all are good, and that is told without a branch for each.
    if column.values().iter().fold(true, |good, value| good & admits(*value)) {
        return;
    }
    for (row, (mark, value)) in marks.iter_mut().zip(column.values()).enumerate() {
        *mark |= !admits(*value) && column.is_valid(row);
    }
}

fn mark_text(rule: &TextRule, column: &ArrayRef, marks: &mut [bool]) {
    if matches!(column.data_type(), DataType::Dictionary(..)) {
        let column = column.as_dictionary::<Int32Type>();
        let broken = broken_texts(rule, column.values().as_string());
        if broken.contains(&true) {
            for (row, (mark, code)) in marks.iter_mut().zip(column.keys().values()).enumerate() {
                *mark |= column.is_valid(row) && broken[*code as usize];
            }
        }
    } else {
        let broken = broken_texts(rule, column.as_string());
        for (row, (mark, broken)) in marks.iter_mut().zip(broken).enumerate() {
            *mark |= broken && column.is_valid(row);
        }
    }
}

/// Whether each text breaks the rule; for a null, whether an empty one does.
fn broken_texts(rule: &TextRule, texts: &StringArray) -> Vec<bool> {
    let bytes = texts.value_data();
    if rule.is_ipv4_only() {
        let breaks = |pair: &[i32]| !wide::is_ipv4(&bytes[pair[0] as usize..pair[1] as usize]);
        return texts.value_offsets().windows(2).map(breaks).collect();
    }
    let breaks = |pair: &[i32]| {
        let text = &bytes[pair[0] as usize..pair[1] as usize];
        !rule.surely_admits(text.len()) && !rule.admits(text)
    };
    texts.value_offsets().windows(2).map(breaks).collect()
}

fn mark_lists(plan: &Plan, number: usize, column: &ArrayRef, marks: &mut [bool], shortest: bool) {
    let (rule, column) = (&plan.arrays[number], column.as_list::<i32>());
    let mut items = vec![false; column.values().len()];
    mark(plan, rule.item.kind, column.values(), &mut items, shortest);
    for (row, mark) in marks.iter_mut().enumerate().filter(|(row, _)| column.is_valid(*row)) {
        let (start, end) = (column.value_offsets()[row] as usize, column.value_offsets()[row + 1] as usize);
        *mark |= !rule.admits(end - start) || items[start..end].contains(&true);
    }
}
