//! Judging records: parse, validate, transform, deduplicate.
