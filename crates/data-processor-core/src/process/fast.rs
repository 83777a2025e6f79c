//! The fast road: a valid record in plain JSON, straight into the columns. It gives up (None) at the first doubt and the slow
//! road decides.
//!
//! Law: whatever this road accepts, the slow road accepts with the same values.

use super::columns::Columns;
use super::number::{nearest_double, plain, short};
use super::syntax::{Limits, value_end, value_end_in_line};
use super::text::{PAD, Window, number_end, skip_blank, skip_space, string_stop, unescape, window};
use super::time::{epoch_us, timestamp, utc_timestamp};
use super::wide;
use crate::contract::{Field, Kind, Node, Plan, Unknown};

/// Most unknown members of an object that are compared with each other one by one.
const FEW: usize = 16;

/// One record on its way. `LINE`: a line feed is no white space of it, since it ends there.
pub struct Road<'a, const LINE: bool> {
    plan: &'a Plan,
    bytes: &'a [u8],
    columns: &'a mut Columns,
    members: usize,
}

/// Reads the record at `start` (its bracket) of a padded UTF-8 buffer into columns; the place after it.
///
/// None: this road does not know, and the columns hold part of the record. Accepting is the caller's, who knows where the
/// record must end and when it was received.
#[inline]
pub fn record<const LINE: bool>(plan: &Plan, bytes: &[u8], start: usize, columns: &mut Columns) -> Option<usize> {
    if bytes[start] != b'{' {
        return None;
    }
    let mut road = Road::<LINE> { plan, bytes, columns, members: 0 };
    let end = road.object(0, start, 1)?;
    (road.members <= plan.max_members).then_some(end)
}

/// Reads the leaf of one value at `at` and pushes it; the place after it. After None nothing was pushed.
#[inline]
pub fn leaf(plan: &Plan, bytes: &[u8], kind: Kind, at: usize, columns: &mut Columns) -> Option<usize> {
    let mut road = Road::<false> { plan, bytes, columns, members: 0 };
    match kind {
        Kind::Json(_) | Kind::Object(_) | Kind::Array(_) => None,
        leaf => road.value(leaf, at, 1),
    }
}

/// What stands in an object where the expected field does not.
enum Step {
    /// Another field by its number, and the place of its value.
    Field(usize, usize),
    /// An unknown member that ends here.
    Skipped(usize),
    /// The end of the object, its bracket.
    End(usize),
}

impl<'a, const LINE: bool> Road<'a, LINE> {
    /// The first byte at or after `at` that is not white space of the record.
    #[inline(always)]
    fn space(&self, at: usize) -> usize {
        if LINE { skip_blank(self.bytes, at) } else { skip_space(self.bytes, at) }
    }

    #[inline(always)]
    fn object(&mut self, number: usize, mut at: usize, level: usize) -> Option<usize> {
        let node: &'a Node = &self.plan.nodes[number];
        let mut expected = &node.fields[..];
        let (mut seen, mut members, mut unknown) = (0, 0, Vec::new());
        let mut separator = b'{'; // it is at `at`, later a comma
        loop {
            let here = window(self.bytes, at);
            let field = match expected.split_first() {
                Some((field, others)) if field.stands_at(here, 0) => {
                    at += field.literal_length;
                    expected = others;
                    field
                }
                _ => match self.unexpected(node, here, at, separator, &mut unknown, level)? {
                    Step::Field(found, value) => {
                        at = value;
                        expected = &node.fields[found + 1..];
                        &node.fields[found]
                    }
                    Step::Skipped(end) => {
                        // The first field is expected at the bracket only: after this a bracket is no separator.
                        if expected.len() == node.fields.len() {
                            expected = expected.get(1..).unwrap_or_default();
                        }
                        (at, separator) = (end, b',');
                        continue;
                    }
                    Step::End(end) => {
                        self.members += members + unknown.len();
                        return self.absent(node, seen).then_some(end + 1);
                    }
                },
            };
            if seen & field.bit != 0 {
                return None;
            }
            (seen, members, separator) = (seen | field.bit, members + 1, b',');
            at = loop {
                if let Some(end) = self.value(field.kind, at, level) {
                    break end;
                }
                // Nothing was pushed: white space stands first, or a null.
                let value = self.space(at);
                if value == at {
                    break self.null(field, at)?;
                }
                at = value;
            };
        }
    }

