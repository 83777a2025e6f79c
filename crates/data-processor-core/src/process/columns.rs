//! Columns of a batch while it is judged.
//!
//! Both roads push each leaf's value or null as they meet it. A record that is refused has pushed only some: [`Columns::retract`]
//! cuts every column back to the rows that were accepted.

use super::intern::{Admitted, Interner, Miss};
use super::nulls::{Nulls, Objects};
use super::time::{DAY_US, DayMemo, HOUR_US};
use super::wide::Lane;
use crate::contract::{Kind, Plan, TextRule, Unknown};

/// A column of values of fixed width.
pub struct Fixed<T> {
    /// One value per row; anything where null.
    pub values: Vec<T>,
    /// Which rows are null.
    pub nulls: Nulls,
}

impl<T: Copy + Default> Fixed<T> {
    fn new(capacity: usize) -> Self {
        Fixed { values: Vec::with_capacity(capacity), nulls: Nulls::default() }
    }

    /// Adds a row.
    #[inline(always)]
    pub fn push(&mut self, value: T) {
        self.values.push(value);
    }

    fn push_null(&mut self) {
        self.nulls.push(self.values.len());
        self.values.push(T::default());
    }

    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    /// The last row's value, when it is not null.
    #[inline(always)]
    pub fn last(&self) -> Option<T> {
        let row = self.values.len().checked_sub(1)?;
        (!self.nulls.is_last(row)).then(|| self.values[row])
    }
}

/// A column of texts laid end to end.
pub struct Plain {
    /// All texts.
    pub bytes: Vec<u8>,
    /// Where each text ends, a zero before them.
    pub ends: Vec<i32>,
    /// Which rows are null.
    pub nulls: Nulls,
    /// Whether the texts outgrew 32 bit offsets.
    pub overflowed: bool,
    /// Bytes of a batch of them, about.
    usual: usize,
}

impl Plain {
    fn new(capacity: usize) -> Self {
        let mut ends = Vec::with_capacity(capacity + 1);
        ends.push(0);
        Plain { bytes: Vec::new(), ends, nulls: Nulls::default(), overflowed: false, usual: 0 }
    }

    /// Makes room for so many rows, of about as many bytes as the last ones had.
    fn make_room(&mut self, rows: usize) {
        self.ends.reserve(rows);
        self.bytes.reserve(self.usual);
    }

    /// Takes the texts out: all bytes, and where each ends.
    pub fn take(&mut self) -> (Vec<u8>, Vec<i32>) {
        self.usual = self.bytes.len() + self.bytes.len() / 16;
        (std::mem::take(&mut self.bytes), std::mem::replace(&mut self.ends, vec![0]))
    }

    /// Adds a row.
    #[inline(always)]
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.close();
    }

    /// Adds a row of the first `length` bytes of a lane: copying sixteen and forgetting some is quicker than copying few.
    #[inline(always)]
    pub fn push_short(&mut self, text: Lane, length: usize) {
        let end = self.bytes.len() + length;
        self.bytes.extend_from_slice(&text);
        self.bytes.truncate(end);
        self.close();
    }

    fn push_null(&mut self) {
        self.nulls.push(self.ends.len() - 1);
        self.close();
    }

    #[inline(always)]
    fn close(&mut self) {
        self.overflowed |= self.bytes.len() > i32::MAX as usize;
        self.ends.push(self.bytes.len() as i32);
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        self.nulls.truncate(rows);
        if !self.overflowed {
            self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
        }
    }
}

/// A column of texts: codes into distinct texts until nearly all prove to be distinct. Where only verdicts are wanted it holds none.
pub struct Text {
    /// One code per row while the column is coded.
    pub codes: Fixed<i32>,
    /// The distinct texts.
    pub interner: Interner,
    /// The column, once it is plain.
    pub plain: Option<Plain>,
    /// What was admitted lately, for columns that hold nothing.
    verdicts: Option<Admitted>,
    /// A bit for each length up to [`SHORT`]: whether such a text needs no look.
    sure: u16,
}

/// Bytes of the longest text that is one lane with its length.
const SHORT: usize = 15;

/// A coded column becomes plain when it holds this many distinct texts and more than so many sixteenths of its rows brought a new
/// one. It stays plain: the next rows are like these.
const MOSTLY_DISTINCT: [(usize, usize); 2] = [(1_800, 15), (8_192, 12)];
/// Rows after which that is looked at.
const LOOK: usize = 2_048;

