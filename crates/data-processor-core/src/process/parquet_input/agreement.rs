//! The road of pages and the `parquet` crate's give the same rows, whatever the layout of the file.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use proptest::prelude::*;

use super::text::Writer;
use super::{Footer, Reader, canonical};
use crate::contract::Plan;
use crate::process::events::parse;
use crate::process::source::Format;

const CONTRACT: &str = r#"{"contract": "events", "version": "1.0.0", "key": [], "unknown": "drop", "earliest_us": 0,
    "ahead_us": 86400000000, "max_depth": 64, "max_members": 1000, "max_bytes": 1048576, "hash": "1", "fields": [
    {"name": "id", "path": "/id", "kind": "uuid"}, {"name": "key", "path": "/key", "kind": "uuid"},
    {"name": "kind", "path": "/kind", "kind": "string"}, {"name": "note", "path": "/note", "kind": "string"},
    {"name": "at", "path": "/at", "kind": "timestamp"}, {"name": "spelled", "path": "/spelled", "kind": "timestamp"},
    {"name": "x", "path": "/x", "kind": "number"},
    {"name": "object", "path": "/object", "kind": "object", "fields": [
        {"name": "deep", "path": "/object/deep", "kind": "object", "fields": [
            {"name": "word", "path": "/object/deep/word", "kind": "string"}]},
        {"name": "y", "path": "/object/y", "kind": "number"}]}]}"#;

/// Numbers by chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides.max(1)
    }

    fn each<T>(&mut self, rows: usize, mut make: impl FnMut(&mut Dice, usize) -> T) -> Vec<T> {
        (0..rows).map(|row| make(self, row)).collect()
    }

    /// Which rows are not null: by chance, in long stretches, or all.
    fn valid(&mut self, rows: usize) -> Option<NullBuffer> {
        match self.below(4) {
            0 => None,
            1 => Some(self.each(rows, |dice, _| dice.below(3) > 0).into()),
            2 => Some(self.each(rows, |_, row| row / 50 % 2 == 0).into()),
            _ => Some(self.each(rows, |dice, _| dice.below(200) > 0).into()),
        }
    }

    fn text(&mut self, distinct: u64) -> String {
        let number = self.below(distinct);
        let more = ["", "x", "é", "with a tail that is longer than sixteen bytes", "日本"][number as usize % 5];
        format!("{number}{more}")
    }

    fn uuid(&mut self, bad: u64) -> String {
        let high = self.below(1 << 30);
        if bad > 0 && self.below(bad) == 0 {
            return format!("{high}é");
        }
        format!("{high:08x}-0000-4000-8000-00000000{:04x}", self.below(50))
    }
}

fn with_nulls(texts: Vec<String>, valid: Option<NullBuffer>) -> ArrayRef {
    let valid = |row| valid.as_ref().is_none_or(|valid| valid.is_valid(row));
    Arc::new(StringArray::from_iter(texts.into_iter().enumerate().map(|(row, text)| valid(row).then_some(text))))
}

fn object(columns: Vec<(&str, bool, ArrayRef)>, valid: Option<NullBuffer>) -> ArrayRef {
    let fields = columns.iter().map(|(name, null, column)| Field::new(*name, column.data_type().clone(), *null));
    let fields = fields.collect::<Vec<_>>().into();
    Arc::new(StructArray::new(fields, columns.into_iter().map(|(_, _, column)| column).collect(), valid))
}

