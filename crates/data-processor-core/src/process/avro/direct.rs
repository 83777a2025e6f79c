//! The direct road: a value that surely meets the contract, straight into columns. It gives up (None) at the first doubt, and the
//! value's text decides.
//!
//! Law: whatever this road accepts, the JSON roads accept of the value's canonical text, with the same values.

use super::cursor::Cursor;
use super::program::{Clock, Members, Source, Step, compile};
use super::record::Writer;
use super::schema::Schema;
use crate::contract::{Kind, Plan};
use crate::process::columns::Columns;
use crate::process::number::{Plain, plain};
use crate::process::spell::{self, small};
use crate::process::syntax::{Limits, whole_value};
use crate::process::text::{PAD, u128_at};
use crate::process::time::{self, epoch_us};
use crate::process::{number::nearest_double, wide};

/// Takes values of one schema under one contract.
pub struct Road<'a> {
    schema: &'a Schema,
    plan: &'a Plan,
    program: Option<Members>,
    scratch: Vec<u8>,
    /// Members and items of the value so far, and most bytes of its text.
    members: usize,
    size: usize,
}

/// The bits that no ASCII text has.
const HIGH: u128 = 0x8080_8080_8080_8080_8080_8080_8080_8080;

#[inline(always)]
fn is_utf8(bytes: &[u8], at: usize, length: usize) -> bool {
    let (whole, rest) = (length / 16 * 16, length % 16);
    if whole <= PAD {
        let lanes = (0..whole).step_by(16).fold(0, |all, lane| all | u128_at(bytes, at + lane));
        let last = u128_at(bytes, at + whole) & ((1u128 << (8 * rest)) - 1);
        if (lanes | last) & HIGH == 0 {
            return true;
        }
    }
    simdutf8::basic::from_utf8(&bytes[at..at + length]).is_ok()
}

