//! A finished column chunk in two parts, read as one.

use std::io::{Chain, Read};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

/// The dictionary page, if there is one, and the data pages after it.
#[derive(Default)]
pub struct Parts {
    /// The first part; may be empty.
    pub dictionary: Bytes,
    /// The second part.
    pub data: Bytes,
}

impl Length for Parts {
    fn len(&self) -> u64 {
        (self.dictionary.len() + self.data.len()) as u64
    }
}

impl ChunkReader for Parts {
    type T = Chain<Reader<Bytes>, Reader<Bytes>>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let in_dictionary = (start as usize).min(self.dictionary.len());
        let in_data = (start as usize - in_dictionary).min(self.data.len());
        Ok(self.dictionary.slice(in_dictionary..).reader().chain(self.data.slice(in_data..).reader()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity(length);
        self.get_read(start)?.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_read_as_one() {
        let parts = Parts { dictionary: Bytes::from_static(b"abc"), data: Bytes::from_static(b"defg") };
        for start in 0..=7 {
            assert_eq!(parts.get_bytes(start, 10).unwrap(), Bytes::from_static(b"abcdefg").slice(start as usize..));
        }
        assert_eq!(parts.len(), 7);
    }
}
