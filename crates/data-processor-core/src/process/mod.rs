//! Judging records: parse, validate, transform, deduplicate.

pub mod admit;
pub mod dedupe;
pub mod violation;
