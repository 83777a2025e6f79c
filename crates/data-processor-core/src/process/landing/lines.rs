//! NDJSON read piece by piece: memory is bounded by the piece, not by the input.

use std::io::Read;

use crate::error::{Error, ErrorKind, Result};
use crate::process::text::PAD;

/// Fewest bytes of a piece.
const LEAST: usize = 256 << 10;

/// Most bytes of a line that is kept, where a record may have `most`.
pub fn longest(most: usize) -> usize {
    most.max(LEAST)
}

/// Whole lines of the input.
#[derive(Default)]
pub struct Piece {
    /// The lines, then what was read of others or [`PAD`] zero bytes.
    bytes: Vec<u8>,
    /// Bytes of the lines.
    end: usize,
    /// A line after them that was longer than any record may be, and was not kept: its bytes.
    pub skipped: Option<usize>,
}

impl Piece {
    /// The lines, and bytes behind them that can be read but mean nothing.
    pub fn padded(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of the lines.
    pub fn len(&self) -> usize {
        self.end
    }
}

/// A source of lines.
pub struct Lines<R> {
    source: R,
    /// What was read and not given out.
    rest: Vec<u8>,
    /// Most bytes of a line that is kept.
    most: usize,
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of a source of records of at most `most` bytes.
    pub fn new(source: R, most: usize) -> Lines<R> {
        Lines { source, rest: Vec::new(), most: longest(most), ended: false }
    }

    /// Reads about so many bytes of lines into a piece; false at the end of the source.
    pub fn next(&mut self, bytes: usize, piece: &mut Piece) -> Result<bool> {
        let mut size = bytes.max(LEAST).max(self.rest.len());
        piece.bytes.resize(size + PAD, 0);
        piece.bytes[..self.rest.len()].copy_from_slice(&self.rest);
        let (mut filled, mut searched) = (self.rest.len(), 0);
        self.rest.clear();
        (piece.end, piece.skipped) = (0, None);
        loop {
            filled = self.fill(&mut piece.bytes[..size], filled)?;
            match memchr::memrchr(b'\n', &piece.bytes[searched..filled]) {
                Some(at) => piece.end = searched + at + 1,
                None if self.ended => piece.end = filled,
                None if filled > self.most => {
                    piece.skipped = Some(self.skip(&mut piece.bytes[..size], filled)?);
                    return Ok(true);
                }
                None => {
                    (searched, size) = (filled, size * 2);
                    piece.bytes.resize(size + PAD, 0);
                    continue;
                }
            }
            self.rest.extend_from_slice(&piece.bytes[piece.end..filled]);
            // What the buffer held before must not be read as the end of the last line.
            piece.bytes[filled..filled + PAD].fill(0);
            return Ok(filled > 0);
        }
    }

    /// Reads until the buffer is full or the source ends.
    fn fill(&mut self, buffer: &mut [u8], mut filled: usize) -> Result<usize> {
        while filled < buffer.len() && !self.ended {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => self.ended = true,
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(Error::new(ErrorKind::Process, "landing.read", format!("the input cannot be read: {error}"))
                        .hint("nothing of it was landed; start again"));
                }
            }
        }
        Ok(filled)
    }

    /// Reads to the end of a line that is too long to be kept; its bytes.
    fn skip(&mut self, buffer: &mut [u8], mut filled: usize) -> Result<usize> {
        let mut bytes = 0;
        loop {
            let end = memchr::memchr(b'\n', &buffer[..filled]);
            bytes += end.unwrap_or(filled);
            if end.is_some() || self.ended {
                self.rest.extend_from_slice(&buffer[end.map_or(filled, |end| end + 1)..filled]);
                return Ok(bytes);
            }
            filled = self.fill(buffer, 0)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines and, after those of their piece, the length of what was not kept.
    fn lines(text: &[u8], most: usize) -> Vec<std::result::Result<Vec<u8>, usize>> {
        let (mut lines, mut piece, mut found) = (Lines::new(text, most), Piece::default(), Vec::new());
        while lines.next(1, &mut piece).unwrap() {
            assert_eq!(piece.padded()[piece.len()..].len().min(PAD), PAD);
            let kept = piece.padded()[..piece.len()].split_inclusive(|byte| *byte == b'\n');
            found.extend(kept.map(|line| Ok(line.strip_suffix(b"\n").unwrap_or(line).to_vec())));
            found.extend(piece.skipped.map(Err));
        }
        found
    }

    #[test]
    fn lines_are_those_of_the_whole_wherever_pieces_end() {
        let texts: Vec<String> = (0..4000).map(|n: usize| "x".repeat(n * 7919 % 601)).collect();
        let expected: Vec<_> = texts.iter().map(|text| Ok(text.clone().into_bytes())).collect();
        assert_eq!(lines(format!("{}\n", texts.join("\n")).as_bytes(), 1 << 20), expected);
        let last = texts.iter().rposition(|text| !text.is_empty()).unwrap();
        assert_eq!(lines(texts[..=last].join("\n").as_bytes(), 1 << 20), expected[..=last]);
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_left_behind() {
        let long = "y".repeat(3 * LEAST + 5);
        let text = format!("a\n{long}\nb\n");
        assert_eq!(lines(text.as_bytes(), LEAST), [Ok(b"a".to_vec()), Err(long.len()), Ok(b"b".to_vec())]);
        assert_eq!(lines(text.as_bytes(), 1 << 20).len(), 3);
        assert_eq!(lines(long.as_bytes(), LEAST), [Err(long.len())]);
    }
}
