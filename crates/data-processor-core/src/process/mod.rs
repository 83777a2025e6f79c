//! Judging records: parse, validate, transform, deduplicate.

pub mod admit;
pub mod violation;