impl<'a> Road<'a> {
    /// A road for values of `schema`.
    pub fn new(schema: &'a Schema, plan: &'a Plan) -> Road<'a> {
        Road { schema, plan, program: compile(schema, plan), scratch: Vec::new(), members: 0, size: 0 }
    }

    /// Reads the next value into columns. None: this road does not know, and the columns hold part of the value.
    #[inline]
    pub fn record(&mut self, from: &mut Cursor, columns: &mut Columns) -> Option<()> {
        let program = self.program.take()?;
        let before = from.at;
        (self.members, self.size) = (0, 0);
        let taken = self.object(&program, from, columns, 1);
        self.program = Some(program);
        // Values without bytes are counted where texts are written.
        taken.filter(|()| from.at > before && self.members <= self.plan.max_members && self.size <= self.plan.max_bytes)
    }

    #[inline(always)]
    fn object(&mut self, members: &Members, from: &mut Cursor, columns: &mut Columns, level: usize) -> Option<()> {
        self.members += members.steps.len();
        self.size += members.size;
        for step in &members.steps {
            self.step(step, from, columns, level)?;
        }
        for kind in &members.absent {
            columns.push_null(self.plan, *kind);
        }
        Some(())
    }

    #[inline(always)]
    fn step(&mut self, step: &Step, from: &mut Cursor, columns: &mut Columns, level: usize) -> Option<()> {
        match step {
            Step::Text(leaf) => self.text(*leaf, from, columns),
            Step::Union(steps) => {
                let step = &steps[from.choice(steps.len()).ok()?];
                self.branch(step, from, columns, level)
            }
            other => self.branch(other, from, columns, level),
        }
    }

    #[inline(always)]
    fn text(&mut self, leaf: usize, from: &mut Cursor, columns: &mut Columns) -> Option<()> {
        let (at, length) = from.run().ok()?;
        self.size += length * 6;
        let admitted =
            is_utf8(from.bytes, at, length) && columns.texts[leaf].push(from.bytes, at, length, &self.plan.texts[leaf]);
        admitted.then_some(())
    }

    fn branch(&mut self, step: &Step, from: &mut Cursor, columns: &mut Columns, level: usize) -> Option<()> {
        let plan = self.plan;
        match step {
            Step::Null(kind) => columns.push_null(plan, *kind),
            Step::Text(leaf) => self.text(*leaf, from, columns)?,
            Step::Symbol(leaf, symbols) => {
                let (text, length) = &symbols[from.choice(symbols.len()).ok()?];
                self.size += length;
                columns.texts[*leaf].push(text, 0, *length, &plan.texts[*leaf]).then_some(())?;
            }
            Step::UuidText(leaf) => {
                let (at, length) = from.run().ok()?;
                columns.uuids[*leaf].push(wide::uuid(from.bytes, at).filter(|_| length == 36)?);
            }
            Step::UuidBytes(leaf, counted) => {
                let at = if *counted { from.run().ok().filter(|(_, length)| *length == 16)?.0 } else { from.take(16).ok()? };
                columns.uuids[*leaf].push(u128::from_be_bytes(from.bytes[at..at + 16].try_into().ok()?));
            }
            Step::Integer(leaf, source) => {
                let value = self.integer(*source, from)?;
                plan.integers[*leaf].admits(value).then(|| columns.integers[*leaf].push(value))?;
            }
            Step::Number(leaf, source) => {
                let (value, short) = self.number(*source, from)?;
                plan.numbers[*leaf].surely_admits(value, short).then(|| columns.numbers[*leaf].push(value))?;
            }
            Step::Decimal(leaf, source) => {
                let rule = &plan.decimals[*leaf];
                let value = self.decimal(*source, u32::from(rule.scale), from)?;
                rule.admits(value).then(|| columns.decimals[*leaf].push(value))?;
            }
            Step::Boolean(leaf) => columns.booleans[*leaf].push(from.boolean().ok()?),
            Step::Timestamp(leaf, clock) => {
                let value = self.instant(*leaf, *clock, from, columns)?;
                columns.timestamps[*leaf].push(value);
            }
            Step::Date(leaf, text) => {
                let day = if *text {
                    let (at, length) = from.run().ok()?;
                    time::date(from.bytes, at, at + length)?
                } else {
                    let day = from.int().ok()?;
                    epoch_us(i128::from(day) * i128::from(time::DAY_US)).map(|_| day)?
                };
                columns.dates[*leaf].push(day);
            }
            Step::Json(leaf, shape, required) => self.json(*leaf, *shape, *required, from, columns, level)?,
            Step::Object(number, members) => {
                columns.objects[*number].append_non_null();
                self.object(members, from, columns, level + 1)?;
            }
            Step::Array(number, item) => self.array(*number, item, from, columns, level + 1)?,
            Step::Union(steps) => {
                let step = &steps[from.choice(steps.len()).ok()?];
                self.branch(step, from, columns, level)?;
            }
            Step::Other(shape, pointer) => self.other(*shape, pointer, from, columns, level)?,
            Step::Doubt => return None,
        }
        Some(())
    }

    #[inline(never)]
    fn array(&mut self, number: usize, item: &Step, from: &mut Cursor, columns: &mut Columns, level: usize) -> Option<()> {
        let mut items = 0usize;
        loop {
            let count = usize::try_from(from.block().ok()?).ok()?;
            if count == 0 {
                break;
            }
            if count > self.plan.max_members {
                return None;
            }
            items += count;
            self.members += count;
            self.size += count * LEAF;
            if self.members > self.plan.max_members {
                return None;
            }
            for _ in 0..count {
                self.branch(item, from, columns, level)?;
            }
        }
        self.plan.arrays[number].admits(items).then(|| columns.arrays[number].push(items))
    }

    /// The JSON text of the next value in `scratch`, checked and counted; its length.
    fn spelled(&mut self, shape: usize, target: Option<Kind>, from: &mut Cursor, level: usize) -> Option<usize> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let written = Writer::new(self.schema, self.plan, self.plan.max_bytes).any_value(shape, from, target, &mut scratch);
        let length = scratch.len();
        let checked = written.ok().and_then(|()| {
            simdutf8::basic::from_utf8(&scratch).ok()?;
            scratch.resize(length + PAD, 0);
            let mut limits = Limits { depth: self.plan.max_depth.checked_sub(level)?, members: 0 };
            whole_value(&scratch, length, &mut limits).ok()?;
            self.members += limits.members;
            self.size += length;
            Some(length)
        });
        self.scratch = scratch;
        checked
    }

    #[inline(never)]
    fn json(
        &mut self,
        leaf: usize,
        shape: usize,
        required: bool,
        from: &mut Cursor,
        columns: &mut Columns,
        level: usize,
    ) -> Option<()> {
        let length = self.spelled(shape, Some(Kind::Json(leaf)), from, level)?;
        // A text with white space around its value is left to the JSON roads: the value is what stands between it.
        let text = &self.scratch[..length];
        if text.first().is_some_and(u8::is_ascii_whitespace) || text.last().is_some_and(u8::is_ascii_whitespace) {
            return None;
        }
        match text {
            b"null" if required => return None,
            b"null" => columns.push_null(self.plan, Kind::Json(leaf)),
            text => columns.jsons[leaf].push(text),
        }
        Some(())
    }

    #[inline(never)]
    fn other(&mut self, shape: usize, pointer: &[u8], from: &mut Cursor, columns: &mut Columns, level: usize) -> Option<()> {
        let length = self.spelled(shape, None, from, level)?;
        let text = &self.scratch[..length];
        if !pointer.is_empty() && text != b"null" {
            let rows = columns.rows;
            let extra = &mut columns.extra;
            let first = extra.bytes.len() == extra.ends[rows] as usize;
            extra.bytes.push(if first { b'{' } else { b',' });
            extra.bytes.extend_from_slice(pointer);
            extra.bytes.extend_from_slice(text);
        }
        Some(())
    }

    #[inline(always)]
    fn integer(&mut self, source: Source, from: &mut Cursor) -> Option<i64> {
        match source {
            Source::Int => from.int().ok().map(i64::from),
            Source::Long => from.long().ok(),
            Source::Float | Source::Double => {
                let value = if source == Source::Float { from.float() } else { from.double() }.ok()?;
                (value.fract() == 0.0 && value.abs() < 1e15).then_some(value as i64)
            }
            Source::Bytes(_) | Source::Fixed(..) => i64::try_from(self.decimal(source, 0, from)?).ok(),
        }
    }

    /// The double, and whether its text has at most 15 digits or names no other double.
    #[inline(always)]
    fn number(&mut self, source: Source, from: &mut Cursor) -> Option<(f64, bool)> {
        match source {
            Source::Int => from.int().ok().map(|value| (f64::from(value), true)),
            Source::Long => from.long().ok().map(|value| (value as f64, value.unsigned_abs() < 1_000_000_000_000_000)),
            // The fewest digits that name a double are those of a bound of at most 15 digits that lies on it.
            Source::Float => from.float().ok().filter(|value| value.is_finite()).map(|value| (value, true)),
            Source::Double => from.double().ok().filter(|value| value.is_finite()).map(|value| (value, true)),
            Source::Bytes(scale) | Source::Fixed(_, scale) => {
                let unscaled = self.unscaled(source, from)?;
                self.scratch.clear();
                spell::decimal(&unscaled.to_string(), scale as i32, &mut self.scratch);
                Some((nearest_double(&self.scratch)?, false))
            }
        }
    }

    #[inline(always)]
    fn decimal(&mut self, source: Source, scale: u32, from: &mut Cursor) -> Option<i128> {
        match source {
            Source::Int => i128::from(from.int().ok()?).checked_mul(10i128.checked_pow(scale)?),
            Source::Long => i128::from(from.long().ok()?).checked_mul(10i128.checked_pow(scale)?),
            Source::Float | Source::Double => {
                let value = if source == Source::Float { from.float() } else { from.double() }.ok()?;
                self.short(value)?.scaled(scale as usize)
            }
            Source::Bytes(own) | Source::Fixed(_, own) => {
                let value = self.unscaled(source, from)?;
                if own <= scale {
                    return value.checked_mul(10i128.checked_pow(scale - own)?);
                }
                let cut = 10i128.checked_pow(own - scale)?;
                (value % cut == 0).then_some(value / cut)
            }
        }
    }

    fn unscaled(&mut self, source: Source, from: &mut Cursor) -> Option<i128> {
        let (at, length) = match source {
            Source::Fixed(length, _) => (from.take(length).ok()?, length),
            _ => from.run().ok()?,
        };
        self.size += MOST_DIGITS;
        (length <= 16).then(|| small(&from.bytes[at..at + length]))
    }

    /// The digits of a double without the zero after its point.
    fn short(&mut self, value: f64) -> Option<Plain> {
        self.scratch.clear();
        spell::double(value, &mut self.scratch);
        if self.scratch.ends_with(b".0") {
            self.scratch.truncate(self.scratch.len() - 2);
        }
        let length = self.scratch.len();
        self.scratch.resize(length + PAD, 0);
        plain(&self.scratch, 0).filter(|plain| plain.end == length)
    }

    #[inline(always)]
    fn instant(&mut self, leaf: usize, clock: Clock, from: &mut Cursor, columns: &mut Columns) -> Option<i64> {
        let rule = &self.plan.timestamps[leaf];
        match clock {
            Clock::Text => {
                let (at, length) = from.run().ok()?;
                self.size += length * 6;
                time::timestamp(from.bytes, at, at + length, rule.zone, &mut columns.memo).ok()
            }
            Clock::Instant(unit) => epoch_us(unit.to_us(from.long().ok()?)?.into()),
            Clock::Local(unit) => {
                let local = epoch_us(unit.to_us(from.long().ok()?)?.into())?;
                epoch_us(rule.zone?.instant(local)?.into())
            }
            Clock::Epoch => {
                let value = i128::from(from.long().ok()?);
                epoch_us(value * 10i128.pow(u32::from(rule.epoch_decimals?)))
            }
        }
    }
}

/// Most digits of a decimal's scale.
const MOST_DIGITS: usize = 1000;
/// Most bytes of an item that is no text.
const LEAF: usize = 40;
