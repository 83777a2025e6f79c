//! A contract's plan, compiled for the scanner: known only at run time, immutable, shared between threads.
//!
//! A plan is a tree of objects ([`Node`]) whose leaves are numbered by kind: text 0, text 1, integer 0 … A leaf's number is the
//! place of its rules here and of its column in a batch.

mod compile;
mod field;
mod rules;
mod shape;
mod spelling;

pub use compile::GENERIC;
pub use field::{Field, Kind, Node};
pub use rules::{ArrayRule, Bounds, DecimalRule, IntegerRule, NumberRule, TextFormat, TextRule, TimestampRule};

use std::sync::{Arc, OnceLock};

use crate::error::Result;

/// What happens to members that the contract does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Kept as JSON text in the column `_extra`.
    Keep,
    /// Forgotten.
    Drop,
    /// A violation.
    Refuse,
}

/// Where the event time comes from, and what it may be.
#[derive(Clone, Debug)]
pub struct EventTime {
    /// A timestamp or date leaf of the record or of objects in it; None: the time of receipt.
    pub leaf: Option<Kind>,
    /// Earliest event time, µs since 1970 UTC.
    pub earliest_us: i64,
    /// How far after its receipt an event may lie, µs.
    pub ahead_us: i64,
}

/// A compiled contract.
#[derive(Debug)]
pub struct Plan {
    /// Name of the contract.
    pub name: String,
    /// Version of the contract.
    pub version: String,
    /// SHA-256 over everything that decides a verdict.
    pub hash: String,
    /// JSON pointers of the fields that identify an event.
    pub key: Vec<String>,
    /// What happens to unknown members.
    pub unknown: Unknown,
    /// The event time's leaf and bounds.
    pub event_time: EventTime,
    /// Most levels of nesting; the record is level 1.
    pub max_depth: usize,
    /// Most members and items of a record.
    pub max_members: usize,
    /// Most bytes of a record.
    pub max_bytes: usize,
    /// Objects; 0 is the record.
    pub nodes: Vec<Node>,
    /// Arrays, in contract order.
    pub arrays: Vec<ArrayRule>,
    /// Rules of text leaves.
    pub texts: Vec<TextRule>,
    /// Rules of integer leaves.
    pub integers: Vec<IntegerRule>,
    /// Rules of number leaves.
    pub numbers: Vec<NumberRule>,
    /// Rules of decimal leaves.
    pub decimals: Vec<DecimalRule>,
    /// Rules of timestamp leaves.
    pub timestamps: Vec<TimestampRule>,
    /// Zones of date leaves; they matter for a date that is the event time.
    pub dates: Vec<Option<crate::process::time::Zone>>,
    /// Number of UUID leaves.
    pub uuids: usize,
    /// Number of boolean leaves.
    pub booleans: usize,
    /// Number of `json` leaves.
    pub jsons: usize,
    /// Whether the fast road may be tried at all.
    pub fast: bool,
    /// Columns that calls hand on.
    pub(crate) spare: crate::process::Spare,
    /// The JSON spelling it was compiled from.
    text: String,
    typed: OnceLock<Arc<Plan>>,
}

impl Plan {
    /// Compiles the JSON spelling of a plan.
    ///
    /// Errors: `plan.invalid` for anything that is no plan, with the field's path where one is at fault.
    pub fn compile(text: &str) -> Result<Plan> {
        compile::compile(text)
    }

    /// The generic event contract, which applies where none is named.
    pub fn generic() -> Plan {
        compile::compile(GENERIC).expect("the shipped plan compiles; a test holds it to that")
    }

    /// This plan with types only: no ranges, enums, lengths, patterns, formats of text or numbers of items.
    pub fn typed(&self) -> Result<Arc<Plan>> {
        if let Some(typed) = self.typed.get() {
            return Ok(Arc::clone(typed));
        }
        let mut typed = compile::compile_types(&self.text)?;
        typed.fast &= self.fast;
        Ok(Arc::clone(self.typed.get_or_init(|| Arc::new(typed))))
    }

    /// The record itself.
    pub fn record(&self) -> &Node {
        &self.nodes[0]
    }
}
