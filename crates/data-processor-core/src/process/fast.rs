//! The fast road: a valid record in plain JSON, straight into the columns. It gives up (None) at the first doubt and the slow
//! road decides.
//!
//! Law: whatever this road accepts, the slow road accepts with the same values.

use super::columns::Columns;
use super::number::{nearest_double, plain};
use super::syntax::{Limits, value_end};
use super::text::{PAD, number_end, skip_blank, skip_space, string_stop, unescape};
use super::time::{epoch_us, timestamp};
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

impl<const LINE: bool> Road<'_, LINE> {
    /// The first byte at or after `at` that is not white space of the record.
    #[inline(always)]
    fn space(&self, at: usize) -> usize {
        if LINE { skip_blank(self.bytes, at) } else { skip_space(self.bytes, at) }
    }

    #[inline(always)]
    fn object(&mut self, number: usize, open: usize, level: usize) -> Option<usize> {
        let (plan, bytes) = (self.plan, self.bytes);
        let node: &Node = &plan.nodes[number];
        let mut seen = 0u64;
        let mut unknown: Vec<&[u8]> = Vec::new();
        let mut next = 0; // the field that should come now
        let mut at = open; // at the bracket, then at each comma
        let mut separator = b'{';
        loop {
            let (found, field) = match node.fields.get(next) {
                Some(field) if field.stands_at(bytes, at) => {
                    at += field.literal_length;
                    (next, field)
                }
                _ => {
                    let (name, value) = match self.name(at, separator)? {
                        Name::End(at) => {
                            at_end(node, seen)?;
                            self.absent(node, seen);
                            self.members += seen.count_ones() as usize + unknown.len();
                            return Some(at + 1);
                        }
                        Name::At(start, end, value) => ((start, end), value),
                    };
                    (at, separator) = (value, b',');
                    match node.probe(bytes, name.0, name.1) {
                        Some(found) => (found, &node.fields[found]),
                        None => {
                            let name = &bytes[name.0..name.1];
                            if unknown.len() == FEW || unknown.contains(&name) {
                                return None;
                            }
                            unknown.push(name);
                            at = self.unknown(node, name, self.space(at), level)?;
                            continue;
                        }
                    }
                }
            };
            if bytes[at] <= b' ' {
                at = self.space(at);
            }
            if seen & 1 << found != 0 {
                return None;
            }
            seen |= 1 << found;
            (next, separator) = (found + 1, b',');
            at = match self.value(field.kind, at, level) {
                Some(end) => end,
                None => self.null(field, at)?,
            };
        }
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

    /// Nulls for the fields that did not come.
    #[inline(always)]
    fn absent(&mut self, node: &Node, seen: u64) {
        let mut absent = node.all & !seen;
        while absent != 0 {
            self.columns.push_null(self.plan, node.fields[absent.trailing_zeros() as usize].kind);
            absent &= absent - 1;
        }
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
        let end = value_end(self.bytes, at, &mut limits).ok()?;
        self.members += limits.members;
        (!LINE || memchr::memchr(b'\n', &self.bytes[at..end]).is_none()).then_some(end)
    }

    /// Reads a value and pushes it; for a null nothing is pushed, and None comes back.
    #[inline(always)]
    fn value(&mut self, kind: Kind, at: usize, level: usize) -> Option<usize> {
        let (plan, bytes) = (self.plan, self.bytes);
        match kind {
            Kind::Text(leaf) => self.text(leaf, at),
            Kind::Number(leaf) => self.number(leaf, at),
            Kind::Integer(leaf) => {
                let number = plain(bytes, at)?;
                let value = number.integer()?;
                plan.integers[leaf].admits(value).then(|| self.columns.integers[leaf].push(value))?;
                Some(number.end)
            }
            Kind::Decimal(leaf) => {
                let (number, rule) = (plain(bytes, at)?, &plan.decimals[leaf]);
                let value = number.scaled(usize::from(rule.scale))?;
                rule.admits(value).then(|| self.columns.decimals[leaf].push(value))?;
                Some(number.end)
            }
            Kind::Uuid(leaf) => {
                if bytes[at] != b'"' || bytes[at + 37] != b'"' {
                    return None;
                }
                self.columns.uuids[leaf].push(wide::uuid(bytes, at + 1)?);
                Some(at + 38)
            }
            Kind::Timestamp(leaf) => self.timestamp(leaf, at),
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
    fn text(&mut self, leaf: usize, at: usize) -> Option<usize> {
        let (bytes, rule) = (self.bytes, &self.plan.texts[leaf]);
        if bytes[at] != b'"' {
            return None;
        }
        let end = string_stop(bytes, at + 1);
        if bytes[end] != b'"' {
            return self.escaped_text(leaf, at);
        }
        self.columns.texts[leaf].push(bytes, at + 1, end - at - 1, rule).then_some(end + 1)
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
    fn number(&mut self, leaf: usize, at: usize) -> Option<usize> {
        let short = plain(self.bytes, at).and_then(|number| Some((number.double()?, number.end)));
        let (value, end) = match short {
            Some(read) => read,
            None => {
                let end = number_end(self.bytes, at)?;
                (nearest_double(&self.bytes[at..end])?, end)
            }
        };
        self.plan.numbers[leaf].surely_admits(value, short.is_some()).then(|| self.columns.numbers[leaf].push(value))?;
        Some(end)
    }

    #[inline(always)]
    fn timestamp(&mut self, leaf: usize, at: usize) -> Option<usize> {
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

#[inline(always)]
fn at_end(node: &Node, seen: u64) -> Option<()> {
    (seen & node.required == node.required).then_some(())
}
