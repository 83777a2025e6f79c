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
}

impl Format {
    /// All formats, in the order in which messages name them.
    pub const KNOWN: [Format; 3] = [Format::Ndjson, Format::Json, Format::Csv];

    /// The format's name in requests, in the log and in letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
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
#[derive(Debug, Default)]
pub struct Canonical {
    /// All records, each followed by a line feed.
    pub text: Vec<u8>,
    /// Start and end of each record in `text`.
    pub ranges: Vec<(u32, u32)>,
    /// 1-based line (CSV) or row (Parquet, Avro) of each record in its body.
    pub lines: Vec<u32>,
}

impl Canonical {
    /// Adds the record that `write` appends. Errors: `body.too_large` from 4 GiB of records.
    pub fn record(&mut self, line: u32, write: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let start = self.text.len();
        write(&mut self.text);
        let end = self.text.len();
        self.text.push(b'\n');
        let range = u32::try_from(start).ok().zip(u32::try_from(end).ok());
        self.ranges.push(range.ok_or_else(|| {
            Error::new(ErrorKind::Body, "body.too_large", "the body's records pass 4 GiB").hint("send smaller bodies")
        })?);
        self.lines.push(line);
        Ok(())
    }
}
