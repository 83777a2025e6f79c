//! The direct road: columns of a file become columns of the contract whole, rules run over whole vectors and once per distinct
//! text. Rows that may break a rule are judged by their text.
//!
//! Law: whatever this road accepts, the JSON roads accept of the row's canonical text, with the same values.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray,
    StructArray, new_null_array,
};
use arrow_buffer::Buffer;
use arrow_schema::{DataType, Field as ArrowField, FieldRef, Fields, Schema, TimeUnit};
use arrow_select::filter::filter_record_batch;

use super::super::batches::lineage;
use super::super::rows::EXTRA;
use crate::contract::{Field, Kind, Node, Plan, Unknown};
use crate::error::Result;
use crate::process::judge::Judge;
use crate::process::leaf::{first_instant, in_time};
use crate::process::slow::Refused;
use crate::process::spell::Unit;
use crate::process::text::PAD;
use crate::process::time::{DAY_US, DayMemo, epoch_us, timestamp};
use crate::process::{arrow, check, wide};

/// Good rows, and the others by their number.
type Judged = (RecordBatch, Vec<(usize, Refused)>);

/// Judges the rows of a batch; None where columns alone cannot tell, and every row is to be judged by its text.
///
/// `say` judges one row by its text.
pub fn judged(
    plan: &Plan,
    given: &RecordBatch,
    received_us: i64,
    say: &mut impl FnMut(&mut Judge, usize) -> std::result::Result<(), Refused>,
) -> Result<Option<Judged>> {
    let rows = given.num_rows();
    let mut road = Road { plan, doubts: vec![false; rows] };
    let given_columns = StructArray::from(given.clone());
    let Some((mut fields, mut arrays)) = road.object(&plan.nodes[0], &given_columns) else { return Ok(None) };
    for (doubt, mark) in road.doubts.iter_mut().zip(check::marked(plan, &arrays, rows, true)) {
        *doubt |= mark;
    }
    let Some(times) = road.times(&arrays, received_us) else { return Ok(None) };
    let mut judge = Judge::new(plan, 0);
    let mut refused = Vec::new();
    for row in (0..rows).filter(|row| road.doubts[*row]) {
        match say(&mut judge, row) {
            Err(reasons) => refused.push((row, reasons)),
            Ok(()) => return Ok(None), // it is good, and where its values stand nothing says so
        }
    }
    if plan.unknown == Unknown::Keep {
        fields.push(Arc::new(ArrowField::new(EXTRA, DataType::Utf8, true)));
        arrays.push(new_null_array(&DataType::Utf8, rows));
    }
    lineage(&times, &mut fields, &mut arrays);
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let loose = fields.iter().map(loose).collect::<Vec<_>>();
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(loose)), arrays, &options).map_err(arrow)?;
    let kept = match refused.is_empty() {
        true => batch,
        false => {
            let good: Vec<bool> = road.doubts.iter().map(|doubt| !doubt).collect();
            filter_record_batch(&batch, &BooleanArray::from(good)).map_err(arrow)?
        }
    };
    let options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
    let arrays = fields.iter().zip(kept.columns()).map(|(field, array)| exact(plan, field, array)).collect::<Result<Vec<_>>>()?;
    let fields = fields
        .iter()
        .zip(&arrays)
        .map(|(field, array)| Arc::new(field.as_ref().clone().with_data_type(array.data_type().clone())));
    let exact = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields.collect::<Fields>())), arrays, &options);
    Ok(Some((exact.map_err(arrow)?, refused)))
}

/// A field that may be null: before rows are refused, required ones may miss.
fn loose(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_nullable(true))
}

/// A column whose objects say which of their fields the contract lets be null.
fn exact(plan: &Plan, field: &FieldRef, array: &ArrayRef) -> Result<ArrayRef> {
    let node = plan.record().find(field.name().as_bytes()).map(|at| plan.record().fields[at].kind);
    exact_kind(plan, node, array)
}

fn exact_kind(plan: &Plan, kind: Option<Kind>, array: &ArrayRef) -> Result<ArrayRef> {
    let (Some(Kind::Object(number)), DataType::Struct(_)) = (kind, array.data_type()) else { return Ok(Arc::clone(array)) };
    let (given, fields) = (array.as_struct(), &plan.nodes[number].fields);
    let columns = fields.iter().zip(given.columns()).map(|(field, column)| exact_kind(plan, Some(field.kind), column));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let named = |(field, column): (&Field, &ArrayRef)| ArrowField::new(&field.name, column.data_type().clone(), field.nullable);
    let fields: Fields = fields.iter().zip(&columns).map(named).collect();
    Ok(Arc::new(StructArray::try_new(fields, columns, given.nulls().cloned()).map_err(arrow)?))
}

