//! Avro: object container files, and single values of a known schema.
//!
//! `direct` writes values that surely meet the contract straight into columns; any other becomes canonical JSON (`record`), which
//! the JSON roads judge: verdicts are the same in every format because the same code gives them.

mod container;
mod cursor;
mod direct;
mod program;
mod read;
mod record;
mod schema;

pub use container::{Block, Blocks};
pub use cursor::{Cursor, Fault};
pub use direct::Road;
pub use read::Reader;
pub use record::Writer;
pub use schema::Schema;

use super::guarded;
use super::text::PAD;
use crate::contract::Plan;
use crate::error::{Error, ErrorKind, Result};

/// Most bytes of text that an Avro body of so many bytes, decompressed, may become.
pub(crate) fn most_text(bytes: usize) -> usize {
    (64 << 20) + bytes.saturating_mul(64)
}

fn broken(fault: Fault, record: usize) -> Error {
    Error::new(ErrorKind::Body, "body.invalid_avro", format!("record {record} is not Avro of its schema: {}", fault.words()))
        .hint("give the schema the record was written with")
        .int("record", record)
}

/// The text of each value of an object container file, in order.
///
/// Errors, with nothing of the body to be stored: `body.invalid_avro`, `avro.bad_schema`, `avro.unknown_codec`, `body.too_large`.
pub fn canonical(plan: &Plan, file: &[u8], mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    guarded(|| {
        let (mut blocks, schema) = Blocks::open(file)?;
        let (mut block, mut text, mut index) = (Block::default(), Vec::new(), 0);
        let mut writer = Writer::new(&schema, plan, most_text(file.len()));
        while blocks.next(&mut block)? {
            let mut cursor = Cursor::new(&block.bytes, block.length);
            for _ in 0..block.values {
                text.clear();
                writer.record(&mut cursor, &mut text).map_err(|fault| broken(fault, index))?;
                each(&text)?;
                index += 1;
            }
            if !cursor.is_done() {
                return Err(broken(Fault::Rest, index));
            }
        }
        Ok(())
    })
}

/// The text of one value of a schema; or why it is none.
pub fn canonical_value(plan: &Plan, schema: &Schema, value: &[u8]) -> std::result::Result<Vec<u8>, Fault> {
    let mut padded = value.to_vec();
    padded.resize(value.len() + PAD, 0);
    let (mut cursor, mut text) = (Cursor::new(&padded, value.len()), Vec::new());
    Writer::new(schema, plan, most_text(value.len())).record(&mut cursor, &mut text)?;
    if cursor.is_done() { Ok(text) } else { Err(Fault::Rest) }
}
