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

/// Keys, 16 bytes each: at most 32 MB per million. The hash is keyed by chance, so nobody can send keys that collide.
pub struct KeySet {
    pieces: Vec<HashTable<Words>>,
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

impl Default for KeySet {
    fn default() -> Self {
        KeySet { pieces: (0..PIECES).map(|_| HashTable::new()).collect(), names: names(), hasher: RandomState::default() }
    }
}

impl KeySet {
    /// Bytes held, free slots included.
    pub fn size_bytes(&self) -> usize {
        NAMES + self.pieces.iter().map(HashTable::allocation_size).sum::<usize>()
    }

    /// Takes a key over; whether it is new.
    #[inline]
    pub fn insert(&mut self, key: u128) -> bool {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(key);
        let (key, piece) = (words(key), self.names[(hash >> 40) as usize % NAMES] as usize);
        match self.pieces[piece].entry(hash, |seen| *seen == key, |seen| hasher.hash_one(key_of(*seen))) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(key);
                true
            }
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
