//! Request bodies, decompressed piece by piece within a bound of memory.

use std::io::Write;

use flate2::write::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::error::{Error, ErrorKind, Result};

/// Output from which the ratio of output to input counts.
const RATIO_FROM: usize = 1 << 20;
/// Largest zstd window, as a power of two: 8 MiB, what RFC 9659 asks of HTTP.
const WINDOW_LOG: u32 = 23;
/// Input that is decompressed before the ratio is looked at again.
const STEP: usize = 16 << 10;
/// Output that a decompressor may make at once.
const PIECE: usize = 64 << 10;

/// What is known of the body so far, and what bounds it.
struct Output {
    bytes: Vec<u8>,
    taken: usize,
    max_bytes: usize,
    max_ratio: usize,
}

impl Output {
    /// Adds a decompressed piece. Errors: `body.too_large`, `body.ratio_exceeded`.
    fn add(&mut self, piece: &[u8]) -> Result<()> {
        let size = self.bytes.len() + piece.len();
        if size > self.max_bytes {
            return Err(body_error("body.too_large", format!("the body passes {} bytes", self.max_bytes))
                .hint("send smaller bodies")
                .int("max_bytes", self.max_bytes));
        }
        if size > RATIO_FROM && size / self.max_ratio.max(1) > self.taken {
            return Err(body_error(
                "body.ratio_exceeded",
                format!("the body grows more than {} times when decompressed", self.max_ratio),
            )
            .hint("send it less compressed")
            .int("max_ratio", self.max_ratio));
        }
        if size > self.bytes.capacity() {
            // Doubling, but never past the limit.
            let wanted = (self.bytes.capacity() * 2).max(size).min(self.max_bytes);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// Takes what the gzip decoder makes, and keeps our own refusal aside: an `io::Error` would lose its facts.
struct Sink {
    output: Output,
    refused: Option<Error>,
}

impl Write for Sink {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.output.add(piece).map_err(|error| {
            self.refused = Some(error);
            std::io::Error::other("refused")
        })?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Coding {
    Identity(Output),
    Gzip(Box<MultiGzDecoder<Sink>>),
    Zstd { output: Output, decoder: Box<Decoder<'static>>, whole: bool },
}

/// Decompresses a request body: `identity`, `gzip` (several members), `zstd` (several frames).
pub struct BodyDecoder {
    coding: Coding,
}

fn body_error(code: &'static str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Body, code, message)
}

fn broken(encoding: &'static str) -> Error {
    body_error("body.bad_compression", format!("the body is not whole {encoding}"))
        .hint("send it again")
        .text("encoding", encoding)
}

impl BodyDecoder {
    /// A decoder for a body of at most `max_bytes`, which may grow `max_ratio` times.
    ///
    /// Errors: `encoding.unknown` names the known encodings.
    pub fn new(encoding: &str, max_bytes: usize, max_ratio: usize) -> Result<BodyDecoder> {
        let output = Output { bytes: Vec::new(), taken: 0, max_bytes, max_ratio };
        let coding = match encoding {
            "identity" | "" => Coding::Identity(output),
            "gzip" | "x-gzip" => Coding::Gzip(Box::new(MultiGzDecoder::new(Sink { output, refused: None }))),
            "zstd" => {
                let mut decoder = Decoder::new().map_err(|_| broken("zstd"))?;
                decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(|_| broken("zstd"))?;
                Coding::Zstd { output, decoder: Box::new(decoder), whole: false }
            }
            _ => {
                return Err(Error::new(
                    ErrorKind::Format,
                    "encoding.unknown",
                    format!("unknown encoding `{encoding}`; known: gzip, identity, zstd"),
                )
                .hint("name one of gzip, identity, zstd")
                .text("encoding", encoding)
                .text("known", "gzip, identity, zstd"));
            }
        };
        Ok(BodyDecoder { coding })
    }

    /// Takes the next piece of the body as it was sent.
    ///
    /// Errors: `body.too_large`, `body.ratio_exceeded`, `body.bad_compression`; the decoder is of no use after one.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<()> {
        match &mut self.coding {
            Coding::Identity(output) => {
                output.taken += chunk.len();
                output.add(chunk)
            }
            Coding::Gzip(decoder) => chunk.chunks(STEP).try_for_each(|step| gunzip(decoder, step)),
            Coding::Zstd { output, decoder, whole } => chunk.chunks(STEP).try_for_each(|step| {
                output.taken += step.len();
                *whole = unzstd(decoder, step, output)?;
                Ok(())
            }),
        }
    }

    /// The whole body. Errors: `body.bad_compression` when the stream is cut.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.coding {
            Coding::Identity(output) => Ok(output.bytes),
            Coding::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(refusal(&mut decoder, &error));
                }
                let sink = decoder.finish().map_err(|_| broken("gzip"))?;
                Ok(sink.output.bytes)
            }
            Coding::Zstd { output, whole, .. } if whole => Ok(output.bytes),
            Coding::Zstd { .. } => Err(broken("zstd")),
        }
    }
}

