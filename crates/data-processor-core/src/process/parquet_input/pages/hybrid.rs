//! Small numbers as Parquet writes levels and codes: runs of one number, and groups packed bit by bit.

use bytes::Bytes;

use super::Odd;

/// Numbers that are unpacked at once.
const BLOCK: usize = 32;

/// The numbers of a page, in order.
pub struct Hybrid {
    bytes: Bytes,
    at: usize,
    width: usize,
    run: Run,
}

enum Run {
    /// So many times a number.
    Same(u32, usize),
    /// Packed numbers that begin at a byte: the next one, and how many there are.
    Packed { start: usize, next: usize, count: usize },
}

impl Hybrid {
    /// Numbers of `width` bits.
    pub fn new(bytes: Bytes, width: usize) -> Result<Hybrid, Odd> {
        if width > 32 {
            return Err(Odd);
        }
        Ok(Hybrid { bytes, at: 0, width, run: Run::Same(0, 0) })
    }

    /// Numbers of one bit each, without runs.
    pub fn bits(bytes: Bytes) -> Hybrid {
        let count = bytes.len() * 8;
        Hybrid { bytes, at: usize::MAX, width: 1, run: Run::Packed { start: 0, next: 0, count } }
    }

    /// Numbers that follow in this run; reads the head of the next one where it is at its end.
    fn left(&mut self) -> Result<usize, Odd> {
        loop {
            match self.run {
                Run::Same(_, left) if left > 0 => return Ok(left),
                Run::Packed { next, count, .. } if next < count => return Ok(count - next),
                _ => self.run = self.head()?,
            }
        }
    }

    fn head(&mut self) -> Result<Run, Odd> {
        let head = self.varint()?;
        let count = (head >> 1) as usize;
        if head & 1 == 1 {
            if self.width == 0 {
                return Err(Odd); // the crate reads no such numbers
            }
            let (start, bytes) = (self.at, count.checked_mul(self.width).ok_or(Odd)?);
            self.at = start.checked_add(bytes).filter(|end| *end <= self.bytes.len()).ok_or(Odd)?;
            return Ok(Run::Packed { start, next: 0, count: count.checked_mul(8).ok_or(Odd)? });
        }
        let bytes = self.width.div_ceil(8);
        let given = self.bytes.get(self.at..self.at.checked_add(bytes).ok_or(Odd)?).ok_or(Odd)?;
        self.at += bytes;
        let mut value = [0; 4];
        value[..bytes].copy_from_slice(given);
        Ok(Run::Same(u32::from_le_bytes(value), count))
    }

    fn varint(&mut self) -> Result<u64, Odd> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(Odd)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Odd)
    }

    /// A number that follows several times, at most so many; None where packed ones follow.
    pub fn same(&mut self, most: usize) -> Result<Option<(u32, usize)>, Odd> {
        let count = self.left()?.min(most);
        match &mut self.run {
            Run::Same(value, left) => {
                *left -= count;
                Ok(Some((*value, count)))
            }
            Run::Packed { .. } => Ok(None),
        }
    }

    /// Fills `out` with the numbers that follow.
    pub fn read(&mut self, mut out: &mut [u32]) -> Result<(), Odd> {
        while !out.is_empty() {
            let count = self.left()?.min(out.len());
            let (now, later) = out.split_at_mut(count);
            match &mut self.run {
                Run::Same(value, left) => {
                    now.fill(*value);
                    *left -= count;
                }
                Run::Packed { start, next, .. } => {
                    unpack(&self.bytes[*start..], *next, self.width, now);
                    *next += count;
                }
            }
            out = later;
        }
        Ok(())
    }
}

