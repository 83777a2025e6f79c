//! An encoded value as canonical JSON: a record's fields in the writer's order, those that are null left out.

use super::cursor::{Cursor, Fault};
use super::schema::{Logical, Schema, Shape};
use crate::contract::{Kind, Plan};
use crate::process::spell;

/// Most levels of an encoded value; contracts end far before.
const MOST_LEVELS: usize = 200;

/// Writes values as text under a contract, within bounds for a whole body.
pub struct Writer<'a> {
    /// The writer's schema.
    pub schema: &'a Schema,
    /// The contract.
    pub plan: &'a Plan,
    budget: Budget,
}

/// What a body may still become.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Values without bytes.
    empty: usize,
    /// Bytes of text.
    text: usize,
}

impl Budget {
    /// For a body whose text may grow to so many bytes; a thousandth of them may be values without bytes.
    pub fn new(text: usize) -> Budget {
        Budget { empty: text / 1024, text }
    }
}

impl<'a> Writer<'a> {
    /// A writer whose text may grow to `most` bytes.
    pub fn new(schema: &'a Schema, plan: &'a Plan, most: usize) -> Writer<'a> {
        Writer::going_on(schema, plan, Budget::new(most))
    }

    /// A writer within what is left of a budget.
    pub fn going_on(schema: &'a Schema, plan: &'a Plan, budget: Budget) -> Writer<'a> {
        Writer { schema, plan, budget }
    }

    /// What is left.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Writes the next whole value into an empty text.
    pub fn record(&mut self, from: &mut Cursor, out: &mut Vec<u8>) -> Result<(), Fault> {
        let before = out.len();
        self.value(self.schema.root, from, Some(Kind::Object(0)), 0, out)?;
        self.budget.text = self.budget.text.checked_sub(out.len() - before).ok_or(Fault::Large)?;
        Ok(())
    }

    /// Appends the next value of some shape where the contract has `target`.
    pub fn any_value(&mut self, shape: usize, from: &mut Cursor, target: Option<Kind>, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.value(shape, from, target, 1, out)
    }

    fn value(
        &mut self,
        shape: usize,
        from: &mut Cursor,
        target: Option<Kind>,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if level > MOST_LEVELS {
            return Err(Fault::Deep);
        }
        let before = from.at;
        self.any(shape, from, target, level, out)?;
        if from.at == before {
            self.budget.empty = self.budget.empty.checked_sub(1).ok_or(Fault::Empty)?;
        }
        if out.len() > self.budget.text { Err(Fault::Large) } else { Ok(()) }
    }

    fn any(
        &mut self,
        shape: usize,
        from: &mut Cursor,
        target: Option<Kind>,
        level: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let schema = self.schema;
        match &schema.shapes[shape] {
            Shape::Null => out.extend_from_slice(b"null"),
            Shape::Boolean => out.extend_from_slice(if from.boolean()? { b"true" } else { b"false" }),
            Shape::Int(logical) => number(from.int()?.into(), *logical, target, out),
            Shape::Long(logical) => number(from.long()?, *logical, target, out),
            Shape::Float => spell::double(from.float()?, out),
            Shape::Double => spell::double(from.double()?, out),
            Shape::Bytes(logical) => {
                let (at, length) = from.run()?;
                bytes(&from.bytes[at..at + length], *logical, target, out);
            }
            Shape::String => {
                let (at, length) = from.run()?;
                spell::text(&from.bytes[at..at + length], target, out);
            }
            Shape::Fixed(length, logical) => {
                let at = from.take(*length)?;
                bytes(&from.bytes[at..at + length], *logical, target, out);
            }
            Shape::Enum(symbols) => out.extend_from_slice(&symbols[from.choice(symbols.len())?]),
            Shape::Union(branches) => return self.value(branches[from.choice(branches.len())?], from, target, level + 1, out),
            Shape::Array(items) => {
                let target = self.item(target);
                self.blocks(*items, from, target, level, false, out)?;
            }
            Shape::Map(values) => self.blocks(*values, from, target, level, true, out)?,
            Shape::Record(members) => {
                out.push(b'{');
                let opened = out.len();
                for member in members {
                    let before = out.len();
                    if before > opened {
                        out.push(b',');
                    }
                    out.extend_from_slice(&member.key);
                    let value = out.len();
                    self.value(member.shape, from, self.below(target, member.name.as_bytes()), level + 1, out)?;
                    if &out[value..] == b"null" {
                        out.truncate(before);
                    }
                }
                out.push(b'}');
            }
        }
        Ok(())
    }

    /// The items of an array, or names and values of a map.
    fn blocks(
        &mut self,
        shape: usize,
        from: &mut Cursor,
        target: Option<Kind>,
        level: usize,
        named: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        out.push(if named { b'{' } else { b'[' });
        let mut first = true;
        loop {
            let count = from.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                let target = if named { self.name(from, target, out)? } else { target };
                self.value(shape, from, target, level + 1, out)?;
            }
        }
        out.push(if named { b'}' } else { b']' });
        Ok(())
    }

    /// Appends a map's next name; what the contract has there.
    fn name(&self, from: &mut Cursor, target: Option<Kind>, out: &mut Vec<u8>) -> Result<Option<Kind>, Fault> {
        let (at, length) = from.run()?;
        let name = &from.bytes[at..at + length];
        spell::quoted(name, out);
        out.push(b':');
        Ok(self.below(target, name))
    }

    /// What the contract has under a name of an object.
    fn below(&self, target: Option<Kind>, name: &[u8]) -> Option<Kind> {
        let Some(Kind::Object(number)) = target else { return None };
        let node = &self.plan.nodes[number];
        node.find(name).map(|field| node.fields[field].kind)
    }

    fn item(&self, target: Option<Kind>) -> Option<Kind> {
        let Some(Kind::Array(number)) = target else { return None };
        Some(self.plan.arrays[number].item.kind)
    }
}

fn number(value: i64, logical: Logical, target: Option<Kind>, out: &mut Vec<u8>) {
    match logical {
        Logical::Date => spell::date(value, target, out),
        Logical::Time(unit) => spell::time_of_day(value, unit, target, out),
        Logical::Instant(unit) => spell::instant(value, unit, true, target, out),
        Logical::Local(unit) => spell::instant(value, unit, false, target, out),
        Logical::None | Logical::Decimal(_) | Logical::Uuid => spell::integer(value.into(), out),
    }
}

fn bytes(value: &[u8], logical: Logical, target: Option<Kind>, out: &mut Vec<u8>) {
    match (logical, <[u8; 16]>::try_from(value)) {
        (Logical::Decimal(scale), _) if value.len() <= MOST_DECIMAL => {
            spell::decimal(&spell::big_endian(value), scale as i32, out);
        }
        (Logical::Uuid, Ok(value)) => spell::uuid(value, out),
        _ => spell::bytes(value, target, out),
    }
}

/// Most bytes of a decimal: a thousand digits have 416.
const MOST_DECIMAL: usize = 416;
