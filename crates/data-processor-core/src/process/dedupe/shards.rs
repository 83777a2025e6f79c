//! Sets of 128-bit keys that grow piece by piece, up to a bound.
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

/// Bytes of the smallest table, and more.
const LEAST_BYTES: usize = 512;
/// Keys that a set takes whatever its bound: it is never so small that it holds next to nothing.
const FEWEST: usize = 1024;

/// Keys, 16 bytes each: at most 32 MB per million, and never more than its bound. The hash is keyed by chance, so nobody can send
/// keys that collide.
pub struct KeySet {
    pieces: Vec<HashTable<Words>>,
    names: Box<[u8; NAMES]>,
    hasher: RandomState,
    /// Most bytes it may take, the room to move or drain a piece included.
    most_bytes: usize,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was not there, and is now.
    New,
    /// It was there.
    Known,
    /// It is not there, and there is no room for it: drain the set first.
    Full,
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

impl Default for KeySet {
    fn default() -> Self {
        KeySet::bounded(usize::MAX)
    }
}

impl KeySet {
    /// An empty set that takes at most so many bytes, or what a thousand keys need.
    pub fn bounded(most_bytes: usize) -> KeySet {
        let pieces = (0..PIECES).map(|_| HashTable::new()).collect();
        KeySet { pieces, names: names(), hasher: RandomState::default(), most_bytes }
    }

    /// Bytes held, free slots included.
    pub fn size_bytes(&self) -> usize {
        NAMES + self.pieces.iter().map(HashTable::allocation_size).sum::<usize>()
    }

    /// Keys.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(HashTable::len).sum()
    }

    /// The hash of a key, which the other methods take.
    #[inline(always)]
    pub fn hash(&self, key: u128) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline(always)]
    fn piece(&self, hash: u64) -> usize {
        self.names[(hash >> 40) as usize % NAMES] as usize
    }

    /// Takes a key over.
    #[inline]
    pub fn take(&mut self, hash: u64, key: u128) -> Taken {
        let (at, words) = (self.piece(hash), words(key));
        if self.pieces[at].len() == self.pieces[at].capacity() && !self.may_grow(at) {
            return if self.contains(hash, key) { Taken::Known } else { Taken::Full };
        }
        let hasher = &self.hasher;
        match self.pieces[at].entry(hash, |seen| *seen == words, |seen| hasher.hash_one(key_of(*seen))) {
            Entry::Occupied(_) => Taken::Known,
            Entry::Vacant(free) => {
                free.insert(words);
                Taken::New
            }
        }
    }

    /// Whether a key was taken over.
    #[inline]
    pub fn contains(&self, hash: u64, key: u128) -> bool {
        let words = words(key);
        self.pieces[self.piece(hash)].find(hash, |seen| *seen == words).is_some()
    }

    /// Whether a full piece may double: both its tables are held while it moves, and the largest piece must find room to be sorted.
    #[cold]
    fn may_grow(&self, at: usize) -> bool {
        let (held, old) = (self.size_bytes(), self.pieces[at].allocation_size());
        let new = (2 * old).max(LEAST_BYTES);
        let largest = self.pieces.iter().map(HashTable::allocation_size).max().unwrap_or(0).max(new);
        (held + new).max(held - old + new + largest * 5 / 4) <= self.most_bytes || self.len() < FEWEST
    }

    /// Empties the set piece by piece, but keeps its room: `each` is given the keys with their [`order`], which rises from call to
    /// call and within each.
    pub fn drain<E>(&mut self, mut each: impl FnMut(&[(u64, Words)]) -> Result<(), E>) -> Result<(), E> {
        let mut sorted = Vec::with_capacity(self.pieces.iter().map(HashTable::len).max().unwrap_or(0));
        let hasher = &self.hasher;
        for piece in &mut self.pieces {
            sorted.clear();
            sorted.extend(piece.drain().map(|words| (order(hasher.hash_one(key_of(words))), words)));
            sorted.sort_unstable_by_key(|(order, _)| *order);
            each(&sorted)?;
        }
        Ok(())
    }
}

/// Where a key with this hash comes among others: the names of pieces first.
#[inline(always)]
pub fn order(hash: u64) -> u64 {
    hash.rotate_left(u64::BITS - 40 - NAMES.ilog2())
}

/// A key as four words.
#[inline(always)]
pub fn words(code: u128) -> Words {
    [code as u32, (code >> 32) as u32, (code >> 64) as u32, (code >> 96) as u32]
}

/// The key of four words.
#[inline(always)]
pub fn key_of(words: Words) -> u128 {
    words.iter().rev().fold(0, |code, word| code << 32 | u128::from(*word))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Numbers that look drawn by chance (SplitMix64).
    pub fn mixed(number: u64) -> u64 {
        let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A key as random as a UUID.
    fn key(number: u64) -> u128 {
        u128::from(mixed(number)) << 64 | u128::from(number)
    }

    fn take(set: &mut KeySet, key: u128) -> Taken {
        set.take(set.hash(key), key)
    }

    #[test]
    fn a_key_set_stays_within_its_bytes_per_key_at_every_size() {
        let mut set = KeySet::default();
        for number in 0..600_000 {
            assert_eq!(take(&mut set, key(number)), Taken::New);
            assert!(number % 1000 != 7 || take(&mut set, key(number)) == Taken::Known);
            if number > 100_000 && number % 5_000 == 0 {
                assert!(set.size_bytes() <= 32 * number as usize, "{} bytes for {number} keys", set.size_bytes());
            }
        }
    }

    #[test]
    fn a_full_set_says_so_and_stays_within_its_bound_each_time_it_is_drained() {
        for bound in [0, 250_000, 1_000_000, 3_000_000] {
            let (mut set, mut number) = (KeySet::bounded(bound), 0);
            for _ in 0..4 {
                let from = number;
                while take(&mut set, key(number)) == Taken::New {
                    number += 1;
                }
                assert!(
                    set.len() >= (bound / 60).max(FEWEST) && set.size_bytes() <= bound.max(100_000),
                    "{bound}: {}",
                    set.len()
                );
                assert_eq!(take(&mut set, key(from)), Taken::Known);
                let mut drained = Vec::new();
                set.drain(|keys| -> Result<(), ()> {
                    drained.extend_from_slice(keys);
                    Ok(())
                })
                .unwrap();
                assert!(drained.is_sorted_by_key(|(order, _)| *order));
                let mut found: Vec<u64> = drained.iter().map(|(_, words)| key_of(*words) as u64).collect();
                found.sort_unstable();
                assert!(found.into_iter().eq(from..number), "{bound}");
                assert_eq!(set.len(), 0);
            }
        }
    }

    #[test]
    fn words_are_their_key() {
        let key = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        assert_eq!(key_of(words(key)), key);
    }
}
