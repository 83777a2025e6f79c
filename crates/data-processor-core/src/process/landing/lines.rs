//! NDJSON read piece by piece: memory is bounded by the piece, not by the input.

use std::io::Read;

use crate::error::{Error, ErrorKind, Result};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Whole lines of the input.
#[derive(Default)]
pub struct Piece {
    /// Where each record stands in [`Lines::bytes`]: start, end, 1-based line.
    pub records: Vec<(usize, usize, u64)>,
    /// A line that was longer than any record may be, and was not kept: its number and bytes.
    pub skipped: Option<(u64, usize)>,
}

/// A source of lines.
pub struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were read.
    filled: usize,
    /// Bytes of the buffer that were given out.
    given: usize,
    /// Most bytes of a line that is kept.
    most: usize,
    line: u64,
    ended: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of a source; those longer than `most` bytes are not kept.
    pub fn new(source: R, most: usize) -> Lines<R> {
        Lines { source, buffer: vec![0; PIECE_BYTES], filled: 0, given: 0, most, line: 0, ended: false }
    }

    /// The bytes of the last piece.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.given]
    }

    /// The next lines; None at the end of the source.
    pub fn next(&mut self) -> Result<Option<Piece>> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        loop {
            self.fill()?;
            let end = memchr::memrchr(b'\n', &self.buffer[..self.filled]).map(|at| at + 1);
            match end {
                Some(end) => return Ok(Some(self.cut(end))),
                None if self.ended && self.filled == 0 => return Ok(None),
                None if self.ended => return Ok(Some(self.cut(self.filled))),
                None if self.filled > self.most => return self.skip().map(Some),
                None => self.buffer.resize(self.buffer.len() * 2, 0),
            }
        }
    }

    /// Reads until the buffer is full or the source ends.
    fn fill(&mut self) -> Result<()> {
        while self.filled < self.buffer.len() && !self.ended {
            match self.source.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::new(ErrorKind::Process, "landing.read", format!("the input cannot be read: {error}"))
                        .hint("nothing of it was landed; start again")
                        .int("line", self.line + 1));
                }
            }
        }
        Ok(())
    }

    fn cut(&mut self, end: usize) -> Piece {
        let (mut piece, mut start) = (Piece::default(), 0);
        while start < end {
            let stop = memchr::memchr(b'\n', &self.buffer[start..end]).map_or(end, |at| start + at);
            self.line += 1;
            let line = &self.buffer[start..stop];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
                piece.records.push((start, start + line.len(), self.line));
            }
            start = stop + 1;
        }
        self.given = end;
        piece
    }

    /// Reads to the end of a line that is too long to be kept.
    fn skip(&mut self) -> Result<Piece> {
        self.line += 1;
        let mut bytes = 0;
        loop {
            let end = memchr::memchr(b'\n', &self.buffer[..self.filled]);
            bytes += end.unwrap_or(self.filled);
            self.given = end.map_or(self.filled, |end| end + 1);
            if end.is_some() || self.ended {
                return Ok(Piece { records: Vec::new(), skipped: Some((self.line, bytes)) });
            }
            self.filled = 0;
            self.fill()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], most: usize) -> Vec<(u64, Result<Vec<u8>, usize>)> {
        let (mut lines, mut found) = (Lines::new(text, most), Vec::new());
        while let Some(piece) = lines.next().unwrap() {
            let records = piece.records.iter();
            found.extend(records.map(|(start, end, line)| (*line, Ok(lines.bytes()[*start..*end].to_vec()))));
            found.extend(piece.skipped.map(|(line, bytes)| (line, Err(bytes))));
        }
        found
    }

    type Result<T, E = Error> = std::result::Result<T, E>;

    #[test]
    fn lines_are_those_of_the_whole_wherever_pieces_end() {
        let texts: Vec<String> = (0..4000).map(|n: usize| "x".repeat(n * 7919 % 601)).collect();
        let expected: Vec<_> = (1..)
            .zip(&texts)
            .filter(|(_, text)| !text.is_empty())
            .map(|(line, text)| (line, Ok(text.clone().into_bytes())))
            .collect();
        assert_eq!(lines(texts.join("\r\n").as_bytes(), 1 << 20), expected);
        assert_eq!(lines(format!("{}\n", texts.join("\n")).as_bytes(), 1 << 20), expected);
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_left_behind() {
        let long = "y".repeat(3 * PIECE_BYTES + 5);
        let text = format!("a\n{long}\nb\n");
        assert_eq!(lines(text.as_bytes(), PIECE_BYTES), [(1, Ok(b"a".to_vec())), (2, Err(long.len())), (3, Ok(b"b".to_vec()))]);
        assert_eq!(lines(text.as_bytes(), 1 << 20).len(), 3);
        assert_eq!(lines(long.as_bytes(), PIECE_BYTES), [(1, Err(long.len()))]);
    }
}
