//! Rows as 128-bit codes: equal rows have equal codes under one hash key.

use arrow_array::RecordBatch;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

use super::cells::{Cells, Values};
use crate::error::Result;

/// The code of some columns (dotted when nested) of every row, under a hash key. Nested values are spelled member by member.
pub fn codes(rows: &RecordBatch, columns: &[String], secret: (u64, u64)) -> Result<Vec<u128>> {
    let columns = columns.iter().map(|name| Cells::named(rows, name)).collect::<Result<Vec<_>>>()?;
    let mut spelled = Vec::new();
    Ok((0..rows.num_rows())
        .map(|row| {
            spelled.clear();
            columns.iter().for_each(|cells| spell(cells, row, &mut spelled));
            let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
            hasher.write(&spelled);
            hasher.finish128().as_u128()
        })
        .collect())
}

fn spell(cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) {
    if cells.is_null(row) {
        return out.push(0);
    }
    match cells.values() {
        Values::Nothing => out.push(0),
        Values::Bool(_) | Values::Int(_) | Values::Long(_) => {
            out.push(1);
            out.extend_from_slice(&cells.long(row).to_le_bytes());
        }
        Values::Float(_) | Values::Double(_) => {
            out.push(2);
            out.extend_from_slice(&(cells.double(row) + 0.0).to_le_bytes());
        }
        Values::Decimal(values, _) => {
            out.push(3);
            out.extend_from_slice(&values[row].to_le_bytes());
        }
        Values::Struct(members) => {
            out.push(4);
            members.iter().for_each(|(_, member)| spell(member, row, out));
        }
        Values::List(..) | Values::LargeList(..) => {
            let Some((first, end, items)) = cells.items(row) else { return };
            out.push(5);
            out.extend_from_slice(&((end - first) as u64).to_le_bytes());
            (first..end).for_each(|item| spell(items, item, out));
        }
        Values::Coded(codes, values) => spell(values, codes[row] as usize, out),
        _ => {
            let bytes = cells.bytes(row);
            out.push(6);
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
}
