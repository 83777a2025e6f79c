//! Live windows: which windows an event falls into, what they add up to, when they are final, and one file that keeps it all.
//!
//! [`spec`] says what is asked for, [`aggregate`] and [`sketch`] add up, [`group`] decides per key; all of these are pure.
//! [`store`] keeps state, position and keys in one SQLite file and changes them in one transaction; what is held of them in
//! memory is bounded in bytes.
//!
//! **Watermark** (Spark's rule): the one used for a batch is the largest event time of the batches before it less the allowed
//! lateness, never backward. An event is late for a window that ended at or before the watermark (for a session: when
//! `event time + gap` did, or when it touches a session that is final); otherwise it counts, even if its own time lies
//! before the watermark. The largest event time is over all partitions, so an idle partition holds nothing back.

pub mod aggregate;
mod cache;
pub mod columns;
mod emit;
mod filter;
pub mod group;
mod keys;
pub mod reader;
pub mod sketch;
pub mod spec;
pub mod store;
mod turn;

pub use cache::Memory;
pub use group::{Group, KeyState};
pub use reader::WindowReader;
pub use spec::{Shape, WindowSpec, starts};
pub use store::WindowStore;
