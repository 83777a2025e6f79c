//! Deduplication by key: inside a batch exactly by value, against earlier ones by 128 bits per key.

mod cells;
mod codes;
mod equal;

use arrow_array::{BooleanArray, Int64Array, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hasher, RandomState};

pub use cells::Cells;
use cells::{Class, Values};
pub use codes::codes;
pub use equal::equal_rows;

use crate::error::{Error, ErrorKind, Result};

/// The key of each row as 128 bits, and the columns it came from.
struct Keys<'a> {
    codes: Vec<u128>,
    /// Codes are the keys themselves (one UUID column without nulls), not hashes of them.
    exact: bool,
    columns: Vec<Cells<'a>>,
}

impl<'a> Keys<'a> {
    /// Keys of all rows under the hash key `secret`; with no key columns, none of the rows has a key.
    fn of(rows: &'a RecordBatch, key: &[String], secret: (u64, u64)) -> Result<Keys<'a>> {
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
            let mut codes: Vec<u128> = uuids.iter().map(|uuid| u128::from_be_bytes(*uuid)).collect();
            let missing: Vec<usize> = (0..rows.num_rows()).filter(|row| one.is_null(*row)).collect();
            missing.iter().for_each(|row| codes[*row] = hashed(&columns, *row, secret, &mut spelled));
            return Ok(Keys { codes, exact: missing.is_empty(), columns });
        }
        let codes = (0..rows.num_rows()).map(|row| hashed(&columns, row, secret, &mut spelled)).collect();
        Ok(Keys { codes, exact: false, columns })
    }

    fn same(&self, a: usize, b: usize) -> bool {
        self.codes[a] == self.codes[b] && (self.exact || self.columns.iter().all(|cells| equal::equal_cells(cells, a, cells, b)))
    }