impl Text {
    fn new(capacity: usize, rule: &TextRule) -> Self {
        let sure = (0..=SHORT).filter(|length| rule.surely_admits(*length)).fold(0, |bits, length| bits | 1 << length);
        Text { codes: Fixed::new(capacity), interner: Interner::default(), plain: None, verdicts: None, sure }
    }

    /// Adds the text at `at` of a padded buffer; false, and nothing added, when it breaks a rule.
    #[inline(always)]
    pub fn push(&mut self, bytes: &[u8], at: usize, length: usize, rule: &TextRule) -> bool {
        if let Some(admitted) = &mut self.verdicts {
            return admitted.admits(bytes, at, length, rule);
        }
        if let Some(plain) = &mut self.plain {
            let text = &bytes[at..at + length];
            let admitted = rule.surely_admits(length) || rule.admits(text);
            if admitted {
                plain.push(text);
            }
            return admitted;
        }
        let code = self.interner.code(bytes, at, length, |text| rule.surely_admits(length) || rule.admits(text));
        if let Some(code) = code {
            self.codes.push(code as i32);
        }
        code.is_some()
    }

    /// As [`Text::push`] for the first `length` (at most 15) bytes of a lane.
    #[inline(always)]
    pub fn push_short<'r>(&mut self, text: Lane, length: usize, rule: impl Fn() -> &'r TextRule) -> bool {
        let is_sure = |sure: u16| sure >> length & 1 != 0;
        if let Some(plain) = &mut self.plain {
            let admitted = is_sure(self.sure) || rule().admits(&text[..length]);
            if admitted {
                plain.push_short(text, length);
            }
            return admitted;
        }
        if let Some(admitted) = &mut self.verdicts {
            return is_sure(self.sure) || admitted.admits_short(text, length, rule());
        }
        match self.interner.short_code(text, length) {
            Ok(code) => self.codes.push(code as i32),
            Err(miss) => return self.push_new(miss, rule()),
        }
        true
    }

    /// Adds a short text that the column has not met; false, and nothing added, when it breaks a rule.
    #[cold]
    #[inline(never)]
    fn push_new(&mut self, miss: Miss, rule: &TextRule) -> bool {
        let code = self.interner.enter(miss, |text| rule.surely_admits(text.len()) || rule.admits(text));
        if let Some(code) = code {
            self.codes.push(code as i32);
        }
        code.is_some()
    }

    fn push_null(&mut self) {
        match &mut self.plain {
            Some(plain) => plain.push_null(),
            None if self.verdicts.is_some() => {}
            None => self.codes.push_null(),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match &mut self.plain {
            Some(plain) => plain.truncate(rows),
            None => self.codes.truncate(rows),
        }
    }

    fn settle(&mut self) {
        let (distinct, rows) = (self.interner.len(), self.codes.values.len());
        let stays = |(many, sixteenths)| distinct < many || distinct * 16 < rows * sixteenths;
        if self.plain.is_some() || MOSTLY_DISTINCT.into_iter().all(stays) {
            return;
        }
        let mut plain = Plain::new(self.codes.values.capacity());
        let mut nulls = self.codes.nulls.rows().iter().peekable();
        for row in 0..rows {
            if nulls.next_if(|null| **null as usize == row).is_some() {
                plain.push_null();
            } else {
                plain.push(self.interner.text(self.codes.values[row] as usize));
            }
        }
        self.codes = Fixed::new(0);
        self.interner.clear();
        self.plain = Some(plain);
    }
}

/// A column of 16 byte values.
pub struct Uuids {
    /// 16 bytes per row.
    pub bytes: Vec<u8>,
    /// Which rows are null.
    pub nulls: Nulls,
}

impl Uuids {
    /// Adds a row.
    #[inline(always)]
    pub fn push(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// The last row's value; zero where it is null.
    #[inline(always)]
    pub fn last(&self) -> Option<u128> {
        self.bytes.last_chunk().map(|bytes| u128::from_be_bytes(*bytes))
    }

    fn push_null(&mut self) {
        self.nulls.push(self.bytes.len() / 16);
        self.bytes.extend_from_slice(&[0; 16]);
    }

    fn truncate(&mut self, rows: usize) {
        self.bytes.truncate(rows * 16);
        self.nulls.truncate(rows);
    }
}

/// A column of lists: where each one's items end.
pub struct Lists {
    /// Items before the end of each row, a zero before them.
    pub ends: Vec<i32>,
    /// Which rows are null.
    pub nulls: Nulls,
}

impl Lists {
    /// Ends a row whose items were pushed.
    pub fn push(&mut self, items: usize) {
        let before = self.ends.last().copied().unwrap_or(0);
        self.ends.push(before + items as i32);
    }

