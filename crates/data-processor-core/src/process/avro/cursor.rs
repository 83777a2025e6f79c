//! Reading Avro's binary encoding: every length is checked before it is believed.

/// What is wrong with an encoded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ends too early.
    Short,
    /// A number is longer than its type, negative where a length stands, or names no branch or symbol.
    Number,
    /// More levels than any contract allows.
    Deep,
    /// More values without bytes than a body may hold.
    Empty,
    /// More text than a body may become.
    Large,
    /// Bytes follow the last value.
    Rest,
}

impl Fault {
    /// What is true, in words.
    pub fn words(self) -> &'static str {
        match self {
            Fault::Short => "it ends too early",
            Fault::Number => "a number is out of its range",
            Fault::Deep => "it is nested too deep",
            Fault::Empty => "it claims too many values that have no bytes",
            Fault::Large => "its records grow too large",
            Fault::Rest => "bytes follow where it should end",
        }
    }
}

/// A place in encoded bytes. `bytes` go on for [`PAD`](super::super::text::PAD) bytes after `end`.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    /// The bytes, padded.
    pub bytes: &'a [u8],
    /// Next byte to be read.
    pub at: usize,
    /// End of what may be read.
    pub end: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of the first `end` bytes of a padded buffer.
    pub fn new(bytes: &'a [u8], end: usize) -> Cursor<'a> {
        Cursor { bytes, at: 0, end }
    }

    /// Whether all was read.
    pub fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// A zigzag number of at most 64 bit.
    #[inline(always)]
    pub fn long(&mut self) -> Result<i64, Fault> {
        let first = self.bytes[self.at.min(self.bytes.len() - 1)];
        if first < 0x80 && self.at < self.end {
            self.at += 1;
            return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
        }
        self.long_of_many()
    }

    #[inline(never)]
    fn long_of_many(&mut self) -> Result<i64, Fault> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = *self.bytes[..self.end].get(self.at).ok_or(Fault::Short)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(Fault::Number);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
        }
    }

    /// A zigzag number of at most 32 bit.
    #[inline(always)]
    pub fn int(&mut self) -> Result<i32, Fault> {
        i32::try_from(self.long()?).map_err(|_| Fault::Number)
    }

    /// The place of so many bytes.
    #[inline(always)]
    pub fn take(&mut self, count: usize) -> Result<usize, Fault> {
        let at = self.at;
        if count > self.end - at.min(self.end) {
            return Err(Fault::Short);
        }
        self.at += count;
        Ok(at)
    }

    /// Place and length of bytes behind their length.
    #[inline(always)]
    pub fn run(&mut self) -> Result<(usize, usize), Fault> {
        let length = usize::try_from(self.long()?).map_err(|_| Fault::Number)?;
        Ok((self.take(length)?, length))
    }

    /// True or false.
    #[inline(always)]
    pub fn boolean(&mut self) -> Result<bool, Fault> {
        let at = self.take(1)?;
        match self.bytes[at] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::Number),
        }
    }

    /// Four bytes as a double.
    #[inline(always)]
    pub fn float(&mut self) -> Result<f64, Fault> {
        let at = self.take(4)?;
        Ok(f64::from(f32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())))
    }

    /// Eight bytes as a double.
    #[inline(always)]
    pub fn double(&mut self) -> Result<f64, Fault> {
        let at = self.take(8)?;
        Ok(f64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap()))
    }

    /// Which of `count` branches or symbols follows.
    #[inline(always)]
    pub fn choice(&mut self, count: usize) -> Result<usize, Fault> {
        usize::try_from(self.long()?).ok().filter(|choice| *choice < count).ok_or(Fault::Number)
    }

    /// Items of the next block of an array or map; 0 ends it. A block's size in bytes is read and not needed.
    #[inline(always)]
    pub fn block(&mut self) -> Result<u64, Fault> {
        let count = self.long()?;
        if count < 0 {
            let size = self.long()?;
            if size < 0 {
                return Err(Fault::Number);
            }
        }
        Ok(count.unsigned_abs())
    }
}