    /// Calls `each` with every row in turn and the first earlier row with the same key.
    fn visit(&self, mut each: impl FnMut(usize, Option<usize>)) {
        let rows = self.codes.len();
        if self.columns.is_empty() {
            return (0..rows).for_each(|row| each(row, None));
        }
        let hasher = FixedState::default();
        let mut seen: HashTable<u32> = HashTable::with_capacity(rows);
        for (row, code) in self.codes.iter().enumerate() {
            let at = seen.entry(
                hasher.hash_one(code),
                |earlier| self.same(*earlier as usize, row),
                |earlier| hasher.hash_one(self.codes[*earlier as usize]),
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
fn secret() -> (u64, u64) {
    let random = RandomState::new();
    (random.hash_one(0_u8), random.hash_one(1_u8))
}

/// A number nobody can foresee, for names that must not meet.
pub fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// Rows whose key was not seen before in the batch; the first stays, order kept.
///
/// Parts of a key that are null compare equal, as in [`equal_rows`]. Without key columns nothing is a duplicate.
pub fn deduplicate(rows: &RecordBatch, key: &[String]) -> Result<RecordBatch> {
    let mut repeats = Vec::new();
    Keys::of(rows, key, secret())?.visit(|row, first| {
        if first.is_some() {
            repeats.push(row);
        }
    });
    without(rows, &repeats)
}

/// All rows but these, order kept.
fn without(rows: &RecordBatch, repeats: &[usize]) -> Result<RecordBatch> {
    if repeats.is_empty() {
        return Ok(rows.clone());
    }
    let mut kept = BooleanBufferBuilder::new(rows.num_rows());
    kept.append_n(rows.num_rows(), true);
    repeats.iter().for_each(|row| kept.set_bit(*row, false));
    let kept = BooleanArray::from(kept.finish());
    arrow_select::filter::filter_record_batch(rows, &kept).map_err(|e| Error::new(ErrorKind::Plan, "key.rows", e.to_string()))
}

/// 20 bytes per key instead of 32: no alignment to 16.
struct Seen {
    code: [u32; 4],
    tag: u32,
}

/// Keys seen, each with its caller's tag. UUIDs are kept exactly, other keys as a 128-bit keyed hash.
pub struct KeyCache {
    seen: HashTable<Seen>,
    tags: Vec<i64>,
    numbers: HashMap<i64, u32, FixedState>,
    hasher: FixedState,
    secret: (u64, u64),
}

impl Default for KeyCache {
    fn default() -> Self {
        KeyCache::new()
    }
}

impl KeyCache {
    /// An empty cache with its own hash key.
    pub fn new() -> KeyCache {
        KeyCache {
            seen: HashTable::new(),
            tags: Vec::new(),
            numbers: HashMap::default(),
            hasher: FixedState::default(),
            secret: secret(),
        }
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether no key was seen.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Bytes held, free slots included.
    pub fn size_bytes(&self) -> usize {
        self.seen.allocation_size() + self.tags.len() * 8 + self.numbers.allocation_size()
    }

    /// Takes over the keys of rows; a key already there keeps its tag.
    pub fn add(&mut self, rows: &RecordBatch, key: &[String], tag: i64) -> Result<()> {
        let keys = Keys::of(rows, key, self.secret)?;
        if keys.columns.is_empty() {
            return Ok(());
        }
        let tags = &mut self.tags;
        let tag = *self.numbers.entry(tag).or_insert_with(|| {
            tags.push(tag);
            (tags.len() - 1) as u32
        });
        let hasher = &self.hasher;
        self.seen.reserve(keys.codes.len(), |seen| hasher.hash_one(seen.code));
        for code in keys.codes {
            let code = words(code);
            let at = self.seen.entry(hasher.hash_one(code), |seen| seen.code == code, |seen| hasher.hash_one(seen.code));
            at.or_insert(Seen { code, tag });
        }
        Ok(())
    }

    /// Rows whose key is new here and in the batch, order kept; their keys are taken over. Keys that are no UUIDs are told
    /// apart by 128 bits: who must be certain asks [`KeyCache::probe`] and compares the rows themselves.
    pub fn fresh(&mut self, rows: &RecordBatch, key: &[String], tag: i64) -> Result<RecordBatch> {
        let (first, tags) = self.probe(rows, key)?;
        let repeats: Vec<usize> = first
            .values()
            .iter()
            .zip(tags.values())
            .enumerate()
            .filter(|(_, (a, b))| **a >= 0 || **b >= 0)
            .map(|(row, _)| row)
            .collect();
        self.add(rows, key, tag)?;
        without(rows, &repeats)
    }

    /// Forgets keys with other tags.
    pub fn retain(&mut self, tags: &[i64]) {
        let known = std::mem::take(&mut self.tags);
        self.numbers.clear();
        let renumbered: Vec<Option<u32>> = known
            .iter()
            .map(|tag| {
                tags.contains(tag).then(|| {
                    self.tags.push(*tag);
                    self.numbers.insert(*tag, (self.tags.len() - 1) as u32);
                    (self.tags.len() - 1) as u32
                })
            })
            .collect();
        self.seen.retain(|seen| match renumbered[seen.tag as usize] {
            Some(tag) => {
                seen.tag = tag;
                true
            }
            None => false,
        });
        let hasher = &self.hasher;
        self.seen.shrink_to(0, |seen| hasher.hash_one(seen.code));
    }

    /// Per row the first earlier row of the batch with the same key or -1, and the tag of the cached key or -1.
    pub fn probe(&self, rows: &RecordBatch, key: &[String]) -> Result<(Int64Array, Int64Array)> {
        let keys = Keys::of(rows, key, self.secret)?;
        let mut first = Vec::with_capacity(keys.codes.len());
        keys.visit(|_, earlier| first.push(earlier.map_or(-1, |row| row as i64)));
        let tags = keys.codes.iter().map(|code| {
            let code = words(*code);
            self.seen.find(self.hasher.hash_one(code), |seen| seen.code == code).map_or(-1, |seen| self.tags[seen.tag as usize])
        });
        Ok((Int64Array::from(first), Int64Array::from_iter_values(tags)))
    }
}

fn words(code: u128) -> [u32; 4] {
    [code as u32, (code >> 32) as u32, (code >> 64) as u32, (code >> 96) as u32]
}
