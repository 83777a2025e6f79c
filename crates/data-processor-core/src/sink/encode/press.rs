//! Compression of page bodies with one reused context.

use super::super::Codec;
use super::literals::Literals;
use crate::error::{Error, ErrorKind, Result};

/// A compressor for pages.
pub struct Press {
    codec: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    /// Zstandard as at level 1, where a higher one was asked for.
    light: Option<zstd::bulk::Compressor<'static>>,
    /// Zstandard without matches.
    literals: Option<Literals>,
    snappy: snap::raw::Encoder,
    /// By leaf. Kept across files: they are alike.
    habits: Vec<Habit>,
    /// By leaf: chunks to be written without a dictionary's trial.
    plain: Vec<u32>,
    /// Room for a page before and after compression, so that no page makes its own.
    pub room: (Vec<u8>, Vec<u8>),
}

/// Chunks of a leaf without a dictionary's trial after one in which it did not pay.
const PLAIN: u32 = 15;

/// What the next pages of a leaf get without a try.
#[derive(Clone, Copy, Default)]
enum Habit {
    /// Everything is tried.
    #[default]
    None,
    /// So many are stored.
    Store(u32),
    /// So many are compressed this way.
    By(Means, u32),
}

/// Ways to compress a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// The codec that was asked for.
    Asked,
    /// Zstandard as at level 1.
    Light,
    /// Zstandard without matches.
    Literals,
}

/// A page that shrinks to no less than this share is not worth decompressing.
const WORTH: f64 = 0.97;
/// At level 1 a page may be larger by this share when no matches are looked for.
const SPARED: f64 = 0.01;
/// Pages stored without a try after one that was not worth it.
const PAUSE: u32 = 7;
/// Pages compressed one way after one that this way made smaller.
const STAY: u32 = 31;
/// Smaller ones are always tried.
const SMALL: usize = 1024;

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Parquet, "parquet.compression", format!("a page could not be compressed: {error}"))
}

impl Press {
    /// A compressor of one codec.
    pub fn new(codec: Codec) -> Result<Press> {
        let (zstd, light) = match codec {
            Codec::Zstd(1) => (Some(compressor(1).map_err(failed)?), None),
            Codec::Zstd(level) => (Some(compressor(level).map_err(failed)?), Some(compressor(1).map_err(failed)?)),
            _ => (None, None),
        };
        let literals = if zstd.is_some() { Literals::new() } else { None };
        let snappy = snap::raw::Encoder::new();
        Ok(Press { codec, zstd, light, literals, snappy, habits: Vec::new(), plain: Vec::new(), room: Default::default() })
    }

    /// Another compressor that knows as much about leaves: two of them go on alike.
    pub fn again(&self) -> Result<Press> {
        Ok(Press { habits: self.habits.clone(), ..Press::new(self.codec)? })
    }

