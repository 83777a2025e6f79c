//! Texts end to end, as their pages hold them.

use arrow_array::StringArray;
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::Odd;
use super::sink::within;

/// Bytes that are copied at once: most texts are no longer, and a copy of a length that is known is no call.
const STRIDE: usize = 16;
/// Bytes that room is made for at once.
const BLOCK: usize = 16 << 10;
/// Most bytes that are kept free for the texts of a batch that will follow.
const AHEAD: usize = 64 << 20;

/// Most bytes that texts of a dictionary become: one long text may stand in every row.
const GATHERED: usize = 256 << 20;

/// Texts end to end.
pub struct Laid {
    pub bytes: Vec<u8>,
    /// Where each text ends, a zero before them.
    pub ends: Vec<i32>,
}

impl Default for Laid {
    fn default() -> Self {
        Laid { bytes: Vec::new(), ends: vec![0] }
    }
}

/// Copies `from[start..start + length]` to `to[at..]`.
#[inline(always)]
fn copy(from: &[u8], start: usize, length: usize, to: &mut [u8], at: usize) {
    if length <= STRIDE
        && let (Some(from), Some(to)) = (from.get(start..start + STRIDE), to.get_mut(at..at + STRIDE))
    {
        return to.copy_from_slice(from); // what is too much is written over, or cut off
    }
    to[at..at + length].copy_from_slice(&from[start..start + length]);
}

impl Laid {
    /// Adds texts, each after its length in four bytes; bytes that they took.
    pub fn plain(&mut self, page: &[u8], count: usize) -> Result<usize, Odd> {
        let (mut end, mut at) = (self.bytes.len(), 0);
        if count > page.len() / 4 {
            return Err(Odd);
        }
        self.ends.reserve(count);
        for _ in 0..count {
            let length = u32::from_le_bytes(page.get(at..at + 4).ok_or(Odd)?.try_into().unwrap()) as usize;
            at += 4;
            if length > page.len() - at {
                return Err(Odd);
            }
            if end + length + STRIDE > self.bytes.len() {
                self.bytes.resize(end + length + BLOCK, 0);
            }
            copy(page, at, length, &mut self.bytes, end);
            (at, end) = (at + length, end + length);
            self.ends.push(end as i32);
        }
        self.bytes.truncate(end);
        if end > i32::MAX as usize { Err(Odd) } else { Ok(at) }
    }

    /// Adds texts of a dictionary.
    pub fn gather(&mut self, codes: &[u32], dictionary: &StringArray) -> Result<(), Odd> {
        let (bytes, ends) = (dictionary.value_data(), dictionary.value_offsets());
        within(codes, &ends[1..])?;
        let (first, number) = (self.bytes.len(), self.ends.len());
        let mut end = first;
        for code in codes {
            end += (ends[*code as usize + 1] - ends[*code as usize]) as usize;
            self.ends.push(end as i32);
        }
        if end > GATHERED {
            return Err(Odd);
        }
        self.bytes.resize(end, 0);
        for (code, pair) in codes.iter().zip(self.ends[number - 1..].windows(2)) {
            let length = (pair[1] - pair[0]) as usize;
            copy(bytes, ends[*code as usize] as usize, length, &mut self.bytes, pair[0] as usize);
        }
        Ok(())
    }

    /// Makes room for the texts of so many rows, by those that are there.
    pub fn expect(&mut self, rows: usize) {
        let texts = self.ends.len() - 1;
        let room = (self.bytes.len() / texts.max(1) * 17 / 16).saturating_mul(rows.saturating_sub(texts));
        self.bytes.reserve_exact(room.min(AHEAD));
    }

    /// Puts nulls between the texts that were added last.
    pub fn spread(&mut self, valid: &[bool]) {
        let mut dense = valid.iter().filter(|valid| **valid).count();
        let start = self.ends.len() - dense;
        self.ends.resize(start + valid.len(), 0);
        for (row, valid) in valid.iter().enumerate().rev() {
            // A null ends where the text before it does.
            self.ends[start + row] = self.ends[start + dense - 1];
            dense -= usize::from(*valid);
        }
    }

    /// The texts as an array; odd where some bytes are no text.
    pub fn array(self, nulls: Option<NullBuffer>) -> Result<StringArray, Odd> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        StringArray::try_new(offsets, Buffer::from_vec(self.bytes), nulls).map_err(|_| Odd)
    }
}
