//! What is fuzzed, and what fuzzing begins with.

#[path = "../../crates/data-processor-core/tests/avro_files/mod.rs"]
pub mod avro_files;
pub mod seed;
pub mod targets;
