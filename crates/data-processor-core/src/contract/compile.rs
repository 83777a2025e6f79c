//! From the plan's JSON spelling to a compiled plan.

use std::collections::HashSet;

use regex::Regex;

use super::field::{FAST_FIELDS, Field, Kind, Node};
use super::rules::{ArrayRule, Bound, Bounds, DecimalRule, IntegerRule, NumberRule, TextFormat, TextRule, TimestampRule};
use super::shape::Shape;
use super::spelling::{FieldText, KindText, PlanText, UnknownText};
use super::{EventTime, Plan, Unknown};
use crate::error::{Error, ErrorKind, Result};
use crate::process::number::Exact;
use crate::process::time::Zone;

/// The generic event contract shipped with the wheel.
pub const GENERIC: &str = include_str!("generic.json");

/// Deepest nesting of a contract's own fields.
const MAX_LEVELS: usize = 100;

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plan, "plan.invalid", message).hint("compile the contract again with this version of Frazil")
}

fn wrong(field: &FieldText, message: impl Into<String>) -> Error {
    invalid(format!("{}: {}", field.path, message.into())).text("path", field.path.clone())
}

/// Compiles the JSON spelling of a plan.
pub fn compile(text: &str) -> Result<Plan> {
    compile_spelled(text, &read(text)?)
}

/// Compiles the types of a plan without the rules of their values.
pub fn compile_types(text: &str) -> Result<Plan> {
    let mut spelled = read(text)?;
    spelled.fields.iter_mut().for_each(FieldText::relax);
    compile_spelled(text, &spelled)
}

fn read(text: &str) -> Result<PlanText> {
    serde_json::from_str(text).map_err(|error| invalid(format!("not a plan: {error}")))
}

fn compile_spelled(text: &str, spelled: &PlanText) -> Result<Plan> {
    let mut plan = empty(text, spelled);
    plan.nodes.push(Node::new(Vec::new(), None));
    let fields = members(&mut plan, &spelled.fields, Above { required: true, array: false, level: 1 })?;
    plan.nodes[0] = Node::new(fields, Some(String::new()));
    if let Some(pointer) = &spelled.event_time {
        plan.event_time.leaf = Some(event_time(&plan, &spelled.fields, pointer)?);
    }
    let deepest = spelled.fields.iter().map(levels).max().unwrap_or(0) + 1;
    plan.fast = plan.nodes.iter().all(|node| node.fields.len() <= FAST_FIELDS) && deepest <= plan.max_depth;
    Ok(plan)
}

fn empty(text: &str, spelled: &PlanText) -> Plan {
    Plan {
        name: spelled.contract.clone(),
        version: spelled.version.clone(),
        hash: spelled.hash.clone(),
        key: spelled.key.clone(),
        unknown: match spelled.unknown {
            UnknownText::Keep => Unknown::Keep,
            UnknownText::Drop => Unknown::Drop,
            UnknownText::Refuse => Unknown::Refuse,
        },
        event_time: EventTime { leaf: None, earliest_us: spelled.earliest_us, ahead_us: spelled.ahead_us },
        max_depth: spelled.max_depth,
        max_members: spelled.max_members,
        max_bytes: spelled.max_bytes,
        nodes: Vec::new(),
        arrays: Vec::new(),
        texts: Vec::new(),
        integers: Vec::new(),
        numbers: Vec::new(),
        decimals: Vec::new(),
        timestamps: Vec::new(),
        dates: Vec::new(),
        uuids: 0,
        booleans: 0,
        jsons: 0,
        fast: false,
        spare: Default::default(),
        text: text.to_string(),
        typed: Default::default(),
    }
}

/// Levels of objects and arrays below a field, itself counted.
fn levels(field: &FieldText) -> usize {
    let below = field.fields.iter().chain(field.items.as_deref()).map(levels).max().unwrap_or(0);
    below + usize::from(matches!(field.kind, KindText::Object | KindText::Array))
}

/// What stands above a field.
#[derive(Clone, Copy)]
struct Above {
    /// Whether every object above is required.
    required: bool,
    /// Whether some array is above.
    array: bool,
    level: usize,
}

fn members(plan: &mut Plan, fields: &[FieldText], above: Above) -> Result<Vec<Field>> {
    let mut names = HashSet::new();
    let mut compiled = Vec::with_capacity(fields.len());
    for field in fields {
        if !names.insert(field.name.as_str()) {
            return Err(wrong(field, "the name stands twice in its object"));
        }
        compiled.push(member(plan, field, above)?);
    }
    Ok(compiled)
}

fn member(plan: &mut Plan, field: &FieldText, above: Above) -> Result<Field> {
    let kind = kind(plan, field, above)?;
    let nullable = !(field.required && above.required);
    Ok(Field::new(field.name.clone(), kind, field.required, nullable))
}

/// Adds a rule to its list; its number there.
fn add<T>(list: &mut Vec<T>, rule: T) -> usize {
    list.push(rule);
    list.len() - 1
}

fn count(counter: &mut usize) -> usize {
    *counter += 1;
    *counter - 1
}