    fn push_null(&mut self) {
        self.nulls.push(self.ends.len() - 1);
        self.ends.push(self.ends.last().copied().unwrap_or(0));
    }
}

/// All columns of a plan; a leaf's column has its rule's number.
pub struct Columns {
    /// Rows accepted.
    pub rows: usize,
    /// UUIDs.
    pub uuids: Vec<Uuids>,
    /// Texts.
    pub texts: Vec<Text>,
    /// JSON values as their own text.
    pub jsons: Vec<Plain>,
    /// Integers.
    pub integers: Vec<Fixed<i64>>,
    /// Doubles.
    pub numbers: Vec<Fixed<f64>>,
    /// Decimals × 10^scale.
    pub decimals: Vec<Fixed<i128>>,
    /// True and false.
    pub booleans: Vec<Fixed<bool>>,
    /// µs since 1970 UTC.
    pub timestamps: Vec<Fixed<i64>>,
    /// Days since 1970.
    pub dates: Vec<Fixed<i32>>,
    /// Which objects are null; 0, the record, is not used.
    pub objects: Vec<Objects>,
    /// Arrays.
    pub arrays: Vec<Lists>,
    /// Unknown members, where they are kept; a column of no rows elsewhere.
    pub extra: Plain,
    keeps_extra: bool,
    /// Whether somebody wants day and hour of the event times.
    pub keeps_hours: bool,
    /// UTC day of the event time.
    pub event_date: Vec<i32>,
    /// UTC hour of the event time.
    pub event_hour: Vec<i32>,
    /// The last date read.
    pub memo: DayMemo,
    /// A decoded text, padded.
    pub decoded: Vec<u8>,
}

fn many<T>(count: usize, make: impl Fn() -> T) -> Vec<T> {
    (0..count).map(|_| make()).collect()
}

impl Columns {
    /// Empty columns with room for `rows`.
    pub fn new(plan: &Plan, rows: usize) -> Columns {
        Columns {
            rows: 0,
            uuids: many(plan.uuids, || Uuids { bytes: Vec::with_capacity(rows * 16), nulls: Nulls::default() }),
            texts: plan.texts.iter().map(|rule| Text::new(rows, rule)).collect(),
            jsons: many(plan.jsons, || Plain::new(rows)),
            integers: many(plan.integers.len(), || Fixed::new(rows)),
            numbers: many(plan.numbers.len(), || Fixed::new(rows)),
            decimals: many(plan.decimals.len(), || Fixed::new(rows)),
            booleans: many(plan.booleans, || Fixed::new(rows)),
            timestamps: many(plan.timestamps.len(), || Fixed::new(rows)),
            dates: many(plan.dates.len(), || Fixed::new(rows)),
            objects: many(plan.nodes.len(), Objects::default),
            arrays: many(plan.arrays.len(), || Lists { ends: vec![0], nulls: Nulls::default() }),
            extra: Plain::new(if plan.unknown == Unknown::Keep { rows } else { 0 }),
            keeps_extra: plan.unknown == Unknown::Keep,
            keeps_hours: true,
            event_date: Vec::with_capacity(rows),
            event_hour: Vec::with_capacity(rows),
            memo: DayMemo::default(),
            decoded: Vec::new(),
        }
    }

    /// Empty columns for verdicts only: rows are forgotten before they are `rows`, and texts are not kept.
    pub fn for_verdicts(plan: &Plan, rows: usize) -> Columns {
        let mut columns = Columns::new(plan, rows);
        columns.texts.iter_mut().for_each(|text| text.verdicts = Some(Admitted::default()));
        columns.keeps_hours = false;
        columns
    }