struct Road<'a> {
    plan: &'a Plan,
    /// Rows whose text decides.
    doubts: Vec<bool>,
}

impl Road<'_> {
    /// The columns of the record; None where some column cannot be taken whole.
    fn object(&mut self, node: &Node, given: &StructArray) -> Option<(Vec<FieldRef>, Vec<ArrayRef>)> {
        let names: Vec<&str> = given.column_names();
        let repeated = (1..names.len()).any(|at| names[..at].contains(&names[at]));
        let known = |name: &&str| node.find(name.as_bytes()).is_some();
        if repeated || self.plan.unknown != Unknown::Drop && !names.iter().all(known) || !self.is_small(given) {
            return None;
        }
        let mut made = (Vec::new(), Vec::new());
        for field in &node.fields {
            let array = match given.column_by_name(&field.name) {
                Some(column) => self.leaf(field, column)?,
                None if field.required => return None,
                None => new_null_array(&self.empty(field.kind)?, given.len()),
            };
            if field.required
                && let Some(nulls) = array.nulls()
            {
                // Where the object itself is null, nothing misses in it.
                let around = given.nulls();
                let misses = |row: usize| nulls.is_null(row) && around.is_none_or(|around| around.is_valid(row));
                self.doubts.iter_mut().enumerate().for_each(|(row, doubt)| *doubt |= misses(row));
            }
            made.0.push(Arc::new(ArrowField::new(&field.name, array.data_type().clone(), field.nullable)));
            made.1.push(array);
        }
        Some(made)
    }

    /// Whether no row can have too many members or bytes.
    fn is_small(&self, given: &StructArray) -> bool {
        let mut size = 2;
        for (name, column) in given.column_names().iter().zip(given.columns()) {
            size += 8 + name.len() * 6 + widest(column);
        }
        members(given) <= self.plan.max_members && size <= self.plan.max_bytes
    }

    /// The type of a column that the file has not.
    fn empty(&self, kind: Kind) -> Option<DataType> {
        Some(match kind {
            Kind::Text(_) | Kind::Json(_) => DataType::Utf8,
            Kind::Uuid(_) => DataType::FixedSizeBinary(16),
            Kind::Integer(_) => DataType::Int64,
            Kind::Number(_) => DataType::Float64,
            Kind::Decimal(leaf) => DataType::Decimal128(self.plan.decimals[leaf].precision, self.plan.decimals[leaf].scale as i8),
            Kind::Boolean(_) => DataType::Boolean,
            Kind::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Date(_) => DataType::Date32,
            Kind::Object(_) | Kind::Array(_) => return None, // judged by text
        })
    }

    /// A column of the contract's type made of a file's column.
    fn leaf(&mut self, field: &Field, column: &ArrayRef) -> Option<ArrayRef> {
        let same = || Some(Arc::clone(column));
        match (field.kind, column.data_type()) {
            (Kind::Text(_), DataType::Utf8 | DataType::Dictionary(..)) | (Kind::Boolean(_), DataType::Boolean) => same(),
            (Kind::Integer(_), DataType::Int64) => same(),
            (Kind::Number(_), DataType::Float64) => {
                let values = column.as_primitive::<Float64Type>().values();
                if !values.iter().fold(true, |all, value| all & value.is_finite()) {
                    self.doubts.iter_mut().zip(values).for_each(|(doubt, value)| *doubt |= !value.is_finite());
                }
                same()
            }
            (Kind::Integer(_), _) => {
                Some(Arc::new(PrimitiveArray::<Int64Type>::new(whole(column)?.into(), column.nulls().cloned())))
            }
            (Kind::Number(_), DataType::Float32) => {
                let column = column.as_primitive::<Float32Type>();
                let doubles: Vec<f64> = column.values().iter().map(|value| f64::from(*value)).collect();
                self.doubts.iter_mut().zip(&doubles).for_each(|(doubt, value)| *doubt |= !value.is_finite());
                Some(Arc::new(PrimitiveArray::<Float64Type>::new(doubles.into(), column.nulls().cloned())))
            }
            (Kind::Decimal(leaf), DataType::Decimal128(_, scale)) => self.decimal(leaf, *scale, column),
            (Kind::Uuid(_), DataType::FixedSizeBinary(16)) => same(),
            (Kind::Uuid(_), DataType::Utf8) => Some(self.uuids(column.as_string())),
            (Kind::Date(_), DataType::Date32) => {
                let values = column.as_primitive::<Date32Type>().values();
                let known = |day: i32| epoch_us(i128::from(day) * i128::from(DAY_US)).is_some();
                self.doubts.iter_mut().zip(values).for_each(|(doubt, day)| *doubt |= !known(*day));
                same()
            }
            (Kind::Timestamp(leaf), _) => self.timestamp(leaf, column),
            (Kind::Object(number), DataType::Struct(_)) => {
                let (fields, arrays) = self.object(&self.plan.nodes[number], column.as_struct())?;
                let loose: Fields = fields.iter().map(loose).collect();
                Some(Arc::new(StructArray::try_new(loose, arrays, column.nulls().cloned()).ok()?))
            }
            _ => None,
        }
    }

    fn decimal(&mut self, leaf: usize, own: i8, column: &ArrayRef) -> Option<ArrayRef> {
        let rule = &self.plan.decimals[leaf];
        let column = column.as_primitive::<Decimal128Type>();
        let shift = i32::from(rule.scale) - i32::from(own);
        let factor = 10i128.checked_pow(shift.unsigned_abs())?;
        let mut values = Vec::with_capacity(column.len());
        for (row, value) in column.values().iter().enumerate() {
            let scaled = if shift >= 0 { value.checked_mul(factor) } else { (value % factor == 0).then_some(value / factor) };
            self.doubts[row] |= scaled.is_none() && column.is_valid(row);
            values.push(scaled.unwrap_or(0));
        }
        let made = PrimitiveArray::<Decimal128Type>::new(values.into(), column.nulls().cloned());
        Some(Arc::new(made.with_data_type(DataType::Decimal128(rule.precision, rule.scale as i8))))
    }

    /// UUIDs of texts, read where they lie.
    fn uuids(&mut self, column: &StringArray) -> ArrayRef {
        let bytes = column.value_data();
        let mut shelter = [0u8; LOADED];
        let mut read = |place: &[i32]| {
            let (start, end) = (place[0] as usize, place[1] as usize);
            if end - start != SPELLED {
                return None;
            }
            if let Some(text) = bytes.get(start..start + LOADED) {
                return wide::uuid(text, 0);
            }
            shelter[..SPELLED].copy_from_slice(&bytes[start..end]); // the last text
            wide::uuid(&shelter, 0)
        };
        let mut values = Vec::with_capacity(column.len());
        for (row, place) in column.value_offsets().windows(2).enumerate() {
            let value = read(place);
            if value.is_none() && column.is_valid(row) {
                self.doubts[row] = true;
            }
            values.push(value.unwrap_or(0).to_be() as i128);
        }
        Arc::new(FixedSizeBinaryArray::new(16, Buffer::from_vec(values), column.nulls().cloned()))
    }

    fn timestamp(&mut self, leaf: usize, column: &ArrayRef) -> Option<ArrayRef> {
        let rule = self.plan.timestamps[leaf];
        let nulls = column.nulls().cloned();
        let values: Vec<Option<i64>> = match column.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                let values = column.as_primitive::<TimestampMicrosecondType>().values();
                let known = |value: i64| epoch_us(value.into()).is_some();
                if !values.iter().fold(true, |all, value| all & known(*value)) {
                    self.doubts.iter_mut().zip(values).for_each(|(doubt, value)| *doubt |= !known(*value));
                }
                let utc = column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC");
                return Some(Arc::new(utc));
            }
            DataType::Timestamp(unit, zone) => {
                let (given, unit) = match unit {
                    TimeUnit::Microsecond => (column.as_primitive::<TimestampMicrosecondType>().values().clone(), Unit::Micro),
                    TimeUnit::Millisecond => (column.as_primitive::<TimestampMillisecondType>().values().clone(), Unit::Milli),
                    TimeUnit::Nanosecond => (column.as_primitive::<TimestampNanosecondType>().values().clone(), Unit::Nano),
                    TimeUnit::Second => return None,
                };
                let utc = |value: i64| epoch_us(unit.to_us(value)?.into());
                let local = |value: i64| epoch_us(rule.zone?.instant(utc(value)?)?.into());
                given.iter().map(|value| if zone.is_some() { utc(*value) } else { local(*value) }).collect()
            }
            DataType::Int64 => {
                let power = 10i128.pow(u32::from(rule.epoch_decimals?));
                column.as_primitive::<Int64Type>().values().iter().map(|value| epoch_us(i128::from(*value) * power)).collect()
            }
            DataType::Utf8 => {
                let (mut memo, mut padded) = (DayMemo::default(), Vec::new());
                let mut read = |text: Option<&str>| {
                    let text = text?;
                    padded.clear();
                    padded.extend_from_slice(text.as_bytes());
                    padded.resize(text.len() + PAD, 0);
                    timestamp(&padded, 0, text.len(), rule.zone, &mut memo).ok()
                };
                column.as_string::<i32>().iter().map(&mut read).collect()
            }
            _ => return None,
        };
        for (row, value) in values.iter().enumerate().filter(|(row, _)| column.is_valid(*row)) {
            self.doubts[row] |= value.is_none();
        }
        let values: Vec<i64> = values.into_iter().map(Option::unwrap_or_default).collect();
        Some(Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), nulls).with_timezone("UTC")))
    }

    /// Event time of each row; marks those that it may not have. None where it lies inside an object.
    fn times(&mut self, arrays: &[ArrayRef], received_us: i64) -> Option<Vec<i64>> {
        let Some(leaf) = self.plan.event_time.leaf else { return Some(vec![received_us; self.doubts.len()]) };
        let place = self.plan.record().fields.iter().position(|field| field.kind == leaf)?;
        let column = &arrays[place];
        let times: Vec<i64> = match leaf {
            Kind::Timestamp(_) => column.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
            Kind::Date(at) => {
                let zone = self.plan.dates[at];
                column.as_primitive::<Date32Type>().values().iter().map(|day| first_instant(*day, zone)).collect()
            }
            _ => return None,
        };
        let bounds = &self.plan.event_time;
        if column.null_count() == 0 && times.iter().fold(true, |all, at| all & in_time(bounds, *at, received_us)) {
            return Some(times);
        }
        let each = |(row, at): (usize, i64)| {
            if column.is_null(row) {
                return received_us;
            }
            self.doubts[row] |= !in_time(bounds, at, received_us);
            at
        };
        Some(times.into_iter().enumerate().map(each).collect())
    }
}

