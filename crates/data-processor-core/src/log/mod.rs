//! The embedded log: SQLite segments, one writer thread per topic, group commit.
//!
//! A topic is a directory: `log.json` (its identity), `lock` (shared by append, roll and unlink of every process),
//! `acknowledged` (the last offset ever answered for) and `seg-<base offset>.db`, one SQLite file per segment.
//! Every segment but the newest is sealed; offsets run on without a gap from one to the next.

mod codec;
mod completion;
mod decode;
mod directory;
mod fault;
mod raw;
mod reader;
mod retention;
mod segment;
#[cfg(test)]
mod tests;
mod trickle;
mod writer;

pub use codec::{Encoded, Encoder, RecordRef};
pub use decode::records_of;
pub use reader::{Reader, SegmentFacts};
pub use writer::{Appended, Idempotency, Options, Writer};

/// How a check is spelled in a position: eight hex digits.
pub fn spell_check(check: u32) -> String {
    format!("{check:08x}")
}