/// Numbers of `width` bits from the `first` one on. Whole blocks are unpacked with shifts that the compiler knows.
fn unpack(packed: &[u8], mut first: usize, width: usize, mut out: &mut [u32]) {
    if width == 0 {
        return out.fill(0);
    }
    let lead = (first.next_multiple_of(BLOCK) - first).min(out.len());
    let (unaligned, aligned) = out.split_at_mut(lead);
    one_by_one(packed, first, width, unaligned);
    (first, out) = (first + lead, aligned);
    let blocks = out.len() / BLOCK;
    for _ in 0..blocks {
        let start = first / 8 * width;
        let Some(block) = packed.get(start..start + 4 * width).filter(|_| width <= WIDEST) else { break };
        let (now, later) = out.split_at_mut(BLOCK);
        block_of(width, block, now.try_into().unwrap());
        (first, out) = (first + BLOCK, later);
    }
    one_by_one(packed, first, width, out);
}

fn one_by_one(packed: &[u8], first: usize, width: usize, out: &mut [u32]) {
    let mask = u64::MAX >> (64 - width);
    for (at, value) in out.iter_mut().enumerate() {
        let bit = (first + at) * width;
        let byte = bit / 8;
        let word = match packed.get(byte..byte + 8) {
            Some(word) => u64::from_le_bytes(word.try_into().unwrap()),
            None => packed[byte..].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)), // the last bytes
        };
        *value = (word >> (bit % 8) & mask) as u32;
    }
}

/// Widest numbers that are unpacked by blocks: wider codes would be of a dictionary of more than a million texts.
const WIDEST: usize = 20;

/// Unpacks a block of numbers that are at most [`WIDEST`].
fn block_of(width: usize, packed: &[u8], out: &mut [u32; BLOCK]) {
    macro_rules! of_widths {
        ($($width:literal)*) => {
            match width {
                $($width => block::<$width>(packed, out),)*
                _ => unreachable!("wider than WIDEST"),
            }
        };
    }
    of_widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20);
}

#[inline(always)]
fn block<const WIDTH: usize>(packed: &[u8], out: &mut [u32; BLOCK]) {
    let mut words = [0u32; WIDTH];
    for (word, bytes) in words.iter_mut().zip(packed.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap());
    }
    let mask = u32::MAX >> (32 - WIDTH);
    macro_rules! each {
        ($($at:literal)*) => {
            $({
                let (word, shift) = ($at * WIDTH / 32, $at * WIDTH % 32);
                let low = words[word] >> shift;
                out[$at] = mask & if shift + WIDTH > 32 { low | words[word + 1] << (32 - shift) } else { low };
            })*
        };
    }
    each!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers packed bit by bit, in groups of eight.
    fn packed(values: &[u32], width: usize) -> Vec<u8> {
        let mut bytes = vec![0; values.len().next_multiple_of(8) * width / 8];
        for (at, value) in values.iter().enumerate() {
            for bit in 0..width {
                let place = at * width + bit;
                bytes[place / 8] |= ((value >> bit & 1) as u8) << (place % 8);
            }
        }
        bytes
    }

    fn varint(mut value: usize, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    proptest! {
        #[test]
        fn runs_and_groups_are_read_as_they_were_written(
            width in 1usize..=32, runs in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u32>(), 1..200)), 1..6),
            step in 1usize..150,
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (same, mut values) in runs {
                let mask = u32::MAX >> (32 - width);
                values.iter_mut().for_each(|value| *value &= mask);
                if same {
                    varint(values.len() << 1, &mut bytes);
                    bytes.extend_from_slice(&values[0].to_le_bytes()[..width.div_ceil(8)]);
                    expected.extend(std::iter::repeat_n(values[0], values.len()));
                } else {
                    values.resize(values.len().next_multiple_of(8), 0);
                    varint(((values.len() / 8) << 1) | 1, &mut bytes);
                    bytes.extend(packed(&values, width));
                    expected.extend(values);
                }
            }
            let mut hybrid = Hybrid::new(bytes.into(), width).unwrap_or_else(|_| unreachable!());
            let mut read = vec![0; expected.len()];
            for part in read.chunks_mut(step) {
                prop_assert!(hybrid.read(part).is_ok());
            }
            prop_assert_eq!(read, expected);
            prop_assert!(hybrid.read(&mut [0]).is_err(), "there is no more");
        }
    }
}
