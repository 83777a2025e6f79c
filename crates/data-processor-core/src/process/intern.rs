//! Distinct texts of a column, numbered in order of their first appearance.
//!
//! Texts of at most 15 bytes are one `u128` (bytes and length): hashed, compared and stored without touching memory twice.
//! The hash is keyed by chance per table, so nobody can send texts that collide; codes do not depend on it.

use std::hash::{BuildHasher, RandomState};

use super::text::u128_at;

const START: usize = 1024;
/// The top byte of a long text's key; a short text has its length there.
const LONG: u128 = 0xff << 120;

/// A set of texts with their codes.
pub struct Interner {
    /// Upper half of the hash and code + 1; 0 is free.
    table: Vec<u64>,
    seed: (u64, u64),
    keys: Vec<u128>,
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

#[inline(always)]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

impl Default for Interner {
    fn default() -> Self {
        let random = RandomState::new();
        let seed = (random.hash_one(1u8) | 1, random.hash_one(2u8) | 1);
        Interner { table: vec![0; START], seed, keys: Vec::new(), bytes: Vec::new(), ends: Vec::new() }
    }
}

impl Interner {
    /// Distinct texts.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of all distinct texts.
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all texts, keeps the memory.
    pub fn clear(&mut self) {
        self.table.fill(0);
        self.keys.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// Takes the texts out, in order of codes: all bytes, and where each text ends.
    pub fn take(&mut self) -> (Vec<u8>, Vec<i32>) {
        let taken = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.ends));
        self.clear();
        taken
    }

    /// The text of a code.
    #[inline(always)]
    pub fn text(&self, code: usize) -> &[u8] {
        let start = if code == 0 { 0 } else { self.ends[code - 1] as usize };
        &self.bytes[start..self.ends[code] as usize]
    }

    #[inline(always)]
    fn hash(&self, key: u128) -> u64 {
        fold(key as u64 ^ self.seed.0, (key >> 64) as u64 ^ self.seed.1).wrapping_mul(self.seed.1)
    }

    #[inline(always)]
    fn hash_long(&self, text: &[u8]) -> u64 {
        let mut hash = fold(text.len() as u64 ^ self.seed.0, self.seed.1);
        let mix = |hash: u64, word: u128| fold(word as u64 ^ hash, (word >> 64) as u64 ^ self.seed.1);
        for word in text.chunks_exact(16) {
            hash = mix(hash, u128_at(word, 0));
        }
        mix(hash, u128_at(text, text.len() - 16))
    }

    /// The code of a text, or the free slot where it belongs.
    #[inline(always)]
    fn find(&self, hash: u64, same: impl Fn(usize) -> bool) -> Result<u32, usize> {
        let mask = self.table.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.table[slot];
            if entry == 0 {
                return Err(slot);
            }
            if entry >> 32 == hash >> 32 && same(entry as u32 as usize - 1) {
                return Ok(entry as u32 - 1);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The code of `bytes[at..at + length]` (padded buffer). A text seen for the first time must pass `admits`, or None comes back
    /// and it is not kept: rules run once per distinct text.
    #[inline(always)]
    pub fn code(&mut self, bytes: &[u8], at: usize, length: usize, admits: impl FnOnce(&[u8]) -> bool) -> Option<u32> {
        let text = &bytes[at..at + length];
        let (hash, key, found);
        if length <= 15 {
            key = u128_at(bytes, at) & ((1 << (8 * length)) - 1) | (length as u128) << 120;
            hash = self.hash(key);
            found = self.find(hash, |code| self.keys[code] == key);
        } else {
            hash = self.hash_long(text);
            key = LONG | u128::from(hash);
            found = self.find(hash, |code| self.keys[code] == key && self.text(code) == text);
        }
        match found {
            Ok(code) => Some(code),
            Err(slot) => admits(text).then(|| self.add(slot, hash, key, text)),
        }
    }

    #[cold]
    fn add(&mut self, slot: usize, hash: u64, key: u128, text: &[u8]) -> u32 {
        self.keys.push(key);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as i32);
        let entry = self.keys.len() as u32;
        self.table[slot] = (hash >> 32) << 32 | u64::from(entry);
        if self.keys.len() * 2 > self.table.len() {
            self.grow();
        }
        entry - 1
    }

    fn grow(&mut self) {
        let size = self.table.len() * 4;
        let mut table = vec![0u64; size];
        for (code, key) in self.keys.iter().enumerate() {
            let hash = if key & LONG == LONG { *key as u64 } else { self.hash(*key) };
            let mut slot = hash as usize & (size - 1);
            while table[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            table[slot] = (hash >> 32) << 32 | (code as u64 + 1);
        }
        self.table = table;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_name_texts_whatever_their_length() {
        let mut interner = Interner::default();
        let texts: Vec<String> = (0..5_000).map(|n| format!("{n}{}", "x".repeat(n % 40))).collect();
        for round in 0..2 {
            for (at, text) in texts.iter().enumerate() {
                let padded = [text.as_bytes(), &[b'!'; 64]].concat();
                let code = interner.code(&padded, 0, text.len(), |_| round == 0);
                assert_eq!(code, Some(at as u32));
                assert_eq!(interner.text(at), text.as_bytes());
            }
        }
    }

    #[test]
    fn a_text_that_breaks_a_rule_is_not_kept() {
        let mut interner = Interner::default();
        let padded = [b"bad".as_slice(), &[0; 64]].concat();
        for _ in 0..2 {
            assert_eq!(interner.code(&padded, 0, 3, |_| false), None);
        }
        assert_eq!(interner.len(), 0);
    }
}
