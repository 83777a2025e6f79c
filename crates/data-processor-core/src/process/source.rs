//! Formats a body may have, and records of other formats as canonical JSON: what the log holds and every verdict is about.

use crate::error::{Error, ErrorKind, Result};

/// Formats a body may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One object or one array.
    Json,
    /// One record per line.
    Ndjson,
    /// RFC 4180, in some dialect.
    Csv,
    /// An Avro object container file.
    Avro,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// All formats, in the order in which messages name them.
    pub const KNOWN: [Format; 5] = [Format::Ndjson, Format::Json, Format::Csv, Format::Avro, Format::Parquet];

    /// The format's name in requests, in the log and in letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
            Format::Avro => "avro",
            Format::Parquet => "parquet",
        }
    }

    /// Reads a format's name. Errors: `format.unknown` names the known ones.
    pub fn parse(name: &str) -> Result<Format> {
        Format::KNOWN.into_iter().find(|format| format.as_str() == name).ok_or_else(|| {
            let known = Format::KNOWN.map(Format::as_str).join(", ");
            Error::new(ErrorKind::Format, "format.unknown", format!("unknown format `{name}`; known: {known}"))
                .hint(format!("name one of {known}"))
                .text("format", name)
                .text("known", known)
        })
    }
}

/// Records of a body as canonical JSON, end to end, and where each came from.
#[derive(Debug)]
pub struct Canonical {
    /// All records, each followed by a line feed.
    pub text: Vec<u8>,
    /// Start and end of each record in `text`.
    pub ranges: Vec<(u32, u32)>,
    /// 1-based line (CSV) or row (Parquet, Avro) of each record in its body.
    pub lines: Vec<u32>,
    /// Most bytes of `text`.
    most: usize,
}

impl Canonical {
    /// No records, with room for `bytes` of them; they may have `most` bytes together, and never 4 GiB.
    pub fn new(bytes: usize, most: usize) -> Canonical {
        let most = most.min(u32::MAX as usize);
        Canonical { text: Vec::with_capacity(bytes.min(most)), ranges: Vec::new(), lines: Vec::new(), most }
    }

    /// Adds the record that `write` appends. Errors: `body.too_large` when the records pass what they may have.
    pub fn record(&mut self, line: u32, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let start = self.text.len();
        write(&mut self.text);
        let end = self.text.len();
        if end > self.most {
            let most = self.most;
            return Err(Error::new(ErrorKind::Body, "body.too_large", format!("the body's records pass {most} bytes as JSON"))
                .hint("send smaller bodies")
                .int("limit", most));
        }
        self.text.push(b'\n');
        self.ranges.push((start as u32, end as u32));
        self.lines.push(line);
        Ok(())
    }

    /// Adds the next row of a file.
    pub fn row(&mut self, text: &[u8]) -> Result<()> {
        self.record(self.lines.len() as u32 + 1, |out| out.extend_from_slice(text))
    }
}
