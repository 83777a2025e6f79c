//! Object container files (Avro 1.12 §"Object Container Files"): header, then blocks of values behind a codec.

use std::io::Read;

use super::cursor::Cursor;
use super::schema::Schema;
use crate::error::{Error, ErrorKind, Result};
use crate::process::text::PAD;

/// First bytes of every file.
const MAGIC: &[u8; 4] = b"Obj\x01";
/// Most bytes of one block, decompressed: writers cut them at kilobytes.
const MOST_BLOCK: usize = 64 << 20;
/// How much more than the file its blocks may hold, and how much any file may.
const RATIO: usize = 100;

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// One block, decompressed.
#[derive(Debug, Default)]
pub struct Block {
    /// Its bytes, padded.
    pub bytes: Vec<u8>,
    /// Bytes without the padding.
    pub length: usize,
    /// Values it holds.
    pub values: usize,
}

/// Where a file is read next, and how.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    at: usize,
    sync: [u8; 16],
    codec: Codec,
    /// Decompressed bytes that may still come.
    room: usize,
}

impl Place {
    /// Moves to the end of a file of so many bytes.
    pub fn end(&mut self, length: usize) {
        self.at = length;
    }
}

/// Walks over the blocks of a file.
pub struct Blocks<'a> {
    file: &'a [u8],
    place: Place,
}

/// The error of a body that is no Avro.
pub fn invalid(what: &str, at: usize) -> Error {
    Error::new(ErrorKind::Body, "body.invalid_avro", format!("the body is not an Avro file: {what} at byte {at}"))
        .hint("send a whole Avro object container file (codec null, deflate, snappy or zstandard)")
        .int("at", at)
}

/// A file's metadata: its schema's text and its codec's name.
fn metadata<'a>(cursor: &mut Cursor<'a>) -> std::result::Result<(Option<&'a [u8]>, &'a [u8]), super::cursor::Fault> {
    let (mut schema, mut codec) = (None, b"null".as_slice());
    let mut count = cursor.block()?;
    while count > 0 {
        for _ in 0..count {
            let (name, name_length) = cursor.run()?;
            let (value, length) = cursor.run()?;
            let value = &cursor.bytes[value..value + length];
            match &cursor.bytes[name..name + name_length] {
                b"avro.schema" => schema = Some(value),
                b"avro.codec" => codec = value,
                _ => {}
            }
        }
        count = cursor.block()?;
    }
    Ok((schema, codec))
}

impl<'a> Blocks<'a> {
    /// Reads a file's header. Errors: `body.invalid_avro`, `avro.bad_schema`, `avro.unknown_codec`.
    pub fn open(file: &'a [u8]) -> Result<(Blocks<'a>, Schema)> {
        if !file.starts_with(MAGIC) {
            return Err(invalid("it does not begin with `Obj` 1", 0));
        }
        let mut cursor = Cursor { bytes: file, at: 4, end: file.len() };
        let (schema, codec) = metadata(&mut cursor).map_err(|fault| invalid(fault.words(), cursor.at))?;
        let schema = Schema::parse(schema.ok_or_else(|| invalid("the header names no schema", cursor.at))?)?;
        let codec = match codec {
            b"null" | b"" => Codec::Null,
            b"deflate" => Codec::Deflate,
            b"snappy" => Codec::Snappy,
            b"zstandard" => Codec::Zstandard,
            other => {
                let name = String::from_utf8_lossy(other).into_owned();
                return Err(Error::new(ErrorKind::Body, "avro.unknown_codec", format!("unknown Avro codec `{name}`"))
                    .hint("write the file with null, deflate, snappy or zstandard")
                    .text("codec", name));
            }
        };
        let sync = cursor.take(16).map_err(|fault| invalid(fault.words(), cursor.at))?;
        let sync = file[sync..sync + 16].try_into().unwrap_or([0; 16]);
        let room = MOST_BLOCK + file.len().saturating_mul(RATIO);
        Ok((Blocks { file, place: Place { at: cursor.at, sync, codec, room } }, schema))
    }

    /// Goes on at a place of the same file.
    pub fn at_place(file: &'a [u8], place: Place) -> Blocks<'a> {
        Blocks { file, place }
    }

    /// Where the next block begins.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Reads the next block; false at the end of the file.
    ///
    /// Errors: `body.invalid_avro` for a torn file, `body.too_large` for a block or a file that grows beyond all measure.
    pub fn next(&mut self, block: &mut Block) -> Result<bool> {
        let mut cursor = Cursor { bytes: self.file, at: self.place.at, end: self.file.len() };
        if cursor.is_done() {
            return Ok(false);
        }
        let read = cursor.long().and_then(|values| Ok((values, cursor.run()?)));
        let (values, (start, length)) = read.map_err(|fault| invalid(fault.words(), cursor.at))?;
        block.values = usize::try_from(values).map_err(|_| invalid("a block has a negative count", self.place.at))?;
        let sync = cursor.take(16).map_err(|fault| invalid(fault.words(), cursor.at))?;
        if self.file[sync..sync + 16] != self.place.sync {
            return Err(invalid("a block does not end with the file's mark", sync));
        }
        block.bytes.clear();
        self.unpack(&self.file[start..start + length], start, &mut block.bytes)?;
        block.length = block.bytes.len();
        block.bytes.resize(block.length + PAD, 0);
        self.place.room = self.place.room.checked_sub(block.length).ok_or_else(too_large)?;
        self.place.at = cursor.at;
        Ok(true)
    }

    fn unpack(&self, packed: &[u8], at: usize, out: &mut Vec<u8>) -> Result<()> {
        let torn = || invalid("a block does not decompress", at);
        match self.place.codec {
            Codec::Null if packed.len() > MOST_BLOCK => return Err(too_large()),
            Codec::Null => out.extend_from_slice(packed),
            Codec::Deflate => read_all(flate2::read::DeflateDecoder::new(packed), out).map_err(|_| torn())?,
            Codec::Zstandard => {
                let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| torn())?;
                read_all(decoder, out).map_err(|_| torn())?;
            }
            Codec::Snappy => {
                // The four bytes after a block are the CRC-32 of what it holds.
                let (packed, crc) = packed.split_at_checked(packed.len().wrapping_sub(4)).ok_or_else(torn)?;
                let length = snap::raw::decompress_len(packed).map_err(|_| torn())?;
                if length > MOST_BLOCK {
                    return Err(too_large());
                }
                out.resize(length, 0);
                snap::raw::Decoder::new().decompress(packed, out).map_err(|_| torn())?;
                let mut sum = flate2::Crc::new();
                sum.update(out);
                if sum.sum().to_be_bytes() != *crc {
                    return Err(torn());
                }
            }
        }
        if out.len() > MOST_BLOCK { Err(too_large()) } else { Ok(()) }
    }
}

fn read_all(from: impl Read, out: &mut Vec<u8>) -> std::io::Result<()> {
    from.take(MOST_BLOCK as u64 + 1).read_to_end(out).map(|_| ())
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::Body,
        "body.too_large",
        format!("a block of the Avro file passes {MOST_BLOCK} bytes, or the file {RATIO} times its size"),
    )
    .hint("write smaller blocks, or send the file in parts")
}
