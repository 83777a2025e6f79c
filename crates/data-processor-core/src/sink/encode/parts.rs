//! A finished column chunk in the pages it was made of, read as one.

use std::io::Read;

use bytes::{Buf, Bytes};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::errors::Result as ParquetResult;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

/// The dictionary page, if there is one, and the data pages after it. Pages stay where they were made: a chunk that grew in one
/// piece would be copied at each doubling, and hold twice its bytes.
#[derive(Default)]
pub struct Parts {
    pages: Vec<Bytes>,
    length: usize,
}

impl Parts {
    /// Adds a page at the end.
    pub fn push(&mut self, page: Bytes) {
        self.length += page.len();
        self.pages.push(page);
    }

    /// Puts a page before all others.
    pub fn put_first(&mut self, page: Bytes) {
        self.length += page.len();
        self.pages.insert(0, page);
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> usize {
        self.length
    }
}

impl Length for Parts {
    fn len(&self) -> u64 {
        self.length as u64
    }
}

/// What is left of pages.
pub struct Left(std::vec::IntoIter<Bytes>, Bytes);

impl Read for Left {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.1.is_empty() {
            match self.0.next() {
                Some(page) => self.1 = page,
                None => return Ok(0),
            }
        }
        let read = buffer.len().min(self.1.len());
        self.1.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

/// A page with its header, its bytes when not compressed, and the room its body lay in.
pub fn spelled(page: impl FnOnce(Bytes) -> Page, length: usize, body: Vec<u8>) -> ParquetResult<(Bytes, usize, Vec<u8>)> {
    const HEADER: usize = 64;
    let mut out = TrackedWrite::new(Vec::with_capacity(body.len() + HEADER));
    let body = Bytes::from(body);
    let page = CompressedPage::new(page(body.clone()), length);
    let written = SerializedPageWriter::new(&mut out).write_page(page)?;
    Ok((out.into_inner()?.into(), written.uncompressed_size, body.into()))
}

impl ChunkReader for Parts {
    type T = Left;

    fn get_read(&self, start: u64) -> ParquetResult<Left> {
        let mut before = start as usize;
        let mut left = Vec::with_capacity(self.pages.len());
        for page in &self.pages {
            let skipped = before.min(page.len());
            before -= skipped;
            left.push(page.slice(skipped..));
        }
        Ok(Left(left.into_iter(), Bytes::new()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut bytes = Vec::with_capacity(length);
        self.get_read(start)?.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_read_as_one() {
        let mut parts = Parts::default();
        ["de", "", "fg"].into_iter().for_each(|page| parts.push(Bytes::from_static(page.as_bytes())));
        parts.put_first(Bytes::from_static(b"abc"));
        for start in 0..=7 {
            assert_eq!(parts.get_bytes(start, 10).unwrap(), Bytes::from_static(b"abcdefg").slice(start as usize..));
        }
        assert_eq!((parts.len(), parts.bytes()), (7, 7));
    }
}