    /// What stands at `at` where the expected field does not: its window is `here`.
    #[inline(always)]
    fn unexpected(
        &mut self,
        node: &Node,
        here: &Window,
        at: usize,
        separator: u8,
        unknown: &mut Vec<&'a [u8]>,
        level: usize,
    ) -> Option<Step> {
        if here[0] == separator
            && let Some(found) = node.glance(here, 0)
        {
            return Some(Step::Field(found, at + node.fields[found].literal_length));
        }
        if here[0] == b'}' && separator == b',' {
            return Some(Step::End(at));
        }
        self.spaced(node, at, separator, unknown, level)
    }

    /// As [`Road::unexpected`] for a member behind white space, an unknown one, or the end.
    #[inline(never)]
    fn spaced(&mut self, node: &Node, at: usize, separator: u8, unknown: &mut Vec<&'a [u8]>, level: usize) -> Option<Step> {
        let bytes = self.bytes;
        let (start, end, value) = match self.name(at, separator)? {
            Name::End(at) => return Some(Step::End(at)),
            Name::At(start, end, value) => (start, end, value),
        };
        if let Some(found) = node.probe(bytes, start, end) {
            return Some(Step::Field(found, value));
        }
        let name = &bytes[start..end];
        if unknown.len() == FEW || unknown.contains(&name) {
            return None;
        }
        unknown.push(name);
        Some(Step::Skipped(self.unknown(node, name, self.space(value), level)?))
    }

    /// What follows a value or the opening bracket: the end of the object, or a name and the place of its value.
    #[inline(always)]
    fn name(&self, at: usize, separator: u8) -> Option<Name> {
        let (bytes, first) = (self.bytes, separator == b'{');
        let mut at = self.space(at);
        if bytes[at] == b'}' && !first {
            return Some(Name::End(at));
        }
        if !first && bytes[at] != b',' {
            return None;
        }
        at = self.space(at + 1);
        if bytes[at] == b'}' && first {
            return Some(Name::End(at));
        }
        if bytes[at] != b'"' {
            return None;
        }
        let end = string_stop(bytes, at + 1);
        if bytes[end] != b'"' {
            return None;
        }
        let colon = self.space(end + 1);
        (bytes[colon] == b':').then_some(Name::At(at + 1, end, colon + 1))
    }

    /// Nulls for the fields that did not come; false where one of them is required.
    #[inline(always)]
    fn absent(&mut self, node: &Node, seen: u64) -> bool {
        let mut absent = node.all & !seen;
        if absent & node.required != 0 {
            return false;
        }
        while absent != 0 {
            self.columns.push_null(self.plan, node.fields[absent.trailing_zeros() as usize].kind);
            absent &= absent - 1;
        }
        true
    }

    fn unknown(&mut self, node: &Node, name: &[u8], at: usize, level: usize) -> Option<usize> {
        let end = self.skip(at, level)?;
        match self.plan.unknown {
            Unknown::Drop => {}
            Unknown::Refuse => return None,
            Unknown::Keep => {
                let pointer = node.pointer.as_ref()?;
                if name.iter().any(|byte| matches!(byte, b'~' | b'/')) {
                    return None;
                }
                let extra = &mut self.columns.extra;
                let first = extra.bytes.len() == extra.ends[self.columns.rows] as usize;
                extra.bytes.extend_from_slice(if first { b"{\"" } else { b",\"" });
                extra.bytes.extend_from_slice(pointer.as_bytes());
                extra.bytes.push(b'/');
                extra.bytes.extend_from_slice(name);
                extra.bytes.extend_from_slice(b"\":");
                extra.bytes.extend_from_slice(&self.bytes[at..end]);
            }
        }
        Some(end)
    }

    /// The end of a value of any kind inside an object of `level`.
    fn skip(&mut self, at: usize, level: usize) -> Option<usize> {
        let mut limits = Limits { depth: self.plan.max_depth - level, members: 0 };
        let end = if LINE { value_end_in_line(self.bytes, at, &mut limits) } else { value_end(self.bytes, at, &mut limits) };
        self.members += limits.members;
        end.ok()
    }

