//! Keys of rows as 128 bits.

use std::hash::{BuildHasher, Hasher, RandomState};

use arrow_array::RecordBatch;
use hashbrown::HashTable;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::cells::{Cells, Class, Values};
use super::equal;
use crate::error::{Error, ErrorKind, Result};

/// The key of each row as 128 bits, and the columns it came from.
pub(in crate::process) struct Keys<'a> {
    codes: Codes<'a>,
    /// Codes are the keys themselves (one UUID column without nulls), not hashes of them.
    exact: bool,
    pub(super) columns: Vec<Cells<'a>>,
}

/// Keys where they are, or made.
enum Codes<'a> {
    Uuids(&'a [[u8; 16]]),
    Made(Vec<u128>),
}

impl<'a> Keys<'a> {
    /// Keys of all rows under the hash key `secret`; with no key columns, none of the rows has a key.
    pub(in crate::process) fn of(rows: &'a RecordBatch, key: &[String], secret: (u64, u64)) -> Result<Keys<'a>> {
        let columns = key.iter().map(|name| Cells::named(rows, name)).collect::<Result<Vec<_>>>()?;
        for (name, cells) in key.iter().zip(&columns) {
            if matches!(cells.class(), Class::Struct | Class::List) {
                return Err(Error::new(
                    ErrorKind::Plan,
                    "key.unsupported_type",
                    format!("{name:?} is nested and cannot be a key"),
                )
                .hint("name its fields, dotted: `context.country`")
                .text("column", name.as_str()));
            }
        }
        let mut spelled = Vec::new();
        if let [one] = columns.as_slice()
            && let Values::Fixed(values) = one.values()
            && values.value_length() == 16
        {
            let (uuids, _) = values.value_data()[..rows.num_rows() * 16].as_chunks::<16>();
            if (0..rows.num_rows()).all(|row| !one.is_null(row)) {
                return Ok(Keys { codes: Codes::Uuids(uuids), exact: true, columns });
            }
            let code = |row: usize| match one.is_null(row) {
                true => hashed(&columns, row, secret, &mut spelled),
                false => u128::from_be_bytes(uuids[row]),
            };
            let codes = (0..rows.num_rows()).map(code).collect();
            return Ok(Keys { codes: Codes::Made(codes), exact: false, columns });
        }
        let codes = (0..rows.num_rows()).map(|row| hashed(&columns, row, secret, &mut spelled)).collect();
        Ok(Keys { codes: Codes::Made(codes), exact: false, columns })
    }

    /// Rows.
    pub(in crate::process) fn len(&self) -> usize {
        match &self.codes {
            Codes::Uuids(uuids) => uuids.len(),
            Codes::Made(codes) => codes.len(),
        }
    }

    /// The key of a row.
    #[inline(always)]
    pub(in crate::process) fn code(&self, row: usize) -> u128 {
        match &self.codes {
            Codes::Uuids(uuids) => u128::from_be_bytes(uuids[row]),
            Codes::Made(codes) => codes[row],
        }
    }

    fn same(&self, a: usize, b: usize) -> bool {
        self.code(a) == self.code(b) && (self.exact || self.columns.iter().all(|cells| equal::equal_cells(cells, a, cells, b)))
    }

    /// Calls `each` with every row in turn and the first earlier row with the same key.
    pub(in crate::process) fn visit(&self, mut each: impl FnMut(usize, Option<usize>)) {
        let rows = self.len();
        if self.columns.is_empty() {
            return (0..rows).for_each(|row| each(row, None));
        }
        let hasher = foldhash::fast::RandomState::default();
        let mut seen: HashTable<u32> = HashTable::with_capacity(rows);
        for row in 0..rows {
            let at = seen.entry(
                hasher.hash_one(self.code(row)),
                |earlier| self.same(*earlier as usize, row),
                |earlier| hasher.hash_one(self.code(*earlier as usize)),
            );
            match at {
                hashbrown::hash_table::Entry::Occupied(earlier) => each(row, Some(*earlier.get() as usize)),
                hashbrown::hash_table::Entry::Vacant(free) => {
                    free.insert(row as u32);
                    each(row, None);
                }
            }
        }
    }
}

/// 128-bit keyed hash of a key's parts. Each part is spelled with its length, so no two keys are spelled alike.
fn hashed(columns: &[Cells], row: usize, secret: (u64, u64), spelled: &mut Vec<u8>) -> u128 {
    spelled.clear();
    for cells in columns {
        if cells.is_null(row) {
            spelled.push(0);
            continue;
        }
        match cells.class() {
            Class::Nothing => spelled.push(0),
            Class::Bool | Class::Int => {
                spelled.push(1);
                spelled.extend_from_slice(&cells.long(row).to_le_bytes());
            }
            Class::Float => {
                let value = cells.double(row);
                let value = if value.is_nan() { f64::NAN } else { value + 0.0 }; // one NaN, one zero
                spelled.push(2);
                spelled.extend_from_slice(&value.to_le_bytes());
            }
            Class::Decimal(_) => {
                let Values::Decimal(values, _) = cells.values() else { continue };
                spelled.push(3);
                spelled.extend_from_slice(&values[row].to_le_bytes());
            }
            _ => {
                let bytes = cells.bytes(row);
                spelled.push(4);
                spelled.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                spelled.extend_from_slice(bytes);
            }
        }
    }
    let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
    hasher.write(spelled);
    hasher.finish128().as_u128()
}

/// A hash key nobody outside the process knows, so nobody can choose colliding keys.
pub(in crate::process) fn secret() -> (u64, u64) {
    let random = RandomState::new();
    (random.hash_one(0_u8), random.hash_one(1_u8))
}

/// A number nobody can foresee, for names that must not meet.
pub fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}