/// Characters of a UUID, and bytes that are loaded to read them.
const SPELLED: usize = 36;
const LOADED: usize = 40;

/// Most bytes that a value of a column has as text.
fn widest(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8 => {
            let offsets = column.as_string::<i32>().value_offsets();
            2 + 6 * offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0)
        }
        DataType::Dictionary(..) => widest(column.as_dictionary::<Int32Type>().values()),
        DataType::Struct(fields) => {
            let names: usize = fields.iter().map(|field| 8 + field.name().len() * 6).sum();
            2 + names + column.as_struct().columns().iter().map(widest).sum::<usize>()
        }
        DataType::Decimal256(..) | DataType::Decimal128(..) => 320,
        _ => 48,
    }
}

/// Most members of a row and of the objects in it.
fn members(given: &StructArray) -> usize {
    let below = |column: &ArrayRef| column.as_struct_opt().map_or(1, |inner| 1 + members(inner));
    given.columns().iter().map(below).sum()
}

/// Whole numbers as 64 bit.
fn whole(column: &ArrayRef) -> Option<Vec<i64>> {
    Some(match column.data_type() {
        DataType::Int8 => column.as_primitive::<Int8Type>().values().iter().map(|value| i64::from(*value)).collect(),
        DataType::Int16 => column.as_primitive::<Int16Type>().values().iter().map(|value| i64::from(*value)).collect(),
        DataType::Int32 => column.as_primitive::<Int32Type>().values().iter().map(|value| i64::from(*value)).collect(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().values().iter().map(|value| i64::from(*value)).collect(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().values().iter().map(|value| i64::from(*value)).collect(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().values().iter().map(|value| i64::from(*value)).collect(),
        _ => return None,
    })
}

/// The fields of a file's object, texts of the contract that repeat (`repeats`, by number of the leaf) as codes into the distinct ones.
pub fn in_codes(plan: &Plan, node: &Node, fields: &Fields, leaf: &mut usize, repeats: &impl Fn(usize) -> bool) -> Fields {
    let kind = |name: &str| node.find(name.as_bytes()).map(|at| node.fields[at].kind);
    let mut in_codes = |field: &FieldRef| match (field.data_type(), kind(field.name())) {
        (DataType::Struct(inner), Some(Kind::Object(number))) => {
            let inner = in_codes(plan, &plan.nodes[number], inner, leaf, repeats);
            Arc::new(field.as_ref().clone().with_data_type(DataType::Struct(inner)))
        }
        (DataType::Utf8, Some(Kind::Text(_))) if repeats(*leaf) => {
            *leaf += 1;
            let code = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(field.as_ref().clone().with_data_type(code))
        }
        (other, _) => {
            *leaf += leaves(other);
            Arc::clone(field)
        }
    };
    fields.iter().map(&mut in_codes).collect()
}

/// Columns that a type takes in a file.
pub fn leaves(kind: &DataType) -> usize {
    match kind {
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        DataType::List(item) | DataType::Map(item, _) => leaves(item.data_type()),
        _ => 1,
    }
}