    /// Reads a value and pushes it; for a null nothing is pushed, and None comes back.
    #[inline(always)]
    fn value(&mut self, kind: Kind, at: usize, level: usize) -> Option<usize> {
        let (plan, bytes) = (self.plan, self.bytes);
        let here = window(bytes, at);
        match kind {
            Kind::Text(leaf) => self.text(leaf, at, here),
            Kind::Number(leaf) => self.number(leaf, at, here),
            Kind::Integer(leaf) => match short(here).and_then(|number| Some((number.integer()?, number.end))) {
                Some((value, end)) => self.push_integer(leaf, value, at + end),
                None => self.other_integer(leaf, at),
            },
            Kind::Decimal(leaf) => {
                let (number, rule) = (plain(bytes, at)?, &plan.decimals[leaf]);
                let value = number.scaled(usize::from(rule.scale))?;
                rule.admits(value).then(|| self.columns.decimals[leaf].push(value))?;
                Some(number.end)
            }
            Kind::Uuid(leaf) => {
                if here[0] != b'"' || here[37] != b'"' {
                    return None;
                }
                self.columns.uuids[leaf].push(wide::uuid(here, 1)?);
                Some(at + 38)
            }
            Kind::Timestamp(leaf) => self.timestamp(leaf, at, here),
            Kind::Date(leaf) => {
                let (start, end) = self.string(at)?;
                self.columns.dates[leaf].push(super::time::date(bytes, start, end)?);
                Some(end + 1)
            }
            Kind::Boolean(leaf) => {
                let value = bytes[at] == b't';
                let literal: &[u8] = if value { b"true" } else { b"false" };
                (bytes[at..at + literal.len()] == *literal).then(|| self.columns.booleans[leaf].push(value))?;
                Some(at + literal.len())
            }
            Kind::Json(_) if bytes[at] == b'n' => None,
            Kind::Json(leaf) => {
                let end = self.skip(at, level)?;
                self.columns.jsons[leaf].push(&bytes[at..end]);
                Some(end)
            }
            Kind::Object(number) => self.nested(number, at, level + 1),
            Kind::Array(number) => self.array(number, at, level + 1),
        }
    }

    /// A null, where no value could be read; nothing was pushed then.
    #[cold]
    fn null(&mut self, field: &Field, at: usize) -> Option<usize> {
        if field.required || self.bytes[at..at + 4] != *b"null" {
            return None;
        }
        self.columns.push_null(self.plan, field.kind);
        Some(at + 4)
    }

    /// Start and end of the text of the plain string at `at`.
    #[inline(always)]
    fn string(&self, at: usize) -> Option<(usize, usize)> {
        if self.bytes[at] != b'"' {
            return None;
        }
        let end = string_stop(self.bytes, at + 1);
        (self.bytes[end] == b'"').then_some((at + 1, end))
    }

    #[inline(always)]
    fn text(&mut self, leaf: usize, at: usize, here: &Window) -> Option<usize> {
        if here[0] != b'"' {
            return None;
        }
        let first = wide::lane(here, 1);
        let stops = wide::string_stops(first);
        if stops == 0 {
            return self.long_text(leaf, at);
        }
        let length = stops.trailing_zeros() as usize % 16;
        if here[1 + length] != b'"' {
            return self.escaped_text(leaf, at);
        }
        let plan = self.plan;
        self.columns.texts[leaf].push_short(first, length, || &plan.texts[leaf]).then_some(at + length + 2)
    }

    /// A text of more than fifteen bytes.
    #[inline(never)]
    fn long_text(&mut self, leaf: usize, at: usize) -> Option<usize> {
        let bytes = self.bytes;
        let end = string_stop(bytes, at + 17);
        if bytes[end] != b'"' {
            return self.escaped_text(leaf, at);
        }
        self.columns.texts[leaf].push(bytes, at + 1, end - at - 1, &self.plan.texts[leaf]).then_some(end + 1)
    }

    #[cold]
    fn escaped_text(&mut self, leaf: usize, at: usize) -> Option<usize> {
        let decoded = &mut self.columns.decoded;
        decoded.clear();
        let end = unescape(self.bytes, at + 1, decoded)?;
        let length = decoded.len();
        decoded.resize(length + PAD, 0);
        self.columns.texts[leaf].push(decoded, 0, length, &self.plan.texts[leaf]).then_some(end)
    }

