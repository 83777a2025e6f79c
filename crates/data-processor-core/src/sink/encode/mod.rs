//! Column chunks written page by page: dictionary codes that arrive are reused, pages are closed as they fill.
//!
//! The `parquet` crate writes page headers, schema and footer; the bodies of pages are ours. What lies below a list goes
//! through the crate's own Arrow writer instead, which is also the oracle in the tests.

mod chunk;
mod dictionary;
pub(super) mod gather;
mod literals;
mod pack;
mod parts;
mod press;

pub use chunk::ChunkWriter;
pub use press::Press;