fn gunzip(decoder: &mut MultiGzDecoder<Sink>, step: &[u8]) -> Result<()> {
    decoder.get_mut().output.taken += step.len();
    decoder.write_all(step).map_err(|error| refusal(decoder, &error))
}

/// Our own refusal when that is what stopped the decoder.
fn refusal(decoder: &mut MultiGzDecoder<Sink>, _error: &std::io::Error) -> Error {
    decoder.get_mut().refused.take().unwrap_or_else(|| broken("gzip"))
}

/// Decompresses one step of input; whether the last frame is whole.
fn unzstd(decoder: &mut Decoder<'static>, step: &[u8], output: &mut Output) -> Result<bool> {
    let mut input = InBuffer::around(step);
    let mut piece = vec![0; PIECE];
    loop {
        let mut made = OutBuffer::around(&mut piece[..]);
        let hint = decoder.run(&mut input, &mut made).map_err(|_| broken("zstd"))?;
        let size = made.pos();
        output.add(&piece[..size])?;
        // Hint 0: a frame is whole and flushed; asking again would begin the next one. A full piece may have more behind it.
        if input.pos() == step.len() && (hint == 0 || size < PIECE) {
            return Ok(hint == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 1).unwrap()
    }

    fn decode(encoding: &str, body: &[u8], step: usize, max_bytes: usize) -> Result<Vec<u8>> {
        let mut decoder = BodyDecoder::new(encoding, max_bytes, 100)?;
        body.chunks(step.max(1)).try_for_each(|chunk| decoder.feed(chunk))?;
        decoder.finish()
    }

    #[test]
    fn members_and_frames_follow_each_other_however_they_are_cut() {
        let (first, second) = (b"first ".repeat(50_000), b"second".to_vec());
        let whole = [first.clone(), second.clone()].concat();
        for (encoding, pack) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("zstd", zstd)] {
            let body = [pack(&first), pack(&second), pack(b"")].concat();
            for step in [1, 7, 4096, body.len()] {
                assert!(decode(encoding, &body, step, 1 << 20).as_ref() == Ok(&whole), "{encoding} {step}");
            }
        }
    }

    #[test]
    fn a_body_of_whole_pieces_is_whole() {
        for size in [PIECE, 4 * PIECE, 4 * PIECE + 1] {
            assert_eq!(decode("zstd", &zstd(&vec![0; size]), 100, 1 << 20).map(|body| body.len()), Ok(size));
        }
    }

    #[test]
    fn a_cut_or_foreign_stream_is_refused() {
        for (encoding, body) in [("gzip", gzip(&b"some text ".repeat(30))), ("zstd", zstd(&b"some text ".repeat(30)))] {
            for length in 0..body.len() {
                let code = decode(encoding, &body[..length], 5, 1 << 20).map_err(|error| error.code);
                assert_eq!(code, Err("body.bad_compression"), "{encoding} cut at {length}");
            }
            let trailing = [body.as_slice(), b"no stream"].concat();
            assert_eq!(
                decode(encoding, &trailing, 5, 1 << 20).map_err(|error| error.code),
                Err("body.bad_compression"),
                "{encoding}"
            );
            assert_eq!(
                decode(encoding, b"{\"a\": 1}", 5, 1 << 20).map_err(|error| error.code),
                Err("body.bad_compression"),
                "{encoding}"
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_memory() {
        let zeros = vec![0; 32 << 20];
        for (encoding, body) in [("gzip", gzip(&zeros)), ("zstd", zstd(&zeros))] {
            assert_eq!(
                decode(encoding, &body, 1 << 20, 1 << 30).map_err(|error| error.code),
                Err("body.ratio_exceeded"),
                "{encoding}"
            );
            assert_eq!(
                decode(encoding, &body, 1 << 20, 1 << 19).map_err(|error| error.code),
                Err("body.too_large"),
                "{encoding}"
            );
        }
        assert_eq!(decode("identity", &zeros, 4096, 1000).map_err(|error| error.code), Err("body.too_large"));
    }

    #[test]
    fn a_window_over_eight_mebibytes_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.write_all(&[7; 1000]).unwrap();
        let body = encoder.finish().unwrap();
        assert_eq!(decode("zstd", &body, 100, 1 << 20).map_err(|error| error.code), Err("body.bad_compression"));
    }
}