/// Rows of every type that the road of pages reads.
fn rows(dice: &mut Dice, rows: usize) -> RecordBatch {
    let distinct = [3, 40, 100_000][dice.below(3) as usize];
    let bad = [0, 0, 70][dice.below(3) as usize];
    let (ids, keys) = (dice.each(rows, |dice, _| dice.uuid(bad)), dice.each(rows, |dice, _| dice.below(1 << 30) as u128));
    let keys = keys.into_iter().flat_map(u128::to_le_bytes).collect::<Vec<u8>>();
    let texts = |dice: &mut Dice, distinct| dice.each(rows, |dice, _| dice.text(distinct));
    let (kinds, notes, words) = (texts(dice, 4), texts(dice, distinct), texts(dice, distinct));
    let spelled = dice.each(rows, |dice, _| format!("2026-11-13T00:00:{:02}Z", dice.below(60)));
    let numbers = dice.each(rows, |dice, _| dice.below(distinct) as i64 - 7);
    let valid: Vec<Option<NullBuffer>> = (0..12).map(|_| dice.valid(rows)).collect();
    let deep = object(vec![("word", true, with_nulls(words, valid[0].clone()))], valid[1].clone());
    let y = Float64Array::new(numbers.iter().map(|n| *n as f64 / 4.0).collect(), None);
    let required = Int32Array::new(numbers.iter().map(|n| *n as i32).collect(), None);
    let inside =
        vec![("deep", true, deep), ("y", true, Arc::new(y) as ArrayRef), ("must", false, Arc::new(required) as ArrayRef)];
    let at = TimestampMicrosecondArray::new(numbers.clone().into(), valid[2].clone()).with_timezone("UTC");
    let keys = FixedSizeBinaryArray::new(16, keys.into(), valid[3].clone());
    let columns: Vec<(&str, bool, ArrayRef)> = vec![
        ("id", true, with_nulls(ids, valid[4].clone())),
        ("key", true, Arc::new(keys)),
        ("kind", false, with_nulls(kinds, None)),
        ("note", true, with_nulls(notes, valid[5].clone())),
        ("at", true, Arc::new(at)),
        ("spelled", true, with_nulls(spelled, valid[6].clone())),
        ("x", false, Arc::new(Float64Array::from_iter_values(numbers.iter().map(|n| *n as f64)))),
        ("small", true, Arc::new(Float32Array::new(numbers.iter().map(|n| *n as f32).collect(), valid[7].clone()))),
        ("count", true, Arc::new(Int64Array::new(numbers.clone().into(), valid[8].clone()))),
        ("day", true, Arc::new(Date32Array::new(numbers.iter().map(|n| *n as i32).collect(), valid[9].clone()))),
        ("ok", true, Arc::new(BooleanArray::new(numbers.iter().map(|n| n % 3 == 0).collect(), valid[10].clone()))),
        ("object", true, object(inside, valid[11].clone())),
    ];
    let fields = columns.iter().map(|(name, null, column)| Field::new(*name, column.data_type().clone(), *null));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, _, column)| column).collect()).unwrap()
}

/// A file of the rows, its layout by chance.
fn file(dice: &mut Dice, rows: &RecordBatch) -> Bytes {
    let version = [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0][dice.below(2) as usize];
    let codecs = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())];
    let mut layout = WriterProperties::builder()
        .set_writer_version(version)
        .set_compression(codecs[dice.below(3) as usize])
        .set_data_page_row_count_limit([1, 30, 20_000][dice.below(3) as usize])
        .set_write_batch_size([1, 16, 1024][dice.below(3) as usize])
        .set_dictionary_page_size_limit([60, 1 << 20][dice.below(2) as usize])
        .set_max_row_group_row_count(Some([7, 100, 1 << 20][dice.below(3) as usize]));
    for name in ["id", "key", "kind", "note", "at", "spelled", "x", "small", "count", "day", "ok"] {
        layout = layout.set_column_dictionary_enabled(ColumnPath::from(name), dice.below(2) == 0);
    }
    // Encodings of version 2 would be deltas, which are the crate's own.
    for (name, column) in rows.schema().fields().iter().map(|field| (field.name().as_str(), field)) {
        if !matches!(column.data_type(), DataType::Boolean | DataType::Struct(_)) {
            layout = layout.set_column_encoding(ColumnPath::from(name), parquet::basic::Encoding::PLAIN);
        }
    }
    for path in [["object", "deep", "word"].as_slice(), &["object", "y"], &["object", "must"]] {
        let path = ColumnPath::new(path.iter().map(|part| part.to_string()).collect());
        layout = layout.set_column_encoding(path, parquet::basic::Encoding::PLAIN);
    }
    let mut made = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut made, rows.schema(), Some(layout.build())).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    made.into()
}

