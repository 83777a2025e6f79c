//! How a CSV text is spelled.

use crate::error::{Error, ErrorKind, Result};

/// A dialect of CSV. The default is RFC 4180 with a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Stands between cells.
    pub(super) delimiter: u8,
    /// Stands around cells; None: no cell is quoted.
    pub(super) quote: Option<u8>,
    /// Whether the first row names the columns.
    pub(super) header: bool,
    /// Names of the columns; they go before a header's.
    pub(super) columns: Option<Vec<String>>,
    /// Unquoted cells that mean: missing. The empty one always does.
    pub(super) nulls: Vec<Vec<u8>>,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { delimiter: b',', quote: Some(b'"'), header: true, columns: None, nulls: Vec::new() }
    }
}

fn wrong(message: impl Into<String>, hint: &str) -> Error {
    Error::new(ErrorKind::Format, "csv.bad_dialect", message).hint(hint)
}

impl Dialect {
    /// A dialect. `quote` may be empty: no cell is quoted. Without a header `columns` names them.
    ///
    /// Errors: `csv.bad_dialect` for a delimiter or quote that is not one ASCII character, or the same one; no names of columns;
    /// a null token that could not stand in an unquoted cell.
    pub fn new(delimiter: &str, quote: &str, header: bool, columns: Option<Vec<String>>, nulls: Vec<String>) -> Result<Dialect> {
        let delimiter = one_character("delimiter", delimiter)?;
        let quote = if quote.is_empty() { None } else { Some(one_character("quote", quote)?) };
        if quote == Some(delimiter) {
            return Err(wrong("delimiter and quote are the same character", "choose two characters"));
        }
        if !header && columns.as_ref().is_none_or(Vec::is_empty) {
            return Err(wrong("without a header nothing names the columns", "give the names of the columns, in order"));
        }
        let inside = |byte: u8| byte == delimiter || byte == b'\n' || byte == b'\r';
        if let Some(null) = nulls.iter().find(|null| null.bytes().any(inside) || null.bytes().next() == quote && quote.is_some())
        {
            return Err(wrong(format!("the null token {null:?} cannot stand in an unquoted cell"), "name another token"));
        }
        Ok(Dialect { delimiter, quote, header, columns, nulls: nulls.into_iter().map(String::into_bytes).collect() })
    }

    /// Whether an unquoted cell means: missing.
    #[inline(always)]
    pub(super) fn is_missing(&self, text: &[u8]) -> bool {
        text.is_empty() || !self.nulls.is_empty() && self.nulls.iter().any(|null| null == text)
    }
}

fn one_character(name: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        _ => Err(wrong(format!("the {name} {text:?} is not one ASCII character"), "use one ASCII character, not a line break")),
    }
}
