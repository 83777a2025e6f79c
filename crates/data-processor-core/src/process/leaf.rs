//! Leaves on the slow road: every rule of a value, each broken one reported, in the order of the specification.

use super::fast;
use super::format;
use super::number::{Exact, nearest_double};
use super::slow::Road;
use super::text::{PAD, unescape};
use super::time::{self, DayMemo, TimeFault, Zone, rfc3339_seconds};
use super::violation::shortened;
use crate::contract::{Bounds, EventTime, Kind, TextRule};

/// Where a value stands in the record.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub start: usize,
    pub end: usize,
}

impl Found {
    pub fn place(self) -> Option<(usize, usize)> {
        Some((self.start, self.end))
    }
}

/// The first few of a list, comma separated.
fn few<'a>(allowed: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = if allowed.len() > 5 { ", …" } else { "" };
    allowed.take(5).collect::<Vec<_>>().join(", ") + more
}

/// What a UUID's text should have been.
const UUID: &str = "a UUID";

impl Road<'_> {
    pub(super) fn leaf(&mut self, kind: Kind, at: Found) {
        // Most values of a broken record are good: what the fast road accepts, this one does. Only the event time has bounds that
        // the fast road looks at later.
        if self.plan.fast
            && self.plan.event_time.leaf != Some(kind)
            && fast::leaf(self.plan, self.bytes, kind, at.start, self.columns).is_some()
        {
            return;
        }
        match kind {
            Kind::Text(leaf) => self.text(leaf, at),
            Kind::Uuid(leaf) => self.uuid(leaf, at),
            Kind::Timestamp(leaf) => self.timestamp(leaf, at),
            Kind::Date(leaf) => self.date(leaf, at),
            Kind::Boolean(leaf) => match self.bytes[at.start] {
                first @ (b't' | b'f') => self.columns.booleans[leaf].push(first == b't'),
                _ => self.mismatch("a boolean", at),
            },
            Kind::Integer(leaf) => self.integer(leaf, at),
            Kind::Number(leaf) => self.number(leaf, at),
            Kind::Decimal(leaf) => self.decimal(leaf, at),
            Kind::Json(_) | Kind::Object(_) | Kind::Array(_) => {} // not leaves of one value
        }
    }

    /// The text of a string, padded, and its length; None, and reported, for another type.
    fn string(&mut self, expected: &str, at: Found) -> Option<(Vec<u8>, usize)> {
        let mut text = Vec::new();
        if self.bytes[at.start] != b'"' || unescape(self.bytes, at.start + 1, &mut text).is_none() {
            self.mismatch(expected, at);
            return None;
        }
        let length = text.len();
        text.resize(length + PAD, 0);
        Some((text, length))
    }

    fn text(&mut self, leaf: usize, at: Found) {
        let Some((padded, length)) = self.string("a string", at) else { return };
        let rule = &self.plan.texts[leaf];
        let before = self.violations.len();
        self.text_rules(rule, &String::from_utf8_lossy(&padded[..length]), at);
        if self.violations.len() == before {
            self.columns.texts[leaf].push(&padded, 0, length, rule);
        }
    }

    fn text_rules(&mut self, rule: &TextRule, text: &str, at: Found) {
        if let Some(format) = rule.format.filter(|format| !format.admits(text)) {
            let word = format.as_str();
            self.report(format.code(), format!("not a valid {word}"), format!("send a {word}"), at.place());
        }
        if let Some(allowed) = rule.allowed.as_ref().filter(|_| !rule.allowed_set.contains(text)) {
            self.not_allowed(allowed.iter().map(String::as_str), at);
        }
        let length = text.chars().count();
        if let Some(min) = rule.min_length.filter(|min| length < *min) {
            let message = format!("{length} characters, at least {min}");
            self.report("length.too_short", message, format!("send at least {min} characters"), at.place());
        }
        if let Some(max) = rule.max_length.filter(|max| length > *max) {
            let message = format!("{length} characters, at most {max}");
            self.report("length.too_long", message, format!("send at most {max} characters"), at.place());
        }
        if let Some(pattern) = rule.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            let message = format!("does not match {pattern}");
            self.report("pattern.no_match", message, format!("send text that matches {pattern}"), at.place());
        }
    }

    fn not_allowed<'a>(&mut self, allowed: impl ExactSizeIterator<Item = &'a str>, at: Found) {
        let message = format!("not one of {} allowed values", allowed.len());
        self.report("enum.unknown_value", message, format!("use one of: {}", few(allowed)), at.place());
    }

    fn uuid(&mut self, leaf: usize, at: Found) {
        let Some((padded, length)) = self.string(UUID, at) else { return };
        match format::uuid(&padded, 0).filter(|_| length == 36) {
            Some(value) => self.columns.uuids[leaf].push(value),
            None => self.report("format.invalid_uuid", "not a valid uuid".into(), "send a uuid".into(), at.place()),
        }
    }

    /// The exact value of a number; None, and reported, for another type.
    fn exact(&mut self, expected: &str, at: Found) -> Option<Exact> {
        let number = Exact::parse(&self.bytes[at.start..at.end]);
        if number.is_none() {
            self.mismatch(expected, at);
        }
        number
    }

    fn does_not_fit(&mut self, kind: &str, at: Found) {
        let message = format!("{} does not fit {kind}", shortened(&self.bytes[at.start..at.end]));
        self.report("type.out_of_range", message, "send a smaller number".into(), at.place());
    }

    fn integer(&mut self, leaf: usize, at: Found) {
        let Some(number) = self.exact("an integer", at) else { return };
        if number.fraction_digits() > 0 {
            return self.mismatch("an integer", at);
        }
        let before = self.violations.len();
        let value = number.integer();
        if value.is_none() {
            self.does_not_fit("integer", at);
        }
        self.number_rules(&self.plan.integers[leaf].bounds, &number, at);
        if let Some(value) = value.filter(|_| self.violations.len() == before) {
            self.columns.integers[leaf].push(value);
        }
    }

    fn number(&mut self, leaf: usize, at: Found) {
        let Some(number) = self.exact("a number", at) else { return };
        let before = self.violations.len();
        let value = nearest_double(&self.bytes[at.start..at.end]);
        if value.is_none() {
            self.does_not_fit("number", at);
        }
        self.number_rules(&self.plan.numbers[leaf].bounds, &number, at);
        if let Some(value) = value.filter(|_| self.violations.len() == before) {
            self.columns.numbers[leaf].push(value);
        }
    }

    fn decimal(&mut self, leaf: usize, at: Found) {
        let Some(number) = self.exact("a number", at) else { return };
        let rule = &self.plan.decimals[leaf];
        let (precision, scale) = (rule.precision, rule.scale);
        let before = self.violations.len();
        if number.whole_digits() > i64::from(precision - scale) {
            self.does_not_fit(&format!("decimal({precision},{scale})"), at);
        }
        if number.fraction_digits() > i64::from(scale) {
            let message = format!("more than {scale} digits after the point");
            self.report("type.too_many_digits", message, format!("round to {scale} digits"), at.place());
        }
        self.number_rules(&rule.bounds, &number, at);
        if let Some((value, _)) = number.scaled(i64::from(scale)).filter(|_| self.violations.len() == before) {
            self.columns.decimals[leaf].push(value);
        }
    }

    fn number_rules(&mut self, bounds: &Bounds, number: &Exact, at: Found) {
        if let Some(allowed) = bounds.allowed.as_ref().filter(|_| !bounds.lists(number)) {
            self.not_allowed(allowed.iter().map(|(text, _)| text.as_str()), at);
        }
        if let Some(bound) = bounds.minimum.as_ref().filter(|_| bounds.is_below(number)) {
            let text = &bound.text;
            let (message, hint) = match bound.exclusive {
                true => (format!("not above {text}"), format!("send a value above {text}")),
                false => (format!("below the minimum {text}"), format!("send a value of at least {text}")),
            };
            self.report("range.below_minimum", message, hint, at.place());
        }
        if let Some(bound) = bounds.maximum.as_ref().filter(|_| bounds.is_above(number)) {
            let text = &bound.text;
            let (message, hint) = match bound.exclusive {
                true => (format!("not below {text}"), format!("send a value below {text}")),
                false => (format!("above the maximum {text}"), format!("send a value of at most {text}")),
            };
            self.report("range.above_maximum", message, hint, at.place());
        }
    }

    fn timestamp(&mut self, leaf: usize, at: Found) {
        let rule = self.plan.timestamps[leaf];
        let expected = if rule.epoch_decimals.is_some() { "an RFC 3339 time or an epoch number" } else { "an RFC 3339 time" };
        let number = rule.epoch_decimals.and_then(|decimals| Some((Exact::parse(&self.bytes[at.start..at.end])?, decimals)));
        let read = match number {
            Some((number, decimals)) => time::epoch(&number, i64::from(decimals)).ok_or(TimeFault::Invalid),
            None => {
                let Some((padded, length)) = self.string(expected, at) else { return };
                time::timestamp(&padded, 0, length, rule.zone, &mut DayMemo::default())
            }
        };
        match read {
            Ok(value) => {
                if self.plan.event_time.leaf == Some(Kind::Timestamp(leaf)) {
                    self.event_time(value, at);
                }
                self.columns.timestamps[leaf].push(value);
            }
            Err(TimeFault::NoZone) => {
                let hint = "add Z or an offset, or name the zone in the contract";
                self.report("time.no_zone", "the time has no zone".into(), hint.into(), at.place());
            }
            Err(TimeFault::Invalid) => {
                self.report(
                    "time.invalid",
                    "not an RFC 3339 time".into(),
                    "write it like 2026-11-20T12:34:56Z".into(),
                    at.place(),
                );
            }
        }
    }

    fn date(&mut self, leaf: usize, at: Found) {
        let Some((padded, length)) = self.string("a date", at) else { return };
        let Some(day) = time::date(&padded, 0, length) else {
            return self.report("time.invalid", "not a date".into(), "write it like 2026-11-20".into(), at.place());
        };
        if self.plan.event_time.leaf == Some(Kind::Date(leaf)) {
            self.event_time(first_instant(day, self.plan.dates[leaf]), at);
        }
        self.columns.dates[leaf].push(day);
    }

    fn event_time(&mut self, event_us: i64, at: Found) {
        let bounds = &self.plan.event_time;
        if !in_time(bounds, event_us, self.received_us) {
            let latest = self.received_us.saturating_add(bounds.ahead_us);
            let message = format!("outside {} to {}", rfc3339_seconds(bounds.earliest_us), rfc3339_seconds(latest));
            self.report("time.out_of_range", message, "check the clock and the unit".into(), at.place());
        }
    }
}

/// Whether an event time is one that a record received at `received_us` may have.
#[inline(always)]
pub(super) fn in_time(bounds: &EventTime, event_us: i64, received_us: i64) -> bool {
    bounds.earliest_us <= event_us && event_us <= received_us.saturating_add(bounds.ahead_us)
}

/// The event time of a date.
pub(super) fn first_instant(day: i32, zone: Option<Zone>) -> i64 {
    let midnight = i64::from(day) * time::DAY_US;
    zone.map_or(Some(midnight), |zone| zone.first_instant(day)).unwrap_or(midnight)
}
