//! Compression of page bodies with one reused context.

use super::super::Codec;
use crate::error::{Error, ErrorKind, Result};

/// A compressor for pages.
pub struct Press {
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    snappy: snap::raw::Encoder,
    /// By leaf: pages to be stored without a try. Kept across files: they are alike.
    pauses: Vec<u32>,
}

/// A page that shrinks to no less than this share is not worth decompressing.
const WORTH: f64 = 0.97;
/// Pages stored without a try after one that was not worth it.
const PAUSE: u32 = 7;
/// Smaller ones are always tried.
const SMALL: usize = 1024;

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Parquet, "parquet.compression", format!("a page could not be compressed: {error}"))
}

impl Press {
    /// A compressor of one codec.
    pub fn new(codec: Codec) -> Result<Press> {
        let zstd = match codec {
            Codec::Zstd(level) => Some(compressor(level).map_err(failed)?),
            _ => None,
        };
        Ok(Press { codec, zstd, snappy: snap::raw::Encoder::new(), pauses: Vec::new() })
    }

    /// Another compressor that knows as much about leaves: two of them go on alike.
    pub fn again(&self) -> Result<Press> {
        Ok(Press { pauses: self.pauses.clone(), ..Press::new(self.codec)? })
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Compresses a data page of a leaf, unless one shortly before was not worth it.
    pub fn page(&mut self, leaf: usize, body: Vec<u8>) -> Result<Vec<u8>> {
        if self.pauses.len() <= leaf {
            self.pauses.resize(leaf + 1, 0);
        }
        if self.pauses[leaf] > 0 {
            self.pauses[leaf] -= 1;
            return self.store(body);
        }
        let pressed = self.press(&body)?;
        if (pressed.len() as f64) < body.len() as f64 * WORTH || body.len() < SMALL {
            return Ok(pressed);
        }
        self.pauses[leaf] = PAUSE;
        self.store(body)
    }

    /// Compresses a page body.
    pub fn press(&mut self, raw: &[u8]) -> Result<Vec<u8>> {
        match (&mut self.zstd, self.codec) {
            (Some(zstd), _) => zstd.compress(raw).map_err(failed),
            (None, Codec::Snappy) => self.snappy.compress_vec(raw).map_err(failed),
            _ => Ok(raw.to_vec()),
        }
    }

    /// A page body that is known not to compress (random ids): a valid frame of the codec that stores the bytes as they are.
    pub fn store(&mut self, raw: Vec<u8>) -> Result<Vec<u8>> {
        match self.codec {
            Codec::Zstd(_) if u32::try_from(raw.len()).is_ok() => Ok(stored_frame(&raw)),
            Codec::None => Ok(raw),
            _ => self.press(&raw),
        }
    }
}

/// A Zstandard compressor. At level 1 matches begin at seven bytes, in a small table: pages of a column are short texts and
/// numbers, which Huffman codes shrink as well as short matches do, half again as fast.
fn compressor(level: i32) -> std::io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    if level == 1 {
        compressor.set_parameter(zstd::zstd_safe::CParameter::MinMatch(7))?;
        compressor.set_parameter(zstd::zstd_safe::CParameter::HashLog(11))?;
    }
    Ok(compressor)
}

/// A Zstandard frame of raw blocks (RFC 8878, 3.1.1): 9 bytes and 3 per 128 KiB more than its content.
fn stored_frame(raw: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    let mut out = Vec::with_capacity(raw.len() + 16 + raw.len() / BLOCK * 3);
    out.extend_from_slice(&0xFD2F_B528_u32.to_le_bytes());
    out.push(0xA0); // one segment, four bytes of content size, no checksum, no dictionary
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    let blocks = raw.len().div_ceil(BLOCK).max(1);
    for number in 0..blocks {
        let block = &raw[number * BLOCK..raw.len().min((number + 1) * BLOCK)];
        let header = (block.len() as u32) << 3 | u32::from(number + 1 == blocks);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_frame_is_zstandard() {
        for length in [0, 1, 131_071, 131_072, 131_073, 400_000] {
            let raw: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
            let frame = stored_frame(&raw);
            assert_eq!(zstd::bulk::decompress(&frame, length).unwrap(), raw);
            assert_eq!(zstd::stream::decode_all(&frame[..]).unwrap(), raw);
        }
    }
}
