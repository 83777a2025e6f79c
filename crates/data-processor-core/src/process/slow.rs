//! The slow road: the complete one. Checks the record's syntax to the letter, then walks it by the contract and reports every
//! violation; a record that proves valid (escaped names, exponents, more members than the fast road takes) is written after all.

use std::collections::HashSet;

use super::columns::Columns;
use super::leaf::Found;
use super::syntax::{Fault, Limits, value_end, whole_value};
use super::text::{PAD, escape_into, push_pointer, skip_space, unescape};
use super::violation::{Stage, Violation, shortened};
use crate::contract::{ArrayRule, Kind, Plan, Unknown};

/// A record that broke rules: the stage, and each broken rule.
pub type Refused = (Stage, Vec<Violation>);

/// One record on its way.
pub struct Road<'a> {
    pub(super) plan: &'a Plan,
    /// The record, padded.
    pub(super) bytes: &'a [u8],
    pub(super) columns: &'a mut Columns,
    pub(super) received_us: i64,
    /// JSON pointer of the field that is looked at.
    pub(super) path: String,
    pub(super) violations: Vec<Violation>,
    /// Repeated and unknown members: where each stands, and its violation.
    late: Vec<(usize, Violation)>,
    /// Unknown members that are kept: where each stands, its pointer, start and end of its value.
    kept: Vec<(usize, String, usize, usize)>,
}

/// A member of an object: its name and the range of its value.
struct Member {
    name: Vec<u8>,
    start: usize,
    end: usize,
}

/// Judges one record of `padded` (the record and [`PAD`] zero bytes) and writes it into columns when it is valid.
///
/// Columns hold part of the record when it is refused. Accepting is the caller's.
pub fn record(plan: &Plan, padded: &[u8], columns: &mut Columns, received_us: i64) -> Result<(), Refused> {
    let start = readable(plan, padded).map_err(|violation| (Stage::Parse, vec![violation]))?;
    let mut road = Road {
        plan,
        bytes: padded,
        columns,
        received_us,
        path: String::new(),
        violations: Vec::new(),
        late: Vec::new(),
        kept: Vec::new(),
    };
    road.object(0, start);
    road.late.sort_by_key(|(at, _)| *at);
    let late = std::mem::take(&mut road.late);
    road.violations.extend(late.into_iter().map(|(_, violation)| violation));
    if !road.violations.is_empty() {
        return Err((Stage::Validate, road.violations));
    }
    road.write_kept();
    Ok(())
}

fn broken(code: &'static str, message: String, hint: impl Into<String>) -> Violation {
    Violation { code, path: String::new(), message, hint: hint.into(), value: None }
}

/// The violation of a record without a value.
pub fn null_record() -> Violation {
    broken("record.null", "the record has no value".into(), "send the event as a JSON object")
}

/// The violation of a record of too many bytes.
pub fn too_large(bytes: usize, plan: &Plan) -> Violation {
    broken(
        "record.too_large",
        format!("{bytes} bytes, at most {}", plan.max_bytes),
        "split the event or raise maxBytes in the contract",
    )
}

/// The record rules after size; the place of the record's bracket.
fn readable(plan: &Plan, padded: &[u8]) -> Result<usize, Violation> {
    let length = padded.len() - PAD;
    if let Err(error) = std::str::from_utf8(&padded[..length]) {
        return Err(broken(
            "encoding.invalid_utf8",
            format!("not UTF-8 at byte {}", error.valid_up_to()),
            "encode the record as UTF-8",
        ));
    }
    let mut limits = Limits { depth: plan.max_depth, members: 0 };
    let (start, _) = whole_value(padded, length, &mut limits).map_err(|fault| match fault {
        Fault::TooDeep => broken("json.too_deep", format!("nested deeper than {}", plan.max_depth), "flatten the event"),
        Fault::Invalid { at } => {
            broken("json.invalid", format!("not JSON at byte {at}"), "send one JSON object per record, RFC 8259")
        }
    })?;
    if limits.members > plan.max_members {
        return Err(broken("json.too_many_members", format!("more than {} members", plan.max_members), "split the event"));
    }
    if padded[start] != b'{' {
        return Err(broken(
            "json.not_object",
            format!("expected an object, found {}", found(padded[start])),
            "send one JSON object per record",
        ));
    }
    Ok(start)
}

/// What kind of value begins with this byte, in the words of messages.
pub(super) fn found(first: u8) -> &'static str {
    match first {
        b'"' => "a string",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        b'{' => "an object",
        b'[' => "an array",
        _ => "a number",
    }
}

