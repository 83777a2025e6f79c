//! Sets of 128-bit keys that grow piece by piece.
//!
//! A hash table doubles when it is full: right after that it takes twice the memory it needs, and while it moves three times.
//! Here keys are spread over pieces of unequal size, so that at any time only some of them have just doubled and only one moves;
//! the memory per key stays near its mean (bytes per slot × 1.65), whatever the number of keys.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Pieces of a set.
const PIECES: usize = 32;
/// Hash values that name a piece.
const NAMES: usize = 4096;

/// A key's four words: no alignment to 16 bytes.
pub type Words = [u32; 4];

/// What is kept of a key.
pub trait Slot {
    /// The key.
    fn key(&self) -> Words;
}

/// A key with the number of its caller's tag.
pub struct Seen {
    /// The key.
    pub code: Words,
    /// Number of the tag.
    pub tag: u32,
}

impl Slot for Seen {
    fn key(&self) -> Words {
        self.code
    }
}

impl Slot for Words {
    fn key(&self) -> Words {
        *self
    }
}

/// Slots found by their key. The hash is keyed by chance, so nobody can send keys that collide.
pub struct Shards<S> {
    pieces: Vec<HashTable<S>>,
    names: Box<[u8; NAMES]>,
    hasher: RandomState,
}

/// Piece of each name: the last piece gets twice what the first one gets, those between in geometric steps.
fn names() -> Box<[u8; NAMES]> {
    let weight = |piece: usize| (piece as f64 / PIECES as f64).exp2();
    let total: f64 = (0..PIECES).map(weight).sum();
    let mut names = Box::new([0; NAMES]);
    let (mut until, mut piece) = (weight(0), 0);
    for (at, name) in names.iter_mut().enumerate() {
        while (at as f64 + 0.5) / NAMES as f64 * total > until && piece + 1 < PIECES {
            piece += 1;
            until += weight(piece);
        }
        *name = piece as u8;
    }
    names
}

impl<S: Slot> Default for Shards<S> {
    fn default() -> Self {
        Shards { pieces: (0..PIECES).map(|_| HashTable::new()).collect(), names: names(), hasher: RandomState::default() }
    }
}

impl<S: Slot> Shards<S> {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(HashTable::len).sum()
    }

    /// Bytes held, free slots included.
    pub fn size_bytes(&self) -> usize {
        NAMES + self.pieces.iter().map(HashTable::allocation_size).sum::<usize>()
    }

    #[inline(always)]
    fn place(&self, key: Words) -> (usize, u64) {
        let hash = self.hasher.hash_one(key_of(key));
        (self.names[(hash >> 40) as usize % NAMES] as usize, hash)
    }

    /// The slot of a key.
    #[inline]
    pub fn find(&self, key: Words) -> Option<&S> {
        let (piece, hash) = self.place(key);
        self.pieces[piece].find(hash, |slot| slot.key() == key)
    }

    /// Keeps a slot unless its key is there; whether it is new.
    #[inline]
    pub fn insert(&mut self, slot: S) -> bool {
        let key = slot.key();
        let (piece, hash) = self.place(key);
        let hasher = &self.hasher;
        match self.pieces[piece].entry(hash, |slot| slot.key() == key, |slot| hasher.hash_one(key_of(slot.key()))) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(slot);
                true
            }
        }
    }

    /// As [`Shards::insert`] for many keys, `slot` gives each; `known` is told those that were there, in any order.
    ///
    /// Piece by piece: a piece stays in the processor's own cache while it takes its keys, and grows at most once.
    pub fn insert_all(&mut self, count: usize, slot: impl Fn(usize) -> S, mut known: impl FnMut(usize)) {
        let mut places = Vec::with_capacity(count);
        let mut ends = [0_u32; PIECES];
        for at in 0..count {
            let (piece, hash) = self.place(slot(at).key());
            ends[piece] += 1;
            places.push((hash, piece as u8));
        }
        let mut start = 0;
        let mut next = ends.map(|count| {
            start += count;
            start - count
        });
        let mut order = vec![(0, 0); count];
        for (at, (hash, piece)) in places.iter().enumerate() {
            let to = &mut next[*piece as usize];
            order[*to as usize] = (*hash, at as u32);
            *to += 1;
        }
        let hasher = &self.hasher;
        let mut order = order.as_slice();
        for (piece, many) in self.pieces.iter_mut().zip(ends) {
            let (mine, rest) = order.split_at(many as usize);
            order = rest;
            let rehash = |slot: &S| hasher.hash_one(key_of(slot.key()));
            piece.reserve(mine.len(), rehash);
            for (hash, at) in mine {
                let slot = slot(*at as usize);
                let key = slot.key();
                match piece.entry(*hash, |slot| slot.key() == key, rehash) {
                    Entry::Occupied(_) => known(*at as usize),
                    Entry::Vacant(free) => {
                        free.insert(slot);
                    }
                }
            }
        }
    }

    /// Keeps the slots that `keep` wants, and no more memory than they need.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut S) -> bool) {
        let hasher = &self.hasher;
        for piece in &mut self.pieces {
            piece.retain(&mut keep);
            piece.shrink_to(0, |slot| hasher.hash_one(key_of(slot.key())));
        }
    }
}

/// A key as four words.
pub fn words(code: u128) -> Words {
    [code as u32, (code >> 32) as u32, (code >> 64) as u32, (code >> 96) as u32]
}

fn key_of(words: Words) -> u128 {
    words.iter().rev().fold(0, |code, word| code << 32 | u128::from(*word))
}

/// Keys seen, 16 bytes each: at most 32 MB per million.
#[derive(Default)]
pub struct KeySet(Shards<Words>);

impl KeySet {
    /// Takes a key over; whether it is new.
    #[inline]
    pub fn insert(&mut self, key: u128) -> bool {
        self.0.insert(words(key))
    }

    /// Bytes held, free slots included.
    pub fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look drawn by chance (SplitMix64).
    fn mixed(number: u64) -> u64 {
        let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn a_key_set_stays_within_its_bytes_per_key_at_every_size() {
        let mut set = KeySet::default();
        for number in 0..600_000 {
            let key = u128::from(mixed(number)) << 64 | u128::from(number);
            assert!(set.insert(key));
            assert!(number % 1000 != 7 || !set.insert(key));
            if number > 100_000 && number % 5_000 == 0 {
                assert!(set.size_bytes() <= 32 * number as usize, "{} bytes for {number} keys", set.size_bytes());
            }
        }
    }

    #[test]
    fn words_are_their_key() {
        let key = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        assert_eq!(key_of(words(key)), key);
    }
}
