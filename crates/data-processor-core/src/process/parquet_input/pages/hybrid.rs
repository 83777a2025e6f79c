//! Small numbers as Parquet writes levels and codes: runs of one number, and groups packed bit by bit.

use bytes::Bytes;

use super::Odd;

/// Numbers of a group: packed ones come by groups.
const GROUP: usize = 8;
/// Numbers that are unpacked at once.
const BLOCK: usize = 32;

/// Most numbers that a run may claim, as the crate has it.
const LONGEST: u64 = i32::MAX as u64;

/// The numbers of a page, in order.
#[derive(Clone)]
pub struct Hybrid {
    bytes: Bytes,
    at: usize,
    width: usize,
    run: Run,
}

#[derive(Clone)]
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
        let (at, count) = (bytes.len(), bytes.len() * 8);
        Hybrid { bytes, at, width: 1, run: Run::Packed { start: 0, next: 0, count } }
    }

    /// Whether no run follows the present one: the crate looks ahead, and may refuse what it sees there. What is left of a run is
    /// padding, of which some write more than a group.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
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

    /// The head of the next run. What the crate refuses, or takes for the end, is odd.
    fn head(&mut self) -> Result<Run, Odd> {
        let head = self.varint()?;
        if head & 1 == 1 {
            return self.packed(head >> 1);
        }
        let (count, bytes) = (head >> 1, self.width.div_ceil(8));
        let given = self.bytes.get(self.at..self.at + bytes).ok_or(Odd)?;
        self.at += bytes;
        let mut value = [0; 4];
        value[..bytes].copy_from_slice(given);
        let value = u32::from_le_bytes(value);
        if count == 0 || count > LONGEST || u64::from(value) >> self.width > 0 {
            return Err(Odd);
        }
        Ok(Run::Same(value, count as usize))
    }

    /// A run of so many groups. The last one of a page may end with the numbers that are needed: some leave its padding out.
    fn packed(&mut self, groups: u64) -> Result<Run, Odd> {
        // The crate reads no packed numbers of no bits.
        if self.width == 0 || groups == 0 || groups > LONGEST / GROUP as u64 {
            return Err(Odd);
        }
        let (start, left) = (self.at, self.bytes.len() - self.at);
        let (claimed, held) = (groups as usize * GROUP, left * 8 / self.width);
        let count = claimed.min(held);
        if count == 0 {
            return Err(Odd);
        }
        self.at += left.min(groups as usize * self.width);
        Ok(Run::Packed { start, next: 0, count })
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

    fn read(bytes: &[u8], width: usize, count: usize) -> Option<(Vec<u32>, bool)> {
        let (mut hybrid, mut read) = (Hybrid::new(bytes.to_vec().into(), width).ok()?, vec![0; count]);
        hybrid.read(&mut read).ok()?;
        Some((read, hybrid.is_at_end()))
    }

    #[test]
    fn a_last_group_may_lack_its_padding() {
        let values = [5, 6, 7, 1, 2];
        let whole = [vec![3], packed(&values, 3)].concat();
        assert_eq!(read(&whole, 3, 5), Some((values.to_vec(), true)));
        assert_eq!(read(&whole[..3], 3, 5), Some((values.to_vec(), true)));
        assert_eq!(read(&whole[..2], 3, 5), None, "only two numbers are there");
        assert_eq!(read(&whole[..1], 3, 1), None);
    }

    #[test]
    fn what_the_crate_refuses_or_reads_otherwise_is_odd() {
        assert_eq!(read(&[4, 1], 1, 2), Some((vec![1, 1], true)));
        for (bytes, width) in [
            (&[4, 2][..], 1),                                                          // more than its bits
            (&[8, 8], 3),                                                              // the same
            (&[0, 4, 1], 1),                                                           // a run of none: the end, to the crate
            (&[1, 4, 1], 1),                                                           // no groups
            (&[4], 1),                                                                 // a run without its number
            (&[3, 1], 0),                                                              // packed numbers of no bits
            (&[0xfe, 0xff, 0xff, 0xff, 0x1f, 1], 1),                                   // a run longer than the crate reads
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 32), // a head of eleven bytes
        ] {
            assert_eq!(read(bytes, width, 2), None, "{bytes:?}");
        }
        assert!(Hybrid::new(Bytes::new(), 33).is_err());
        assert_eq!(read(&[0xfe, 0xff, 0xff, 0xff, 0x0f, 1], 1, 2), Some((vec![1, 1], true)), "as long as the crate reads");
        assert_eq!(read(&[4, 1, 0], 1, 2), Some((vec![1, 1], false)), "something follows");
        assert_eq!(read(&[4], 0, 2), Some((vec![0, 0], true)));
    }

    #[test]
    fn bits_without_runs_follow_each_other_over_bytes() {
        let mut bits = Hybrid::bits(vec![0b101, 1].into());
        let mut read = [9; 9];
        assert!(bits.read(&mut read[..3]).is_ok());
        assert!(bits.read(&mut read[3..]).is_ok() && bits.is_at_end());
        assert_eq!(read, [1, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert!(bits.read(&mut [0; 8]).is_err());
    }
}