fn kind(plan: &mut Plan, field: &FieldText, above: Above) -> Result<Kind> {
    Ok(match field.kind {
        KindText::Uuid => Kind::Uuid(count(&mut plan.uuids)),
        KindText::Boolean => Kind::Boolean(count(&mut plan.booleans)),
        KindText::Json => Kind::Json(count(&mut plan.jsons)),
        KindText::String => Kind::Text(add(&mut plan.texts, text_rule(field)?)),
        KindText::Integer => Kind::Integer(add(&mut plan.integers, IntegerRule::new(bounds(field)?))),
        KindText::Number => Kind::Number(add(&mut plan.numbers, NumberRule::new(bounds(field)?))),
        KindText::Decimal => Kind::Decimal(add(&mut plan.decimals, decimal_rule(field)?)),
        KindText::Timestamp => Kind::Timestamp(add(&mut plan.timestamps, timestamp_rule(field)?)),
        KindText::Date => Kind::Date(add(&mut plan.dates, zone(field)?)),
        KindText::Object => Kind::Object(object(plan, field, above)?),
        KindText::Array => Kind::Array(array(plan, field, above)?),
    })
}

fn object(plan: &mut Plan, field: &FieldText, above: Above) -> Result<usize> {
    if above.level > MAX_LEVELS {
        return Err(wrong(field, "objects are nested too deep"));
    }
    let at = add(&mut plan.nodes, Node::new(Vec::new(), None));
    let below = Above { required: above.required && field.required, level: above.level + 1, ..above };
    let fields = members(plan, &field.fields, below)?;
    plan.nodes[at] = Node::new(fields, pointer(field, above));
    Ok(at)
}

/// The pointer as it stands in a JSON text; None below an array or where it would need escapes.
fn pointer(field: &FieldText, above: Above) -> Option<String> {
    let plain = field.path.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    (plain && !above.array).then(|| field.path.clone())
}

fn array(plan: &mut Plan, field: &FieldText, above: Above) -> Result<usize> {
    let items = field.items.as_deref().ok_or_else(|| wrong(field, "an array needs `items`"))?;
    // An item is nullable for itself: the list above it may be missing without it.
    let item = member(plan, items, Above { required: true, array: true, level: above.level + 1 })?;
    Ok(add(&mut plan.arrays, ArrayRule { min_items: field.min_items, max_items: field.max_items, item }))
}

fn text_rule(field: &FieldText) -> Result<TextRule> {
    let pattern = field.pattern.as_deref().map(Regex::new).transpose();
    let format = field
        .format
        .as_deref()
        .map(|word| TextFormat::parse(word).ok_or_else(|| wrong(field, format!("unknown format `{word}`"))));
    Ok(TextRule {
        min_length: field.min_length,
        max_length: field.max_length,
        pattern: pattern.map_err(|error| wrong(field, format!("pattern: {error}")))?,
        shape: field.pattern.as_deref().and_then(Shape::of),
        allowed: field.allowed.clone(),
        allowed_set: field.allowed.iter().flatten().cloned().collect(),
        format: format.transpose()?,
    })
}

fn exact(field: &FieldText, text: &str) -> Result<Exact> {
    Exact::parse(text.as_bytes()).ok_or_else(|| wrong(field, format!("`{text}` is not a number")))
}

fn bounds(field: &FieldText) -> Result<Bounds> {
    let bound = |text: &Option<String>, exclusive| {
        text.as_ref().map(|text| Ok(Bound { text: text.clone(), value: exact(field, text)?, exclusive })).transpose()
    };
    let allowed =
        field.allowed.as_ref().map(|allowed| allowed.iter().map(|text| Ok((text.clone(), exact(field, text)?))).collect());
    Ok(Bounds {
        minimum: bound(&field.minimum, field.exclusive_minimum)?,
        maximum: bound(&field.maximum, field.exclusive_maximum)?,
        allowed: allowed.transpose()?,
    })
}

fn decimal_rule(field: &FieldText) -> Result<DecimalRule> {
    let precision = field.precision.unwrap_or(38);
    let scale = field.scale.unwrap_or(0);
    if !(1..=38).contains(&precision) || scale > precision {
        return Err(wrong(
            field,
            format!("decimal({precision},{scale}) is not 1 to 38 digits with at most as many after the point"),
        ));
    }
    Ok(DecimalRule::new(precision, scale, bounds(field)?))
}

fn zone(field: &FieldText) -> Result<Option<Zone>> {
    let read = |name: &String| Zone::parse(name).ok_or_else(|| wrong(field, format!("unknown zone `{name}`")));
    field.zone.as_ref().map(read).transpose()
}

fn timestamp_rule(field: &FieldText) -> Result<TimestampRule> {
    let epoch_decimals = match field.unit.as_deref() {
        None => None,
        Some("s") => Some(6),
        Some("ms") => Some(3),
        Some("us") => Some(0),
        Some(unit) => return Err(wrong(field, format!("unknown unit `{unit}`"))),
    };
    Ok(TimestampRule { epoch_decimals, zone: zone(field)? })
}

/// The leaf of the event time's pointer: a timestamp or date that is not inside an array.
fn event_time(plan: &Plan, fields: &[FieldText], pointer: &str) -> Result<Kind> {
    let (mut spelled, mut node) = (fields, plan.record());
    loop {
        let below = |field: &FieldText| pointer == field.path || pointer.starts_with(&format!("{}/", field.path));
        let at = spelled.iter().position(below).ok_or_else(|| invalid(format!("event time {pointer}: no such field")))?;
        match node.fields[at].kind {
            kind @ (Kind::Timestamp(_) | Kind::Date(_)) if spelled[at].path == pointer => return Ok(kind),
            Kind::Object(next) => (spelled, node) = (&spelled[at].fields, &plan.nodes[next]),
            _ => return Err(invalid(format!("event time {pointer} is neither a timestamp nor a date of the record"))),
        }
    }
}
