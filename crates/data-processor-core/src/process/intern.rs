//! Distinct texts of a column, numbered in order of their first appearance.
//!
//! Texts of at most 15 bytes are one `u128` (bytes and length): hashed, compared and stored without touching memory twice.
//! The hash is keyed by chance per table, so nobody can send texts that collide; codes do not depend on it.

use std::hash::{BuildHasher, RandomState};

use super::text::u128_at;
use super::wide::{Lane, first_bytes, lane};
use crate::contract::TextRule;

/// Slots of an empty table; a power of two.
const START: usize = 1024;
/// The top byte of a long text's key; a short text has its length there.
const LONG: u128 = 0xff << 120;

/// A set of texts with their codes.
///
/// The table is kept small, for it is looked up at random: a slot is four bytes. Its low bits are the code + 1 (0 is free; codes
/// stay below the number of slots), the bits above them are the hash's and spare nearly every look at a wrong key.
pub struct Interner {
    table: Vec<u32>,
    seed: (u64, u64),
    keys: Vec<u128>,
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

/// Where a short text that is new belongs.
pub struct Miss {
    slot: usize,
    hash: u64,
    key: u128,
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

    /// The code of a text of more than 15 bytes, or the free slot where it belongs.
    #[inline(always)]
    fn find(&self, hash: u64, key: u128, text: &[u8]) -> Result<u32, usize> {
        let mask = self.table.len() - 1;
        let (mut slot, tag) = (hash as usize & mask, tag(hash, mask));
        loop {
            let entry = self.table[slot];
            if entry == 0 {
                return Err(slot);
            }
            let code = (entry & mask as u32).wrapping_sub(1);
            if entry & !mask as u32 == tag && self.keys[code as usize] == key && self.text(code as usize) == text {
                return Ok(code);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The code of `bytes[at..at + length]` (padded buffer). A text seen for the first time must pass `admits`, or None comes back
    /// and it is not kept: rules run once per distinct text.
    #[inline(always)]
    pub fn code(&mut self, bytes: &[u8], at: usize, length: usize, admits: impl FnOnce(&[u8]) -> bool) -> Option<u32> {
        if length <= 15 {
            return self.short_code(lane(bytes, at), length).or_else(|miss| self.enter(miss, admits).ok_or(())).ok();
        }
        let text = &bytes[at..at + length];
        let hash = self.hash_long(text);
        let key = LONG | u128::from(hash);
        match self.find(hash, key, text) {
            Ok(code) => Some(code),
            Err(slot) => admits(text).then(|| self.add(slot, hash, key, text)),
        }
    }

    /// The code of the first `length` (at most 15) bytes of a lane; where they are new, what [`Interner::enter`] must know.
    #[inline(always)]
    pub fn short_code(&self, text: Lane, length: usize) -> Result<u32, Miss> {
        let key = short_key(text, length);
        let hash = self.hash(key);
        let mask = self.table.len() - 1;
        let (mut slot, tag) = (hash as usize & mask, tag(hash, mask));
        loop {
            let entry = self.table[slot];
            if entry & !mask as u32 == tag {
                // A free slot names a code that no text has.
                let code = (entry & mask as u32).wrapping_sub(1);
                if self.keys.get(code as usize) == Some(&key) {
                    return Ok(code);
                }
            }
            if entry == 0 {
                return Err(Miss { slot, hash, key });
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Gives a short text that is new a code, if it passes `admits`.
    #[cold]
    #[inline(never)]
    pub fn enter(&mut self, miss: Miss, admits: impl FnOnce(&[u8]) -> bool) -> Option<u32> {
        let text = miss.key.to_le_bytes();
        let text = &text[..usize::from(text[15])];
        admits(text).then(|| self.add(miss.slot, miss.hash, miss.key, text))
    }

    #[cold]
    fn add(&mut self, slot: usize, hash: u64, key: u128, text: &[u8]) -> u32 {
        self.keys.push(key);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as i32);
        let count = self.keys.len() as u32;
        self.table[slot] = tag(hash, self.table.len() - 1) | count;
        if self.keys.len() * 3 > self.table.len() * 2 {
            self.grow();
        }
        count - 1
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        let mut table = vec![0u32; mask + 1];
        for (code, key) in self.keys.iter().enumerate() {
            let hash = if key & LONG == LONG { *key as u64 } else { self.hash(*key) };
            let mut slot = hash as usize & mask;
            while table[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            table[slot] = tag(hash, mask) | (code as u32 + 1);
        }
        self.table = table;
    }
}

/// A text of at most 15 bytes, the first of a lane, and its length, as one number.
#[inline(always)]
fn short_key(text: Lane, length: usize) -> u128 {
    first_bytes(text, length) | (length as u128) << 120
}

/// The bits of a slot that the code leaves free, out of the upper half of the hash.
#[inline(always)]
fn tag(hash: u64, mask: usize) -> u32 {
    (hash >> 32) as u32 & !(mask as u32)
}

/// Slots of [`Admitted`]: two KiB a column stay in the processor's own cache.
const LATELY: usize = 128;

/// Short texts that a rule admitted lately: spares rules that cost more than a look.
pub struct Admitted(Box<[u128; LATELY]>);

impl Default for Admitted {
    /// Holds a key that no short text has.
    fn default() -> Self {
        Admitted(Box::new([LONG; LATELY]))
    }
}

impl Admitted {
    /// Whether `rule` admits `bytes[at..at + length]` (padded buffer).
    #[inline(always)]
    pub fn admits(&mut self, bytes: &[u8], at: usize, length: usize, rule: &TextRule) -> bool {
        if rule.surely_admits(length) {
            return true;
        }
        if length > 15 {
            return rule.admits(&bytes[at..at + length]);
        }
        self.admits_short(lane(bytes, at), length, rule)
    }

    /// As [`Admitted::admits`] for the first `length` (at most 15) bytes of a lane.
    #[inline(always)]
    pub fn admits_short(&mut self, text: Lane, length: usize, rule: &TextRule) -> bool {
        let key = short_key(text, length);
        // Odd and with well-spread bits (2^64 / golden ratio): the top bits of the product depend on all below them.
        let mixed = (key as u64 ^ ((key >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.0[(mixed >> 57) as usize % LATELY];
        if *slot == key {
            return true;
        }
        let admitted = rule.admits(&text[..length]);
        if admitted {
            *slot = key;
        }
        admitted
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
    fn what_was_admitted_lately_decides_nothing_but_itself() {
        let rule = TextRule { pattern: Some(regex::Regex::new("^[0-9]*[02468]$").unwrap()), ..TextRule::default() };
        let mut admitted = Admitted::default();
        for number in (0..600u64).chain(0..600).map(|n| n * n * n * n * n) {
            let text = number.to_string();
            let padded = [text.as_bytes(), &[b'0'; 64]].concat();
            assert_eq!(admitted.admits(&padded, 0, text.len(), &rule), number % 2 == 0, "{text}");
            assert!(admitted.admits(&padded, 0, text.len() + 1, &rule), "{text}0");
            assert!(!admitted.admits(&padded, 0, 0, &rule), "empty");
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