impl Road<'_> {
    /// End of a value of a text that is known to be valid.
    fn end_of(&self, at: usize) -> usize {
        let mut limits = Limits { depth: usize::MAX, members: 0 };
        value_end(self.bytes, at, &mut limits).unwrap_or(self.bytes.len())
    }

    /// The members of the object at `open`, in document order, names decoded.
    fn members(&self, open: usize) -> Vec<Member> {
        let mut members = Vec::new();
        let mut at = skip_space(self.bytes, open + 1);
        while self.bytes[at] == b'"' {
            let mut name = Vec::new();
            let Some(end) = unescape(self.bytes, at + 1, &mut name) else { break };
            let start = skip_space(self.bytes, skip_space(self.bytes, end) + 1);
            let end = self.end_of(start);
            members.push(Member { name, start, end });
            at = skip_space(self.bytes, end);
            if self.bytes[at] == b',' {
                at = skip_space(self.bytes, at + 1);
            }
        }
        members
    }

    fn object(&mut self, number: usize, open: usize) {
        let plan = self.plan;
        let node = &plan.nodes[number];
        let members = self.members(open);
        let mut values: Vec<Option<&Member>> = vec![None; node.fields.len()];
        let mut unknown: HashSet<&[u8]> = HashSet::new();
        for member in &members {
            let repeated = match node.find(&member.name) {
                Some(field) if values[field].is_some() => true,
                Some(field) => {
                    values[field] = Some(member);
                    false
                }
                None if !unknown.insert(&member.name) => true,
                None => {
                    self.unknown(member);
                    false
                }
            };
            if repeated {
                let message = format!("{} stands more than once", String::from_utf8_lossy(&member.name));
                self.later(member, "json.duplicate_key", message, "send each name once".into());
            }
        }
        for (field, member) in node.fields.iter().zip(values) {
            let before = self.enter(&field.name);
            match member {
                Some(member) if self.bytes[member.start] != b'n' => self.value(field.kind, member.start, member.end),
                other => self.absent(field.kind, &field.name, field.required, other.map(|member| (member.start, member.end))),
            }
            self.path.truncate(before);
        }
    }

    /// Goes one step down the path; what to truncate it to afterwards.
    fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        push_pointer(&mut self.path, name);
        before
    }

    fn later(&mut self, member: &Member, code: &'static str, message: String, hint: String) {
        let mut path = self.path.clone();
        push_pointer(&mut path, &String::from_utf8_lossy(&member.name));
        let value = Some(shortened(&self.bytes[member.start..member.end]));
        self.late.push((member.start, Violation { code, path, message, hint, value }));
    }

    fn unknown(&mut self, member: &Member) {
        let name = String::from_utf8_lossy(&member.name);
        match self.plan.unknown {
            Unknown::Drop => {}
            Unknown::Refuse => {
                let message = format!("{name} is not in the contract");
                self.later(member, "unknown.field", message, "remove it, or add it to the contract".into());
            }
            Unknown::Keep => {
                let mut pointer = self.path.clone();
                push_pointer(&mut pointer, &name);
                self.kept.push((member.start, pointer, member.start, member.end));
            }
        }
    }

    /// Writes the kept members as the beginning of a JSON object; accepting the row closes it.
    fn write_kept(&mut self) {
        self.kept.sort_by_key(|(at, ..)| *at);
        let out = &mut self.columns.extra.bytes;
        for (place, (_, pointer, start, end)) in self.kept.iter().enumerate() {
            out.extend_from_slice(if place == 0 { b"{\"" } else { b",\"" });
            escape_into(pointer, out);
            out.extend_from_slice(b"\":");
            out.extend_from_slice(&self.bytes[*start..*end]);
        }
    }

    /// A field that is missing, or null at a place.
    fn absent(&mut self, kind: Kind, name: &str, required: bool, null: Option<(usize, usize)>) {
        if required {
            let hint = format!("add {}", self.path);
            self.report("required.missing", format!("{name} is required"), hint, null);
        } else {
            self.columns.push_null(self.plan, kind);
        }
    }

    fn value(&mut self, kind: Kind, start: usize, end: usize) {
        match kind {
            Kind::Object(number) if self.bytes[start] == b'{' => {
                self.columns.objects[number].append_non_null();
                self.object(number, start);
            }
            Kind::Array(number) if self.bytes[start] == b'[' => self.array(number, start, end),
            Kind::Json(leaf) => self.columns.jsons[leaf].push(&self.bytes[start..end]),
            Kind::Object(_) | Kind::Array(_) => {
                let expected = if matches!(kind, Kind::Object(_)) { "an object" } else { "an array" };
                self.mismatch(expected, Found { start, end });
            }
            leaf => self.leaf(leaf, Found { start, end }),
        }
    }

    fn items(&self, open: usize) -> Vec<(usize, usize)> {
        let mut items = Vec::new();
        let mut at = skip_space(self.bytes, open + 1);
        while self.bytes[at] != b']' {
            let end = self.end_of(at);
            items.push((at, end));
            at = skip_space(self.bytes, end);
            if self.bytes[at] == b',' {
                at = skip_space(self.bytes, at + 1);
            }
        }
        items
    }

    fn array(&mut self, number: usize, start: usize, end: usize) {
        let plan = self.plan;
        let rule: &ArrayRule = &plan.arrays[number];
        let items = self.items(start);
        let (count, place) = (items.len(), Some((start, end)));
        if let Some(min) = rule.min_items.filter(|min| count < *min) {
            self.report("items.too_few", format!("{count} items, at least {min}"), format!("send at least {min} items"), place);
        }
        if let Some(max) = rule.max_items.filter(|max| count > *max) {
            self.report("items.too_many", format!("{count} items, at most {max}"), format!("send at most {max} items"), place);
        }
        for (index, (start, end)) in items.into_iter().enumerate() {
            let name = index.to_string();
            let before = self.enter(&name);
            if self.bytes[start] == b'n' {
                self.absent(rule.item.kind, &name, rule.item.required, Some((start, end)));
            } else {
                self.value(rule.item.kind, start, end);
            }
            self.path.truncate(before);
        }
        self.columns.arrays[number].push(count);
    }

    pub(super) fn report(&mut self, code: &'static str, message: String, hint: String, place: Option<(usize, usize)>) {
        let value = place.map(|(start, end)| shortened(&self.bytes[start..end]));
        self.violations.push(Violation { code, path: self.path.clone(), message, hint, value });
    }

    pub(super) fn mismatch(&mut self, expected: &str, at: Found) {
        let message = format!("expected {expected}, found {}", found(self.bytes[at.start]));
        self.report("type.mismatch", message, format!("send {expected}"), at.place());
    }
}