    /// Adds a null, below an object nulls for all its fields.
    pub fn push_null(&mut self, plan: &Plan, kind: Kind) {
        match kind {
            Kind::Uuid(at) => self.uuids[at].push_null(),
            Kind::Text(at) => self.texts[at].push_null(),
            Kind::Json(at) => self.jsons[at].push_null(),
            Kind::Integer(at) => self.integers[at].push_null(),
            Kind::Number(at) => self.numbers[at].push_null(),
            Kind::Decimal(at) => self.decimals[at].push_null(),
            Kind::Boolean(at) => self.booleans[at].push_null(),
            Kind::Timestamp(at) => self.timestamps[at].push_null(),
            Kind::Date(at) => self.dates[at].push_null(),
            Kind::Array(at) => self.arrays[at].push_null(),
            Kind::Object(at) => {
                self.objects[at].append_null();
                for field in &plan.nodes[at].fields {
                    self.push_null(plan, field.kind);
                }
            }
        }
    }

    /// Accepts the row that was pushed; `event_us` is its event time.
    #[inline(always)]
    pub fn accept(&mut self, event_us: i64) {
        if self.keeps_hours {
            self.event_date.push(event_us.div_euclid(DAY_US) as i32);
            self.event_hour.push((event_us.rem_euclid(DAY_US) / HOUR_US) as i32);
        }
        if self.keeps_extra {
            self.close_extra();
        }
        self.rows += 1;
        if self.rows.is_multiple_of(LOOK) {
            self.texts.iter_mut().for_each(Text::settle);
        }
    }

    #[inline]
    fn close_extra(&mut self) {
        let written = self.extra.bytes.len();
        if written > self.extra.ends[self.rows] as usize {
            self.extra.push(b"}");
        } else {
            self.extra.push_null();
        }
    }

    /// Forgets all rows and makes room for so many: vectors whose buffers were handed on are made at once, not grown.
    pub fn make_room(&mut self, plan: &Plan, rows: usize) {
        self.forget(plan);
        self.uuids.iter_mut().for_each(|column| column.bytes.reserve(rows * 16));
        for text in &mut self.texts {
            match &mut text.plain {
                Some(plain) => plain.make_room(rows),
                None => text.codes.values.reserve(rows),
            }
        }
        self.integers.iter_mut().for_each(|column| column.values.reserve(rows));
        self.numbers.iter_mut().for_each(|column| column.values.reserve(rows));
        self.timestamps.iter_mut().for_each(|column| column.values.reserve(rows));
        if self.keeps_hours {
            self.event_date.reserve(rows);
            self.event_hour.reserve(rows);
        }
    }

    /// Forgets what was pushed after the last accepted row.
    pub fn retract(&mut self, plan: &Plan) {
        let rows = self.rows;
        for field in &plan.record().fields {
            self.truncate(plan, field.kind, rows);
        }
        self.extra.truncate(rows);
    }

    fn truncate(&mut self, plan: &Plan, kind: Kind, rows: usize) {
        match kind {
            Kind::Uuid(at) => self.uuids[at].truncate(rows),
            Kind::Text(at) => self.texts[at].truncate(rows),
            Kind::Json(at) => self.jsons[at].truncate(rows),
            Kind::Integer(at) => self.integers[at].truncate(rows),
            Kind::Number(at) => self.numbers[at].truncate(rows),
            Kind::Decimal(at) => self.decimals[at].truncate(rows),
            Kind::Boolean(at) => self.booleans[at].truncate(rows),
            Kind::Timestamp(at) => self.timestamps[at].truncate(rows),
            Kind::Date(at) => self.dates[at].truncate(rows),
            Kind::Array(at) => {
                self.arrays[at].ends.truncate(rows + 1);
                self.arrays[at].nulls.truncate(rows);
                let items = self.arrays[at].ends.last().map_or(0, |end| *end as usize);
                self.truncate(plan, plan.arrays[at].item.kind, items);
            }
            Kind::Object(at) => {
                self.objects[at].truncate(rows);
                for field in &plan.nodes[at].fields {
                    self.truncate(plan, field.kind, rows);
                }
            }
        }
    }

    /// Forgets all rows, keeps memory and what texts were admitted: for callers who want verdicts only.
    pub fn forget(&mut self, plan: &Plan) {
        self.rows = 0;
        self.retract(plan);
        self.event_date.clear();
        self.event_hour.clear();
    }

    /// Whether some column outgrew Arrow's 32 bit offsets.
    pub fn overflowed(&self) -> bool {
        let texts = self.texts.iter().filter_map(|text| text.plain.as_ref());
        texts.chain(&self.jsons).chain([&self.extra]).any(|plain| plain.overflowed)
    }
}
