//! Frazil's kernel in pure Rust: it judges records, writes Parquet for Iceberg and keeps the embedded log.
//!
//! No Python here; `data-processor-rs` binds it. The folders follow the flow: [`log`] → [`process`] → [`sink`].

pub mod batch;
pub mod contract;
pub mod error;
pub mod log;
pub mod process;
pub mod sink;
pub mod window;