    #[inline(always)]
    fn push_integer(&mut self, leaf: usize, value: i64, end: usize) -> Option<usize> {
        self.plan.integers[leaf].admits(value).then(|| self.columns.integers[leaf].push(value))?;
        Some(end)
    }

    /// An integer of more than seven digits.
    #[inline(never)]
    fn other_integer(&mut self, leaf: usize, at: usize) -> Option<usize> {
        let number = plain(self.bytes, at)?;
        self.push_integer(leaf, number.integer()?, number.end)
    }

    #[inline(always)]
    fn number(&mut self, leaf: usize, at: usize, here: &Window) -> Option<usize> {
        match short(here).and_then(|number| Some((number.double()?, number.end))) {
            Some((value, end)) => self.push_number(leaf, value, true, at + end),
            None => self.other_number(leaf, at),
        }
    }

    /// `short`: it has at most 15 digits and no exponent.
    #[inline(always)]
    fn push_number(&mut self, leaf: usize, value: f64, short: bool, end: usize) -> Option<usize> {
        self.plan.numbers[leaf].surely_admits(value, short).then(|| self.columns.numbers[leaf].push(value))?;
        Some(end)
    }

    /// A number of more than seven digits, or with an exponent.
    #[inline(never)]
    fn other_number(&mut self, leaf: usize, at: usize) -> Option<usize> {
        if let Some((value, end)) = plain(self.bytes, at).and_then(|number| Some((number.double()?, number.end))) {
            return self.push_number(leaf, value, true, end);
        }
        let end = number_end(self.bytes, at)?;
        self.push_number(leaf, nearest_double(&self.bytes[at..end])?, false, end)
    }

    #[inline(always)]
    fn timestamp(&mut self, leaf: usize, at: usize, here: &Window) -> Option<usize> {
        if here[0] == b'"'
            && let Some((value, end)) = utc_timestamp(here, 1, &mut self.columns.memo)
            && here[end] == b'"'
        {
            self.columns.timestamps[leaf].push(value);
            return Some(at + end + 1);
        }
        self.other_timestamp(leaf, at)
    }

    /// A timestamp that is not in UTC, or not plain.
    #[inline(never)]
    fn other_timestamp(&mut self, leaf: usize, at: usize) -> Option<usize> {
        let rule = &self.plan.timestamps[leaf];
        if self.bytes[at] == b'"' {
            let (start, end) = self.string(at)?;
            let value = timestamp(self.bytes, start, end, rule.zone, &mut self.columns.memo).ok()?;
            self.columns.timestamps[leaf].push(value);
            return Some(end + 1);
        }
        let number = plain(self.bytes, at)?;
        let value = epoch_us(number.scaled(usize::from(rule.epoch_decimals?))?)?;
        self.columns.timestamps[leaf].push(value);
        Some(number.end)
    }

    #[inline(never)]
    fn nested(&mut self, number: usize, at: usize, level: usize) -> Option<usize> {
        if self.bytes[at] != b'{' {
            return None;
        }
        self.columns.objects[number].append_non_null();
        self.inner(number, at, level)
    }

    #[inline(never)]
    fn inner(&mut self, number: usize, at: usize, level: usize) -> Option<usize> {
        self.object(number, at, level)
    }

    #[inline(never)]
    fn array(&mut self, number: usize, at: usize, level: usize) -> Option<usize> {
        let (bytes, rule) = (self.bytes, &self.plan.arrays[number]);
        if bytes[at] != b'[' {
            return None;
        }
        let mut items = 0;
        let mut at = self.space(at + 1);
        while bytes[at] != b']' || items > 0 {
            at = match self.value(rule.item.kind, at, level) {
                Some(end) => end,
                None => self.null(&rule.item, at)?,
            };
            at = self.space(at);
            items += 1;
            match bytes[at] {
                b',' => at = self.space(at + 1),
                b']' => break,
                _ => return None,
            }
        }
        self.members += items;
        rule.admits(items).then(|| self.columns.arrays[number].push(items))?;
        Some(at + 1)
    }
}

enum Name {
    /// The object's closing bracket.
    End(usize),
    /// Start and end of a name, place after its colon.
    At(usize, usize, usize),
}
