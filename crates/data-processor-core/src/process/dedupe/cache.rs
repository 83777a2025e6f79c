//! Keys of earlier batches.

use arrow_array::{Int64Array, RecordBatch};
use foldhash::fast::{FixedState, RandomState};
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasher;

use super::Distinct;
use super::keys::{Keys, secret};
use super::shards::{Words, words};
use crate::error::Result;

/// 20 bytes per key instead of 32: no alignment to 16.
struct Seen {
    code: Words,
    tag: u32,
}

/// Keys seen, each with its caller's tag. UUIDs are kept exactly, other keys as a 128-bit keyed hash.
pub struct KeyCache {
    seen: HashTable<Seen>,
    tags: Vec<i64>,
    numbers: HashMap<i64, u32, FixedState>,
    /// Keyed by chance, so nobody can send keys that collide.
    hasher: RandomState,
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
            hasher: RandomState::default(),
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
        self.take_over(&Keys::of(rows, key, self.secret)?, tag, |_| {});
        Ok(())
    }

    /// Rows whose key is new here and in the batch, order kept; their keys are taken over. Keys that are no UUIDs are told
    /// apart by 128 bits: who must be certain asks [`KeyCache::probe`] and compares the rows themselves.
    pub fn fresh(&mut self, rows: &RecordBatch, key: &[String], tag: i64) -> Result<Distinct> {
        let mut repeats = Vec::new();
        self.take_over(&Keys::of(rows, key, self.secret)?, tag, |row| repeats.push(row as u32));
        Ok(Distinct { rows: rows.clone(), repeats })
    }

    /// Takes keys over; `known` is told the rows whose key was there.
    fn take_over(&mut self, keys: &Keys, tag: i64, mut known: impl FnMut(usize)) {
        if keys.columns.is_empty() {
            return;
        }
        let tags = &mut self.tags;
        let tag = *self.numbers.entry(tag).or_insert_with(|| {
            tags.push(tag);
            (tags.len() - 1) as u32
        });
        let hasher = &self.hasher;
        self.seen.reserve(keys.len(), |seen| hasher.hash_one(seen.code));
        for row in 0..keys.len() {
            let code = words(keys.code(row));
            match self.seen.entry(hasher.hash_one(code), |seen| seen.code == code, |seen| hasher.hash_one(seen.code)) {
                Entry::Occupied(_) => known(row),
                Entry::Vacant(free) => {
                    free.insert(Seen { code, tag });
                }
            }
        }
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
        let mut first = Vec::with_capacity(keys.len());
        keys.visit(|_, earlier| first.push(earlier.map_or(-1, |row| row as i64)));
        let tags = (0..keys.len()).map(|row| self.seen_key(keys.code(row)).map_or(-1, |seen| self.tags[seen.tag as usize]));
        Ok((Int64Array::from(first), Int64Array::from_iter_values(tags)))
    }

    fn seen_key(&self, code: u128) -> Option<&Seen> {
        let code = words(code);
        self.seen.find(self.hasher.hash_one(code), |seen| seen.code == code)
    }
}