/// The text of each row.
fn spelled(plan: &Plan, mut next: impl FnMut() -> Option<RecordBatch>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(batch) = next() {
        for row in 0..batch.num_rows() {
            let mut text = Vec::new();
            Writer { plan }.record(&batch, row, &mut text);
            texts.push(String::from_utf8(text).unwrap());
        }
    }
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pages_give_the_rows_that_the_crate_gives(seed in any::<u64>(), count in 0usize..260, most in 1usize..300) {
        let (plan, mut dice) = (Plan::compile(CONTRACT).unwrap(), Dice(seed));
        let given = rows(&mut dice, count);
        let footer = Footer::read(file(&mut dice, &given)).unwrap();
        let mut pages = footer.pages(&plan).expect("a plain file");
        let mut others = footer.rows(&plan, 0).unwrap();
        let read = spelled(&plan, || pages.batch(most).expect("plain pages"));
        prop_assert_eq!(&read, &spelled(&plan, || others.batch(most).unwrap()));
        prop_assert_eq!(read.len(), count);
    }
}

/// A plan of so many columns of booleans, and a file of so many rows without any value.
fn nothing(fields: usize, rows: usize) -> (Arc<Plan>, Bytes) {
    let field = |n: usize| format!(r#"{{"name": "f{n}", "path": "/f{n}", "kind": "boolean"}}"#);
    let fields: Vec<String> = (0..fields).map(field).collect();
    let plan = CONTRACT.split_once("\"fields\"").unwrap().0.to_string() + "\"fields\": [" + &fields.join(",") + "]}";
    let batch = RecordBatch::try_from_iter([("f0", new_null_array(&DataType::Boolean, 1 << 20))]).unwrap();
    let layout = WriterProperties::builder().set_data_page_row_count_limit(rows).set_write_batch_size(1 << 20);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(layout.build())).unwrap();
    (0..rows).step_by(1 << 20).for_each(|first| writer.write(&batch.slice(0, (rows - first).min(1 << 20))).unwrap());
    (Arc::new(Plan::compile(&plan).unwrap()), writer.into_inner().unwrap().into())
}

#[test]
fn a_small_file_of_very_many_rows_comes_in_batches_that_fit_into_memory() {
    let (plan, file) = nothing(30, 2_500_000);
    assert!(file.len() < 4096, "a few bytes: {}", file.len());
    let most = Footer::read(file.clone()).unwrap().most_rows(&plan);
    assert_eq!(most, ((32 << 20) + file.len() * 16) / (30 + 1), "values of the contract's columns count, too");
    let mut reader = Reader::open(Arc::clone(&plan), file.clone(), 0, usize::MAX).unwrap();
    let mut counts = Vec::new();
    while let Some(batch) = reader.batch().unwrap() {
        assert_eq!((batch.first as usize, batch.rows.num_rows()), (counts.iter().sum(), batch.count));
        counts.push(batch.count);
    }
    assert_eq!(counts, [most, most, 2_500_000 - 2 * most]);
    let refused = parse(plan, file, Some(Format::Parquet), 0).map(|_| ()).unwrap_err();
    assert_eq!(refused.code, "body.too_large");
}

#[test]
fn a_footer_that_claims_more_rows_than_its_pages_have_gives_those_that_are_there() {
    let (plan, file) = nothing(2, 3_000);
    let footer = file.len() - 8 - u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap()) as usize;
    // 3000 as a footer spells it, for the column, the row group, the file (and its nulls), becomes 8191.
    let places: Vec<usize> = (footer..file.len() - 8).filter(|at| file[*at..*at + 2] == [0xf0, 0x2e]).collect();
    assert!(places.len() >= 3, "{places:?}");
    let mut lied = file.to_vec();
    places.iter().for_each(|at| lied[*at..*at + 2].copy_from_slice(&[0xfe, 0x7f]));
    let mut texts = 0;
    canonical(&plan, lied.clone().into(), |_| {
        texts += 1;
        Ok(())
    })
    .unwrap();
    for rows in [10, usize::MAX] {
        let (mut reader, mut read) = (Reader::open(Arc::clone(&plan), lied.clone().into(), 0, rows).unwrap(), 0);
        while let Some(batch) = reader.batch().unwrap() {
            read += batch.count;
        }
        assert_eq!((read, texts), (3_000, 3_000));
    }
}
