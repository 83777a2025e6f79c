//! What to do with each value of a writer's schema under a contract: compiled once per file.

use super::schema::{Logical, Schema, Shape};
use crate::contract::{Field, Kind, Node, Plan, Unknown};
use crate::process::spell::Unit;
use crate::process::text::PAD;

/// Most levels that are compiled; what lies below is judged by its text.
const MOST_LEVELS: usize = 32;
/// Most steps of a program; a schema beyond them is judged by its text.
const MOST_STEPS: usize = 20_000;

/// Where a number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A zigzag number of at most 32 bit.
    Int,
    /// A zigzag number of at most 64 bit.
    Long,
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// Bytes behind their length, and the scale of the number in them.
    Bytes(u32),
    /// So many bytes, and the scale.
    Fixed(usize, u32),
}

/// Where an instant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Text.
    Text,
    /// A count since 1970 UTC.
    Instant(Unit),
    /// A count since 1970 in the contract's zone.
    Local(Unit),
    /// A count in the contract's unit.
    Epoch,
}

/// One step: reads a value and pushes it to its column.
#[derive(Debug)]
pub enum Step {
    /// A null where a value of this kind may be missing.
    Null(Kind),
    /// Text.
    Text(usize),
    /// A symbol; each padded, with its length.
    Symbol(usize, Vec<(Vec<u8>, usize)>),
    /// 36 characters.
    UuidText(usize),
    /// Sixteen bytes; whether a length stands before them.
    UuidBytes(usize, bool),
    /// A whole number.
    Integer(usize, Source),
    /// A double.
    Number(usize, Source),
    /// A decimal.
    Decimal(usize, Source),
    /// True or false.
    Boolean(usize),
    /// An instant.
    Timestamp(usize, Clock),
    /// A date; whether as text.
    Date(usize, bool),
    /// Any JSON: the value's shape, and whether it must be there.
    Json(usize, usize, bool),
    /// A nested object.
    Object(usize, Members),
    /// An array.
    Array(usize, Box<Step>),
    /// One of these, by number.
    Union(Vec<Step>),
    /// A value the contract does not name: its shape, and how its text begins where it is kept.
    Other(usize, Vec<u8>),
    /// Only the text can tell.
    Doubt,
}

/// The fields of a record.
#[derive(Debug)]
pub struct Members {
    /// A step for each field, in the writer's order.
    pub steps: Vec<Step>,
    /// What the writer has not.
    pub absent: Vec<Kind>,
    /// Most bytes of the record's own text: names, punctuation, numbers and times.
    pub size: usize,
}

/// Most bytes of a number, a time, a UUID or a literal as text.
const LEAF: usize = 40;

/// Compiles the record of a schema; None where no value of it can be taken without its text.
pub fn compile(schema: &Schema, plan: &Plan) -> Option<Members> {
    let mut compiler = Compiler { schema, plan, steps: 0 };
    match &schema.shapes[schema.root] {
        Shape::Record(_) if plan.fast => compiler.members(schema.root, 0, 1),
        _ => None,
    }
}

struct Compiler<'a> {
    schema: &'a Schema,
    plan: &'a Plan,
    steps: usize,
}