    /// The codec.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether a dictionary of a leaf is worth a trial in a new chunk.
    pub fn tries_dictionary(&mut self, leaf: usize) -> bool {
        match self.plain.get_mut(leaf) {
            Some(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        }
    }

    /// Remembers that a leaf's dictionary did not pay.
    pub fn dictionary_failed(&mut self, leaf: usize) {
        if self.plain.len() <= leaf {
            self.plain.resize(leaf + 1, 0);
        }
        self.plain[leaf] = PLAIN;
    }

    /// Compresses a data page of a leaf into `out`, unless one shortly before was not worth it. What is cheaper than the level that was
    /// asked for, and makes the page no larger (at level 1, hardly), the next ones get, too.
    pub fn page(&mut self, leaf: usize, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if self.habits.len() <= leaf {
            self.habits.resize(leaf + 1, Habit::None);
        }
        let habit = &mut self.habits[leaf];
        match *habit {
            Habit::Store(left) => {
                *habit = if left > 1 { Habit::Store(left - 1) } else { Habit::None };
                return self.store(body, out);
            }
            Habit::By(means, left) => {
                *habit = if left > 1 { Habit::By(means, left - 1) } else { Habit::None };
                self.press_by(means, body, out)?;
            }
            Habit::None => self.try_each(leaf, body, out)?,
        }
        if (out.len() as f64) < body.len() as f64 * WORTH || body.len() < SMALL {
            return Ok(());
        }
        self.habits[leaf] = Habit::Store(PAUSE);
        self.store(body, out)
    }

    /// Compresses a page each way; the outcome decides about the next ones, unless the page is small.
    fn try_each(&mut self, leaf: usize, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.press(body, out)?;
        if body.len() < SMALL || self.zstd.is_none() {
            return Ok(());
        }
        let (mut best, mut other) = (Means::Asked, Vec::new());
        // At level 1 the light one is the one that was asked for.
        let (asks_more, has_literals) = (self.light.is_some(), self.literals.is_some());
        for (means, there) in [(Means::Light, asks_more), (Means::Literals, has_literals)] {
            if !there {
                continue;
            }
            let spared = if asks_more { 0.0 } else { SPARED };
            self.press_by(means, body, &mut other)?;
            if other.len() as f64 <= out.len() as f64 * (1.0 + spared) {
                std::mem::swap(out, &mut other);
                best = means;
            }
        }
        self.habits[leaf] = Habit::By(best, STAY);
        Ok(())
    }

    fn press_by(&mut self, means: Means, raw: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if means == Means::Light
            && let Some(zstd) = &mut self.light
        {
            return by_zstd(zstd, raw, out);
        }
        if means == Means::Literals
            && let Some(literals) = &mut self.literals
            && literals.compress(raw, out)
        {
            return Ok(());
        }
        self.press(raw, out)
    }

    /// Compresses a page body; what `out` held is lost.
    pub fn press(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match (&mut self.zstd, self.codec) {
            (Some(zstd), _) => by_zstd(zstd, raw, out),
            (None, Codec::Snappy) => {
                out.resize(snap::raw::max_compress_len(raw.len()), 0);
                let length = self.snappy.compress(raw, out).map_err(failed)?;
                out.truncate(length);
                Ok(())
            }
            _ => {
                out.clear();
                out.extend_from_slice(raw);
                Ok(())
            }
        }
    }

    /// A page body that is known not to compress (random ids): a valid frame of the codec that stores the bytes as they are.
    pub fn store(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self.codec {
            Codec::Zstd(_) if u32::try_from(raw.len()).is_ok() => {
                stored_frame(raw, out);
                Ok(())
            }
            _ => self.press(raw, out),
        }
    }
}

fn by_zstd(zstd: &mut zstd::bulk::Compressor<'static>, raw: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
    zstd.compress_to_buffer(raw, out).map_err(failed)?;
    Ok(())
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
fn stored_frame(raw: &[u8], out: &mut Vec<u8>) {
    const BLOCK: usize = 128 << 10;
    out.clear();
    out.reserve(raw.len() + 16 + raw.len() / BLOCK * 3);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_frame_is_zstandard() {
        for length in [0, 1, 131_071, 131_072, 131_073, 400_000] {
            let raw: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
            let mut frame = Vec::new();
            stored_frame(&raw, &mut frame);
            assert_eq!(zstd::bulk::decompress(&frame, length).unwrap(), raw);
            assert_eq!(zstd::stream::decode_all(&frame[..]).unwrap(), raw);
        }
    }

    #[test]
    fn a_page_is_no_larger_than_its_level_makes_it() {
        let hex = |seed: u64| -> Vec<u8> {
            let digit = |at: u64| b"0123456789abcdef"[((at + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize];
            (0..40_000).map(digit).collect()
        };
        let words = |seed: u64| -> Vec<u8> {
            (0..4_000).flat_map(|at| format!("{} of the same ", (at * at + seed) % 97).into_bytes()).collect()
        };
        let (mut press, mut pressed) = (Press::new(Codec::Zstd(9)).unwrap(), Vec::new());
        for (leaf, texts) in [(0, hex as fn(u64) -> Vec<u8>), (1, words)] {
            for page in 0..40 {
                let raw = texts(page);
                press.page(leaf, &raw, &mut pressed).unwrap();
                assert_eq!(zstd::bulk::decompress(&pressed, raw.len()).unwrap(), raw);
                assert!(page > 0 || pressed.len() <= zstd::bulk::compress(&raw, 9).unwrap().len(), "leaf {leaf}");
            }
        }
        assert!(matches!(press.habits[1], Habit::By(Means::Asked, _)), "long matches are found at a higher level");
        let mut press = Press::new(Codec::Zstd(1)).unwrap();
        let digits = |seed: u64| -> Vec<u8> {
            let mixed = |at: u64| (at + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 29;
            (0..40_000).map(|at| b'0' + (mixed(at).wrapping_mul(0x94d0_49bb_1331_11eb) >> 59) as u8 % 10).collect()
        };
        for (leaf, texts, means) in [(0, digits as fn(u64) -> Vec<u8>, Means::Literals), (1, words, Means::Asked)] {
            let raw = texts(1);
            press.page(leaf, &raw, &mut pressed).unwrap();
            assert!(pressed.len() as f64 <= zstd::bulk::compress(&raw, 1).unwrap().len() as f64 * (1.0 + SPARED));
            assert!(matches!(press.habits[leaf], Habit::By(found, _) if found == means), "leaf {leaf}");
            press.page(leaf, &raw, &mut pressed).unwrap();
            assert_eq!(zstd::bulk::decompress(&pressed, raw.len()).unwrap(), raw);
        }
    }
}
