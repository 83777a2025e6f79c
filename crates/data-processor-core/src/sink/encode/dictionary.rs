//! The distinct values of one column chunk, numbered in order of appearance.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use parquet::basic::Type as Physical;

use super::super::bounds::Edges;
use super::super::schema::Kind;

/// Numbers below it are small, and what is no code.
const SMALL: u64 = 256;
const NONE: u32 = u32::MAX;

/// Distinct values: numbers by their bits, everything else by its bytes.
pub struct Dictionary {
    /// Bytes of a fixed-width byte value; None where values carry their own length.
    width: Option<usize>,
    /// Codes, each with some of its value's hash: a table that grows, or meets another value, does not read values again.
    table: HashTable<(u32, u32)>,
    hasher: FixedState,
    numbers: Vec<u64>,
    /// Codes of small numbers, [`NONE`] where there is none: counts and hours need no hash. Empty before the first.
    small: Vec<u32>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Dictionary {
    /// An empty dictionary. `width`: of fixed-length byte values.
    pub fn new(width: Option<usize>) -> Dictionary {
        Dictionary {
            width,
            table: HashTable::new(),
            hasher: FixedState::default(),
            numbers: Vec::new(),
            small: Vec::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.numbers.len().max(self.ends.len())
    }

    /// Bytes of the values.
    pub fn size(&self) -> usize {
        self.numbers.len() * 8 + self.bytes.len() + self.ends.len() * 4
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.table.allocation_size() + (self.numbers.capacity() + self.ends.capacity()) * 8 + self.bytes.capacity()
    }

    /// The code of a number.
    #[inline]
    pub fn number(&mut self, bits: u64) -> u32 {
        match self.small.get(bits as usize) {
            Some(code) if *code != NONE => *code,
            _ => self.number_by_hash(bits),
        }
    }

    fn number_by_hash(&mut self, bits: u64) -> u32 {
        let code = self.hashed_number(bits);
        if bits < SMALL {
            self.small.resize(SMALL as usize, NONE);
            self.small[bits as usize] = code;
        }
        code
    }

    fn hashed_number(&mut self, bits: u64) -> u32 {
        let (numbers, hash) = (&mut self.numbers, kept(self.hasher.hash_one(bits)));
        let same = |(code, other): &(u32, u32)| *other == hash && numbers[*code as usize] == bits;
        match self.table.entry(spread(hash), same, |(_, hash)| spread(*hash)) {
            hashbrown::hash_table::Entry::Occupied(code) => code.get().0,
            hashbrown::hash_table::Entry::Vacant(free) => {
                let code = numbers.len() as u32;
                free.insert((code, hash));
                numbers.push(bits);
                code
            }
        }
    }

    /// The code of a byte value.
    #[inline]
    pub fn bytes(&mut self, value: &[u8]) -> u32 {
        let (ends, bytes, hash) = (&mut self.ends, &mut self.bytes, kept(self.hasher.hash_one(value)));
        let same = |(code, other): &(u32, u32)| *other == hash && slice(bytes, ends, *code as usize) == value;
        match self.table.entry(spread(hash), same, |(_, hash)| spread(*hash)) {
            hashbrown::hash_table::Entry::Occupied(code) => code.get().0,
            hashbrown::hash_table::Entry::Vacant(free) => {
                let code = ends.len() as u32;
                free.insert((code, hash));
                bytes.extend_from_slice(value);
                ends.push(bytes.len());
                code
            }
        }
    }

    /// The numbers by code.
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// The byte value of a code.
    pub fn value(&self, code: usize) -> &[u8] {
        slice(&self.bytes, &self.ends, code)
    }

    /// Appends a byte value as PLAIN spells it.
    pub fn spell(&self, code: usize, out: &mut Vec<u8>) {
        let value = self.value(code);
        if self.width.is_none() {
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        out.extend_from_slice(value);
    }

    /// Appends all values as PLAIN spells them, numbers in `bytes` bytes.
    pub fn spell_all(&self, bytes: usize, out: &mut Vec<u8>) {
        self.numbers.iter().for_each(|bits| out.extend_from_slice(&bits.to_le_bytes()[..bytes]));
        (0..self.ends.len()).for_each(|code| self.spell(code, out));
    }

    /// The edges of the values, read as `kind`.
    pub fn edges(&self, kind: &Kind, physical: Physical) -> Edges {
        let numbers = &self.numbers;
        match (kind, physical) {
            (Kind::Decimal { .. }, Physical::INT32) => {
                Edges::over(numbers.iter().map(|bits| i128::from(*bits as i32)), Ord::cmp, Edges::Decimal)
            }
            (Kind::Decimal { .. }, Physical::INT64) => {
                Edges::over(numbers.iter().map(|bits| i128::from(bits.cast_signed())), Ord::cmp, Edges::Decimal)
            }
            (Kind::Decimal { .. }, _) => {
                let unscaled = (0..self.len()).map(|code| decimal_of(self.value(code)));
                Edges::over(unscaled, Ord::cmp, Edges::Decimal)
            }
            (_, Physical::INT32) => Edges::over(numbers.iter().map(|bits| *bits as i32), Ord::cmp, Edges::I32),
            (_, Physical::INT64) => Edges::over(numbers.iter().map(|bits| bits.cast_signed()), Ord::cmp, Edges::I64),
            (_, Physical::FLOAT) => {
                let values = numbers.iter().map(|bits| f32::from_bits(*bits as u32)).filter(|value| !value.is_nan());
                Edges::over(values, f32::total_cmp, Edges::F32)
            }
            (_, Physical::DOUBLE) => {
                let values = numbers.iter().map(|bits| f64::from_bits(*bits)).filter(|value| !value.is_nan());
                Edges::over(values, f64::total_cmp, Edges::F64)
            }
            _ => {
                let values = (0..self.len()).map(|code| self.value(code));
                Edges::over(values, Ord::cmp, |low: &[u8], high: &[u8]| Edges::Bytes(low.to_vec(), high.to_vec()))
            }
        }
    }
}

/// The part of a hash that is kept.
fn kept(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// What a table is asked with: it takes the slot from the low bits and a tag from the top seven.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn decimal_of(bytes: &[u8]) -> i128 {
    let filler = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [filler; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    i128::from_be_bytes(wide)
}

#[inline]
fn slice<'a>(bytes: &'a [u8], ends: &[usize], code: usize) -> &'a [u8] {
    let start = if code == 0 { 0 } else { ends[code - 1] };
    &bytes[start..ends[code]]
}
