//! Dates and instants: RFC 3339 text and epoch numbers to microseconds since 1970 UTC.

use chrono::{DateTime, LocalResult, NaiveDate, TimeDelta, TimeZone};
use chrono_tz::Tz;

use super::number::Exact;
use super::text::u64_at;
use super::wide::{first_digits, lane, other_than_digits};

/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;
/// Microseconds of an hour.
pub const HOUR_US: i64 = 3_600_000_000;
/// 0001-01-01T00:00:00Z.
const FIRST_US: i64 = days_from_civil(1, 1, 1) * DAY_US;
/// The last microsecond of year 9999.
const LAST_US: i64 = days_from_civil(10_000, 1, 1) * DAY_US - 1;

/// What a text or number was, when it is no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFault {
    /// Not RFC 3339, out of years 0001..9999, or no such local time.
    Invalid,
    /// A local time, and nothing says where.
    NoZone,
}

/// Where a text without an offset belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A zone of the IANA database.
    Named(Tz),
}

impl Zone {
    /// Reads an IANA name, `UTC`, `Z` or `±hh:mm`.
    pub fn parse(name: &str) -> Option<Zone> {
        if matches!(name, "Z" | "UTC" | "utc") {
            return Some(Zone::Fixed(0));
        }
        let bytes = name.as_bytes();
        if matches!(bytes.first(), Some(b'+' | b'-')) {
            return offset_minutes(bytes).map(|minutes| Zone::Fixed(minutes as i32 * 60));
        }
        name.parse().ok().map(Zone::Named)
    }

    /// The instant of a local time (µs as if it were UTC); the earlier of two, None in a gap.
    pub fn instant(self, local_us: i64) -> Option<i64> {
        let zone = match self {
            Zone::Fixed(east) => return Some(local_us - i64::from(east) * 1_000_000),
            Zone::Named(zone) => zone,
        };
        let local = DateTime::from_timestamp_micros(local_us)?.naive_utc();
        match zone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.timestamp_micros()),
            LocalResult::None => None,
        }
    }

    /// The first instant of a day: midnight, or the end of the gap that skips it.
    pub fn first_instant(self, day: i32) -> Option<i64> {
        let midnight = i64::from(day) * DAY_US;
        if let Some(at) = self.instant(midnight) {
            return Some(at);
        }
        // Gaps begin and end on whole seconds and are shorter than a day: halve until the first second that exists.
        let (mut gap, mut after) = (0, 86_400);
        while after - gap > 1 {
            let middle = (gap + after) / 2;
            match self.instant(midnight + middle * 1_000_000) {
                Some(_) => after = middle,
                None => gap = middle,
            }
        }
        self.instant(midnight + after * 1_000_000)
    }
}

