//! Laws of typed formats: the direct road and the JSON roads agree on every file, good or hostile; nothing panics or hangs.

mod avro_files;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use avro_files::{Codec, Dice, SCHEMA, container, encode, plan};
use bytes::Bytes;
use data_processor_core::contract::Plan;
use data_processor_core::error::Result;
use data_processor_core::process::avro::{self, Reader};
use data_processor_core::process::batches::Batch;
use data_processor_core::process::violation::Violation;
use proptest::prelude::*;

const RECEIVED: i64 = 1_795_000_000_000_000;

type Judged = (Vec<String>, Vec<(u64, Vec<Violation>)>);

/// Rows as text, whatever their encoding, and violations by record.
fn judged(batches: Vec<Batch>) -> Judged {
    let rows = batches.iter().flat_map(|batch| spelled(&batch.rows)).collect();
    let refused = batches.into_iter().flat_map(|batch| batch.refused).map(|(at, (_, violations))| (at, violations)).collect();
    (rows, refused)
}

/// Each row of a batch, column by column, in the words of Arrow's own display.
fn spelled(rows: &RecordBatch) -> Vec<String> {
    (0..rows.num_rows())
        .map(|row| rows.columns().iter().map(|column| avro_files::cell(column, row)).collect::<Vec<_>>().join("|"))
        .collect()
}

fn read(plan: &Arc<Plan>, file: &[u8], rows: usize) -> Result<Judged> {
    let mut reader = Reader::open(Arc::clone(plan), Bytes::copy_from_slice(file), RECEIVED, rows)?;
    let mut batches = Vec::new();
    while let Some(batch) = reader.batch()? {
        assert_eq!(batch.rows.num_rows() + batch.refused.len(), batch.count);
        batches.push(batch);
    }
    Ok(judged(batches))
}

/// The same through the canonical text of each record alone.
fn by_text(plan: &Plan, file: &[u8]) -> Result<Judged> {
    let mut records = Vec::new();
    avro::canonical(plan, file, |text| {
        records.push(text.to_vec());
        Ok(())
    })?;
    Ok(avro_files::judged_by_text(plan, &records, RECEIVED))
}

fn agree(plan: &Arc<Plan>, file: &[u8]) -> std::result::Result<(), TestCaseError> {
    let started = Instant::now();
    let (read, by_text) = (read(plan, file, 7), by_text(plan, file));
    prop_assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    match (read, by_text) {
        (Ok(read), Ok(by_text)) => prop_assert_eq!(read, by_text),
        (Err(read), Err(by_text)) => prop_assert_eq!(read.code, by_text.code),
        (read, by_text) => prop_assert!(false, "{:?} {:?}", read.err(), by_text.err()),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the direct road accepts, the JSON roads accept of the record's text, with the same values.
    #[test]
    fn both_ways_through_a_file_give_the_same_rows_and_violations(
        seed in any::<u64>(), count in 0usize..12, unknown in prop::sample::select(vec!["keep", "drop", "refuse"]),
        codec in prop::sample::select(vec![Codec::Null, Codec::Deflate, Codec::Snappy, Codec::Zstandard]),
    ) {
        let mut dice = Dice::new(seed);
        let schema = serde_json::from_str(SCHEMA).unwrap();
        let records: Vec<Vec<u8>> = (0..count).map(|_| encode(&schema, &mut dice)).collect();
        agree(&Arc::new(plan(unknown)), &container(SCHEMA, &records, codec))?;
    }

    /// A few bytes changed anywhere: an error with a code, or the same verdicts both ways; soon.
    #[test]
    fn hostile_files_end_in_an_error_or_the_same_verdicts(
        seed in any::<u64>(), edits in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut dice = Dice::new(seed);
        let schema = serde_json::from_str(SCHEMA).unwrap();
        let records: Vec<Vec<u8>> = (0..4).map(|_| encode(&schema, &mut dice)).collect();
        let mut file = container(SCHEMA, &records, Codec::Null);
        for (place, byte) in edits {
            let at = place % file.len();
            file[at] = byte;
        }
        agree(&Arc::new(plan("keep")), &file)?;
    }
}

#[test]
fn values_that_take_no_bytes_are_counted() {
    for (schema, record) in [
        (r#"{"type":"record","name":"r","fields":[]}"#, vec![]),
        (
            r#"{"type":"record","name":"r","fields":[{"name":"x","type":{"type":"array","items":"null"}}]}"#,
            vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ),
    ] {
        let mut file = container(schema, &[record], Codec::Null);
        if schema.ends_with("[]}") {
            let at = file.len() - 18; // the block's count and size stand before the mark of 16 bytes
            file.splice(at..at + 1, [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        }
        let started = Instant::now();
        assert_eq!(read(&Arc::new(plan("keep")), &file, usize::MAX).unwrap_err().code, "body.invalid_avro");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
}

#[test]
fn batches_have_the_size_that_was_asked_for_and_one_schema() {
    let mut dice = Dice::new(7);
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let records: Vec<Vec<u8>> = (0..50).map(|_| encode(&schema, &mut dice)).collect();
    let file = Bytes::from(container(SCHEMA, &records, Codec::Deflate));
    let mut reader = Reader::open(Arc::new(plan("keep")), file, RECEIVED, 20).unwrap();
    let mut counts = Vec::new();
    let mut rows = Vec::new();
    while let Some(batch) = reader.batch().unwrap() {
        counts.push((batch.first, batch.count));
        rows.push(batch.rows);
    }
    assert_eq!(counts, [(0, 20), (20, 20), (40, 10)]);
    concat_batches(&rows[0].schema(), &rows).unwrap();
}