impl Compiler<'_> {
    fn members(&mut self, shape: usize, number: usize, level: usize) -> Option<Members> {
        let (schema, plan) = (self.schema, self.plan);
        let Shape::Record(members) = &schema.shapes[shape] else { return None };
        let node: &Node = &plan.nodes[number];
        let mut made = Members { steps: Vec::with_capacity(members.len()), absent: Vec::new(), size: 2 };
        let mut named = vec![false; node.fields.len()];
        for member in members {
            made.size += member.key.len() + 1 + LEAF;
            made.steps.push(match node.find(member.name.as_bytes()) {
                Some(field) => {
                    named[field] = true;
                    self.step(member.shape, &node.fields[field], level)
                }
                None => self.other(member.shape, node, &member.name),
            });
        }
        let absent = node.fields.iter().zip(named).filter(|(_, named)| !named).map(|(field, _)| field);
        for field in absent {
            if field.required {
                return None;
            }
            made.absent.push(field.kind);
        }
        Some(made)
    }

    fn other(&self, shape: usize, node: &Node, name: &str) -> Step {
        let plain = name.bytes().all(|byte| byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'~' | b'/'));
        match (self.plan.unknown, &node.pointer) {
            (Unknown::Drop, _) => Step::Other(shape, Vec::new()),
            (Unknown::Keep, Some(pointer))
                if plain && pointer.bytes().all(|byte| byte >= 0x20 && !matches!(byte, b'"' | b'\\')) =>
            {
                Step::Other(shape, format!("\"{pointer}/{name}\":").into_bytes())
            }
            _ => Step::Doubt,
        }
    }

    fn step(&mut self, shape: usize, field: &Field, level: usize) -> Step {
        self.steps += 1;
        if level > MOST_LEVELS || self.steps > MOST_STEPS {
            return Step::Doubt;
        }
        match (&self.schema.shapes[shape], field.kind) {
            (_, Kind::Json(leaf)) => Step::Json(leaf, shape, field.required),
            (Shape::Null, kind) if !field.required => Step::Null(kind),
            (Shape::Union(branches), _) => {
                Step::Union(branches.iter().map(|branch| self.step(*branch, field, level + 1)).collect())
            }
            (Shape::Record(_), Kind::Object(number)) => match self.members(shape, number, level + 1) {
                Some(members) => Step::Object(number, members),
                None => Step::Doubt,
            },
            (Shape::Array(items), Kind::Array(number)) => {
                Step::Array(number, Box::new(self.step(*items, &self.plan.arrays[number].item, level + 1)))
            }
            (shape, kind) => leaf(shape, kind),
        }
    }
}

fn leaf(shape: &Shape, kind: Kind) -> Step {
    match kind {
        Kind::Text(leaf) => match shape {
            Shape::String | Shape::Bytes(Logical::None) => Step::Text(leaf),
            Shape::Enum(symbols) => Step::Symbol(leaf, symbols.iter().filter_map(|symbol| padded(symbol)).collect()),
            _ => Step::Doubt,
        },
        Kind::Uuid(leaf) => match shape {
            Shape::String => Step::UuidText(leaf),
            Shape::Bytes(Logical::None) => Step::UuidBytes(leaf, true),
            Shape::Fixed(16, Logical::None | Logical::Uuid) => Step::UuidBytes(leaf, false),
            _ => Step::Doubt,
        },
        Kind::Integer(leaf) => source(shape).map_or(Step::Doubt, |source| Step::Integer(leaf, source)),
        Kind::Number(leaf) => source(shape).map_or(Step::Doubt, |source| Step::Number(leaf, source)),
        Kind::Decimal(leaf) => source(shape).map_or(Step::Doubt, |source| Step::Decimal(leaf, source)),
        Kind::Boolean(leaf) if matches!(shape, Shape::Boolean) => Step::Boolean(leaf),
        Kind::Timestamp(leaf) => clock(shape).map_or(Step::Doubt, |clock| Step::Timestamp(leaf, clock)),
        Kind::Date(leaf) => match shape {
            Shape::String => Step::Date(leaf, true),
            Shape::Int(Logical::Date) => Step::Date(leaf, false),
            _ => Step::Doubt,
        },
        _ => Step::Doubt,
    }
}

/// A symbol's text, padded, and its length; None, and no symbol has its number, where it needs escapes.
fn padded(symbol: &[u8]) -> Option<(Vec<u8>, usize)> {
    let text = &symbol[1..symbol.len() - 1];
    let mut padded = text.to_vec();
    padded.resize(text.len() + PAD, 0);
    (!text.contains(&b'\\')).then_some((padded, text.len()))
}

fn source(shape: &Shape) -> Option<Source> {
    Some(match shape {
        Shape::Int(_) => Source::Int,
        Shape::Long(_) => Source::Long,
        Shape::Float => Source::Float,
        Shape::Double => Source::Double,
        Shape::Bytes(Logical::Decimal(scale)) => Source::Bytes(*scale),
        Shape::Fixed(length, Logical::Decimal(scale)) => Source::Fixed(*length, *scale),
        _ => return None,
    })
}

fn clock(shape: &Shape) -> Option<Clock> {
    Some(match shape {
        Shape::String => Clock::Text,
        Shape::Long(Logical::Instant(unit)) => Clock::Instant(*unit),
        Shape::Long(Logical::Local(unit)) => Clock::Local(*unit),
        Shape::Long(Logical::None) => Clock::Epoch,
        _ => return None,
    })
}