/// Days since 1970 of a date of the proleptic Gregorian calendar.
pub const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[inline(always)]
fn two(bytes: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (bytes[at].wrapping_sub(b'0'), bytes[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(i64::from(tens) * 10 + i64::from(ones))
}

/// Year 0001 to 9999, month and its last day of the `YYYY-MM-` at `at`.
fn month_at(bytes: &[u8], at: usize) -> Option<(i64, i64, i64)> {
    let year = two(bytes, at)? * 100 + two(bytes, at + 2)?;
    let month = two(bytes, at + 5)?;
    if bytes[at + 4] != b'-' || bytes[at + 7] != b'-' || year == 0 || !(1..=12).contains(&month) {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
    Some((year, month, last))
}

/// Days since 1970 of a text that is exactly `YYYY-MM-DD`. The buffer is padded.
pub fn date(bytes: &[u8], start: usize, end: usize) -> Option<i32> {
    if end - start != 10 {
        return None;
    }
    DayMemo::default().day(bytes, start).map(|day| day as i32)
}

/// Minutes east of UTC of `±hh:mm`.
fn offset_minutes(bytes: &[u8]) -> Option<i64> {
    if bytes.len() != 6 || bytes[3] != b':' {
        return None;
    }
    let (hours, minutes) = (two(bytes, 1)?, two(bytes, 4)?);
    let east = match bytes[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(east * (hours * 60 + minutes))
}

/// The last month read: neighbours mostly share it.
#[derive(Clone, Copy, Debug)]
pub struct DayMemo {
    /// `YYYY-MM-`.
    text: u64,
    /// Days from 1970 to the day before its first.
    before: i64,
    /// Its last day.
    last: i64,
}

impl Default for DayMemo {
    /// Matches no month: none is spelled so.
    fn default() -> Self {
        DayMemo { text: u64::MAX, before: 0, last: 0 }
    }
}

impl DayMemo {
    /// Days since 1970 of the `YYYY-MM-DD` at `at`.
    #[inline(always)]
    fn day(&mut self, bytes: &[u8], at: usize) -> Option<i64> {
        let text = u64_at(bytes, at);
        if text != self.text {
            self.turn_to(bytes, at)?;
        }
        let day = two(bytes, at + 8)?;
        (day != 0 && day <= self.last).then_some(self.before + day)
    }

    #[inline(never)]
    fn turn_to(&mut self, bytes: &[u8], at: usize) -> Option<()> {
        let (year, month, last) = month_at(bytes, at)?;
        *self = DayMemo { text: u64_at(bytes, at), before: days_from_civil(year, month, 1) - 1, last };
        Some(())
    }
}

/// The instant of the text in `start..end` (padded buffer), µs since 1970 UTC.
///
/// Source: RFC 3339 §5.6; more than six digits of a second are cut.
#[inline]
pub fn timestamp(bytes: &[u8], start: usize, end: usize, zone: Option<Zone>, memo: &mut DayMemo) -> Result<i64, TimeFault> {
    if end < start + 19 {
        return Err(TimeFault::Invalid);
    }
    let day = memo.day(bytes, start).ok_or(TimeFault::Invalid)?;
    if let Some((us, rest)) = utc_clock(bytes, start + 10)
        && rest == end
    {
        return Ok(day * DAY_US + us);
    }
    let clock = clock(bytes, start + 10, end).ok_or(TimeFault::Invalid)?;
    let local = day * DAY_US + clock.second_us;
    let utc = match clock.offset {
        Some(minutes) => local - minutes * 60_000_000,
        None => zone.ok_or(TimeFault::NoZone)?.instant(local).ok_or(TimeFault::Invalid)?,
    };
    let leap_second = utc.rem_euclid(DAY_US) == DAY_US - 1_000_000;
    if clock.leap && !leap_second {
        return Err(TimeFault::Invalid);
    }
    let utc = utc + if clock.leap { 1_000_000 } else { 0 } + clock.fraction_us;
    if (FIRST_US..=LAST_US).contains(&utc) { Ok(utc) } else { Err(TimeFault::Invalid) }
}

/// The instant of the text at `start` and the place after its `Z`, if it is in UTC and plain; None: [`timestamp`] knows.
#[inline(always)]
pub fn utc_timestamp(bytes: &[u8], start: usize, memo: &mut DayMemo) -> Option<(i64, usize)> {
    let day = memo.day(bytes, start)?;
    let (us, end) = utc_clock(bytes, start + 10)?;
    Some((day * DAY_US + us, end))
}

/// µs of the day of the text at `at` if it is `Thh:mm:ssZ`, in most cases with a fraction, and the place after it; None: [`clock`]
/// knows.
#[inline(always)]
fn utc_clock(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let text: &[u8; 36] = bytes[at..at + 36].try_into().unwrap();
    let clock = u64_at(text, 1); // hh:mm:ss
    const COLONS: u64 = 0x0000_ff00_00ff_0000;
    let digits = clock ^ 0x3030_3a30_303a_3030;
    // A digit's byte is 0 to 9 now, a colon's 0; whatever is more reaches the top bit, or had it.
    if digits & COLONS != 0 || (digits.wrapping_add(0x7676_0076_7600_7676) | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = digits * 10 + (digits >> 8); // each pair's number in its first byte
    let [hour, minute, second] = [0, 24, 48].map(|shift| (pairs >> shift & 0xff) as i64);
    if !matches!(text[0], b'T' | b't' | b' ') || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut us = ((hour * 60 + minute) * 60 + second) * 1_000_000;
    let mut rest = 9;
    if text[9] == b'.' {
        let count = other_than_digits(lane(text, 10)).trailing_zeros() as usize;
        if !(1..=9).contains(&count) {
            return None;
        }
        let kept = count.min(6);
        us += (first_digits(u64_at(text, 10), kept) * SCALE[kept]) as i64;
        rest = 10 + count;
    }
    (text[rest] | 0x20 == b'z').then_some((us, at + rest + 1))
}

/// µs of the last of so many digits of a second.
const SCALE: [u64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

/// The clock part of a time: whole seconds of the day, the fraction, the offset in minutes. Second 60 is kept as 59 and a mark.
struct Clock {
    second_us: i64,
    fraction_us: i64,
    leap: bool,
    offset: Option<i64>,
}

#[inline(always)]
fn clock(bytes: &[u8], at: usize, end: usize) -> Option<Clock> {
    let text: &[u8; 48] = bytes[at..at + 48].try_into().ok()?;
    let (hour, minute, second) = (two(text, 1)?, two(text, 4)?, two(text, 7)?);
    let marks = matches!(text[0], b'T' | b't' | b' ') && text[3] == b':' && text[6] == b':';
    if !marks || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, rest) = if at + 9 < end && text[9] == b'.' { fraction(bytes, at + 10, end)? } else { (0, at + 9) };
    let leap = second == 60;
    let second_us = ((hour * 60 + minute) * 60 + second - i64::from(leap)) * 1_000_000;
    let offset = match end - rest {
        0 => None,
        1 if bytes[rest] | 0x20 == b'z' => Some(0),
        _ => Some(offset_minutes(&bytes[rest..end])?),
    };
    Some(Clock { second_us, fraction_us, leap, offset })
}

/// Microseconds of the digits at `at` and the place after them, at least one digit.
#[inline(always)]
fn fraction(bytes: &[u8], mut at: usize, end: usize) -> Option<(i64, usize)> {
    let first = at;
    let (mut value, mut scale) = (0, 100_000);
    while at < end && bytes[at].is_ascii_digit() {
        value += i64::from(bytes[at] - b'0') * scale;
        scale /= 10;
        at += 1;
    }
    (at > first).then_some((value, at))
}

/// The instant of an epoch number; `decimals` turns its unit into µs (s 6, ms 3, us 0). None beyond years 0001..9999.
pub fn epoch(number: &Exact, decimals: i64) -> Option<i64> {
    epoch_us(number.scaled(decimals)?.0)
}

/// µs since 1970 as an instant of years 0001..9999.
#[inline(always)]
pub fn epoch_us(us: i128) -> Option<i64> {
    let us = i64::try_from(us).ok()?;
    (FIRST_US..=LAST_US).contains(&us).then_some(us)
}

/// `at` as RFC 3339 in UTC, cut to seconds; instants beyond the calendar's years show the nearest one it has.
pub fn rfc3339_seconds(at_us: i64) -> String {
    let second = at_us.clamp(FIRST_US, LAST_US).div_euclid(1_000_000);
    let (day, second) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    let date = NaiveDate::default() + TimeDelta::days(day);
    format!("{date}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::super::text::PAD;
    use super::*;

    fn at(text: &str, zone: Option<&str>) -> Result<String, TimeFault> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(text.len() + PAD, 0);
        let zone = zone.map(|name| Zone::parse(name).unwrap());
        timestamp(&bytes, 0, text.len(), zone, &mut DayMemo::default()).map(|us| {
            let fraction = us.rem_euclid(1_000_000);
            rfc3339_seconds(us) + &if fraction == 0 { String::new() } else { format!(" +{fraction}") }
        })
    }

    #[test]
    fn rfc3339_is_read_to_the_letter() {
        let cases = [
            ("2026-11-20T12:34:56Z", "2026-11-20T12:34:56Z"),
            ("2026-11-20t12:34:56.1234567z", "2026-11-20T12:34:56Z +123456"),
            ("2026-11-20 12:34:56+05:30", "2026-11-20T07:04:56Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59Z +999999"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
            ("2017-01-01T01:59:60.5+02:00", "2017-01-01T00:00:00Z +500000"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("2024-02-29T00:00:00-00:00", "2024-02-29T00:00:00Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(at(text, None).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "2026-11-20",
            "2026-11-20T12:34Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T12:34:60Z",
            "2026-11-20T12:34:56.Z",
            "2026-11-20T12:34:56+5:30",
            "2026-11-20T12:34:56+24:00",
            "2026-11-20T12:34:56Zx",
            "2026-11-20_12:34:56Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2026-11-20T12:34:56,5Z",
            "",
        ] {
            assert_eq!(at(text, None), Err(TimeFault::Invalid), "{text}");
        }
    }

    #[test]
    fn a_text_without_offset_needs_a_zone() {
        assert_eq!(at("2026-11-20T12:00:00", None), Err(TimeFault::NoZone));
        assert_eq!(at("2026-11-20T12:00:00.5", Some("Europe/Berlin")).as_deref(), Ok("2026-11-20T11:00:00Z +500000"));
        assert_eq!(at("2026-03-29T02:30:00", Some("Europe/Berlin")), Err(TimeFault::Invalid), "a skipped hour");
        assert_eq!(at("2026-10-25T02:30:00", Some("Europe/Berlin")).as_deref(), Ok("2026-10-25T00:30:00Z"), "a repeated hour");
        assert_eq!(at("2026-11-20T12:00:00", Some("+02:00")).as_deref(), Ok("2026-11-20T10:00:00Z"));
        assert_eq!(at("2017-01-01T00:59:60", Some("Europe/Berlin")).as_deref(), Ok("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_begins_after_the_gap() {
        let beirut = Zone::parse("Asia/Beirut").unwrap();
        let day = days_from_civil(2022, 3, 27) as i32;
        assert_eq!(beirut.instant(i64::from(day) * DAY_US), None);
        assert_eq!(beirut.first_instant(day).map(rfc3339_seconds).as_deref(), Some("2022-03-26T22:00:00Z"));
    }

    #[test]
    fn epoch_numbers_are_exact() {
        let read = |text: &str, decimals| epoch(&Exact::parse(text.as_bytes()).unwrap(), decimals);
        assert_eq!(read("1699999999.25", 6), Some(1_699_999_999_250_000));
        assert_eq!(read("-0.0000001", 6), Some(-1));
        assert_eq!(read("1.7e12", 3), Some(1_700_000_000_000_000));
        assert_eq!(read("1e30", 0), None);
    }
}
