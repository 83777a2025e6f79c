//! The laws of writer, reader and retention together, on real files.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Appended, Encoded, Encoder, Idempotency, Options, Reader, RecordRef, Writer};
use crate::error::{ErrorKind, Result};

const AT: i64 = 1_800_000_000_000_000;
const HOUR_US: i64 = 3_600_000_000;

fn options(segment_bytes: u64) -> Options {
    Options { segment_bytes, min_free_bytes: Some(0), ..Options::default() }
}

fn encoded(values: &[&[u8]], request: i64, at: i64) -> Encoded {
    let mut encoder = Encoder::new(request, at, "json");
    values.iter().for_each(|&value| encoder.push(RecordRef { value: Some(value), ..RecordRef::default() }));
    encoder.finish()
}

fn key(key: &str, body: &[u8]) -> Option<Idempotency> {
    Some(Idempotency { key: key.to_owned(), body: body.to_vec(), receipt: b"receipt".to_vec() })
}

fn open(directory: &Path, segment_bytes: u64) -> (Writer, Reader) {
    let writer = Writer::open(directory, options(segment_bytes)).expect("writer");
    (writer, Reader::open(directory).expect("reader"))
}

/// Every record after an offset with its offset, read in pieces.
fn drain(reader: &Reader, mut after: i64, limit: usize) -> Result<Vec<(i64, Vec<u8>)>> {
    let mut records = Vec::new();
    while let Some((rows, check)) = reader.read(after, None, limit, 1 << 28)? {
        let (values, offsets) = (rows.column(0).as_binary::<i32>(), rows.column(4).as_primitive::<Int64Type>());
        records.extend((0..rows.num_rows()).map(|row| (offsets.value(row), values.value(row).to_vec())));
        after = offsets.value(rows.num_rows() - 1);
        assert_eq!(reader.check(after)?, Some(check));
    }
    Ok(records)
}

#[test]
fn a_sealed_log_holds_what_was_acknowledged_and_takes_nothing_more() {
    let directory = TempDir::new().expect("directory");
    let (writer, reader) = open(directory.path(), 1 << 16);
    let (other, _) = open(directory.path(), 1 << 16);
    let sealed = AtomicBool::new(false);
    let last = AtomicI64::new(-1);
    thread::scope(|scope| {
        for writer in [&writer, &other] {
            scope.spawn(|| {
                loop {
                    let after = sealed.load(Ordering::SeqCst);
                    match writer.append(encoded(&[b"value"], 1, AT), None) {
                        Ok(done) => {
                            assert!(!after, "an append that began after the seal was acknowledged");
                            last.fetch_max(done.last, Ordering::SeqCst);
                        }
                        Err(error) => return assert_eq!((error.kind, error.code), (ErrorKind::LogUnavailable, "log.sealed")),
                    }
                }
            });
        }
        thread::sleep(std::time::Duration::from_millis(30));
        writer.seal().expect("seal");
        sealed.store(true, Ordering::SeqCst);
    });
    let held = drain(&reader, -1, 1000).expect("read");
    assert_eq!(held.len() as i64 - 1, last.load(Ordering::SeqCst));
    other.seal().expect("again");
    drop(writer);
    let (after_restart, _) = open(directory.path(), 1 << 16);
    assert_eq!(after_restart.append(encoded(&[b"value"], 1, AT), None).expect_err("sealed").code, "log.sealed");
    assert_eq!(drain(&reader, -1, 1000).expect("read").len(), held.len());
}

#[test]
fn a_group_of_threads_shares_commits_and_everybody_gets_an_own_range() {
    let directory = TempDir::new().expect("directory");
    let (writer, reader) = open(directory.path(), 1 << 26);
    let mut ranges: Vec<Appended> = thread::scope(|scope| {
        let appenders: Vec<_> = (0..8i64)
            .map(|request| {
                scope.spawn({
                    let writer = &writer;
                    move || -> Vec<Appended> {
                        (0..50).map(|_| writer.append(encoded(&[b"a", b"b", b"c"], request, AT), None).expect("append")).collect()
                    }
                })
            })
            .collect();
        appenders.into_iter().flat_map(|appender| appender.join().expect("thread")).collect()
    });
    ranges.sort_by_key(|appended| appended.first);
    assert!(ranges.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
    assert_eq!(drain(&reader, -1, 7).expect("read").len(), 8 * 50 * 3);
    assert_eq!(reader.end().expect("end"), ranges.last().expect("one").last);
}

#[test]
fn a_full_segment_is_sealed_and_offsets_run_on() {
    let directory = TempDir::new().expect("directory");
    let (writer, reader) = open(directory.path(), 200_000);
    let value = vec![b'x'; 40_000];
    for request in 0..40 {
        writer.append(encoded(&[&value, b"small"], request, AT), None).expect("append");
    }
    writer.close(); // a roll comes after the answer; it is over now
    let segments = reader.segments().expect("segments");
    assert!(segments.len() >= 5, "{segments:?}");
    assert!(segments.windows(2).all(|pair| pair[0].sealed && pair[0].last + 1 == pair[1].first));
    assert!(!segments.last().expect("one").sealed);
    let offsets: Vec<i64> = drain(&reader, -1, 3).expect("read").into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, (0..80).collect::<Vec<_>>());
}

#[test]
fn small_commits_roll_before_the_write_ahead_log_grows_without_bound() {
    let directory = TempDir::new().expect("directory");
    let (writer, reader) = open(directory.path(), 65_536);
    for request in 0..60 {
        writer.append(encoded(&[b"tiny"], request, AT), None).expect("append");
    }
    assert!(reader.segments().expect("segments").iter().all(|segment| segment.bytes < 2 << 20));
    assert!(reader.segments().expect("segments").len() > 2);
}

#[test]
fn a_roll_carries_the_keys_of_the_last_day_and_forgets_older_ones() {
    let directory = TempDir::new().expect("directory");
    let (writer, reader) = open(directory.path(), 1 << 26);
    let old = writer.append(encoded(&[b"old"], 1, AT), key("old", b"body")).expect("append");
    let new = writer.append(encoded(&[b"new"], 2, AT + 20 * HOUR_US), key("new", b"body")).expect("append");
    for _ in 0..3 {
        writer.roll().expect("roll");
        writer.append(encoded(&[b"between"], 3, AT), None).expect("append");
    }
    writer.unlink(i64::MAX).expect("unlink");
    let again = writer.append(encoded(&[b"new"], 4, AT + 30 * HOUR_US), key("new", b"body")).expect("append");
    assert_eq!(again, Appended { repeated: true, ..new });
    let repeated = writer.append(encoded(&[b"old"], 5, AT + 23 * HOUR_US), key("old", b"body")).expect("append");
    assert!(repeated.repeated && repeated.first == old.first);
    assert!(!writer.append(encoded(&[b"old"], 6, AT + 25 * HOUR_US), key("old", b"body")).expect("append").repeated);
    let refused = writer.append(encoded(&[b"x"], 7, AT + 21 * HOUR_US), key("new", b"other")).expect_err("another body");
    assert_eq!(refused.kind, ErrorKind::IdempotencyMismatch);
    assert_eq!(reader.end().expect("end"), 5);
}

#[test]
fn one_group_with_the_same_key_twice_stores_it_once() {
    let directory = TempDir::new().expect("directory");
    let (writer, reader) = open(directory.path(), 1 << 26);
    for request in 0..20 {
        writer.submit(encoded(&[b"once"], request, AT), key("k", b"body")).expect("submit");
    }
    writer.close();
    let outcomes = writer.completed();
    assert_eq!(outcomes.len(), 20);
    assert_eq!(outcomes.iter().filter(|(_, outcome)| !outcome.as_ref().expect("stored").repeated).count(), 1);
    assert_eq!(reader.end().expect("end"), 0);
}

#[test]
fn a_full_queue_asks_to_wait_and_stores_nothing_of_what_it_refused() {
    let directory = TempDir::new().expect("directory");
    let writer = Writer::open(directory.path(), Options { queue_bytes: 10_000, ..options(1 << 26) }).expect("writer");
    let lock = super::directory::Directory::open(directory.path()).expect("directory");
    let held = lock.lock().expect("lock");
    let value = vec![b'x'; 4_000];
    let (mut taken, mut refused) = (0, 0);
    {
        let _held = held.acquire(&lock).expect("held"); // nobody can write now
        for request in 0..10 {
            match writer.submit(encoded(&[&value], request, AT), None) {
                Ok(_) => taken += 1,
                Err(error) => {
                    assert_eq!((error.kind, error.code), (ErrorKind::LogThrottled, "log.queue_full"));
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((taken, refused), (2, 8));
    writer.append(encoded(&[b"after"], 11, AT), None).expect("room again");
    assert_eq!(Reader::open(directory.path()).expect("reader").end().expect("end"), 2);
}

/// Reads to the end, asserting that no offset is left out; the last one seen.
fn follow(reader: &Reader, done: &AtomicBool, floor: &AtomicI64) -> i64 {
    let (mut after, mut last_look) = (-1, false);
    loop {
        match reader.read(after, None, 100, 1 << 20).expect("read") {
            Some((rows, _)) => {
                let offsets = rows.column(4).as_primitive::<Int64Type>().values().to_vec();
                assert_eq!(offsets, (after + 1..=after + offsets.len() as i64).collect::<Vec<_>>());
                after = *offsets.last().expect("rows");
                floor.store(after, Ordering::Release);
            }
            None if last_look => return after,
            None => last_look = done.load(Ordering::Acquire),
        }
    }
}

#[test]
fn two_writers_and_a_roller_share_the_log_while_a_reader_follows() {
    let directory = TempDir::new().expect("directory");
    let (writer, reader) = open(directory.path(), 150_000);
    let other = Writer::open(directory.path(), options(150_000)).expect("another");
    let (done, floor) = (AtomicBool::new(false), AtomicI64::new(-1));
    let seen = thread::scope(|scope| {
        let follower = scope.spawn(|| follow(&reader, &done, &floor));
        let appenders = [&writer, &other].map(|writer| {
            scope.spawn(move || {
                for request in 0..150 {
                    writer.append(encoded(&[b"a".as_slice(), &[b'x'; 2_000]], request, AT), None).expect("append");
                }
            })
        });
        for _ in 0..30 {
            writer.roll().expect("roll");
            other.unlink(floor.load(Ordering::Acquire)).expect("unlink");
        }
        appenders.into_iter().for_each(|appender| appender.join().expect("appender"));
        done.store(true, Ordering::Release);
        follower.join().expect("follower")
    });
    assert_eq!(seen, 2 * 150 * 2 - 1);
}

#[test]
fn an_open_reader_outlives_the_unlink_of_its_segment() {
    let directory = TempDir::new().expect("directory");
    let (writer, reader) = open(directory.path(), 1 << 26);
    for request in 0..3 {
        writer.append(encoded(&[b"a", b"b"], request, AT), None).expect("append");
        writer.roll().expect("roll");
    }
    assert!(reader.read(-1, None, 1, 1 << 20).expect("read").is_some()); // the first segment is open now
    assert_eq!(writer.unlink(3).expect("unlink"), 2);
    let expired = reader.read(0, None, 1, 1 << 20).expect_err("its records are gone");
    assert_eq!((expired.kind, expired.code), (ErrorKind::LogExpired, "log.offset_expired"));
    assert_eq!(drain(&reader, 3, 10).expect("read").len(), 2);
    assert_eq!(reader.first().expect("first"), 4);
}

#[test]
fn a_log_made_anew_in_the_same_place_stops_reader_and_writer() {
    let directory = TempDir::new().expect("directory");
    let place = directory.path().join("topic");
    let (writer, reader) = open(&place, 1 << 26);
    writer.append(encoded(&[b"a"], 1, AT), None).expect("append");
    std::fs::rename(&place, directory.path().join("aside")).expect("moved");
    let (anew, _) = open(&place, 1 << 26);
    anew.append(encoded(&[b"b"], 1, AT), None).expect("append");
    assert_eq!(reader.read(0, None, 1, 1 << 20).expect_err("another log").code, "log.recreated");
    assert_eq!(writer.append(encoded(&[b"c"], 1, AT), None).expect_err("another log").code, "log.recreated");
    assert_eq!(anew.append(encoded(&[b"c"], 1, AT), None).expect("append").first, 1);
}

#[test]
fn a_restored_segment_is_noticed_by_the_check_even_with_equal_bytes() {
    let directory = TempDir::new().expect("directory");
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let (writer, _) = open(&first, 1 << 26);
    let told = writer.append(encoded(&[b"same"], 1, AT), None).expect("append");
    let (other, reader) = open(&second, 1 << 26);
    other.append(encoded(&[b"same"], 2, AT + 1), None).expect("append");
    let stopped = reader.read(told.last, Some(&super::spell_check(told.check)), 1, 1 << 20).expect_err("another append");
    assert_eq!((stopped.kind, stopped.code), (ErrorKind::LogCorrupt, "log.record_changed"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_was_appended_is_read_back(
        appends in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20), 0..12),
        limit in 1usize..40,
        rolls in any::<u16>(),
    ) {
        let directory = TempDir::new().expect("directory");
        let (writer, reader) = open(directory.path(), 1 << 26);
        let mut sent = Vec::new();
        for (request, values) in appends.iter().enumerate() {
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let appended = writer.append(encoded(&values, request as i64, AT), None).expect("append");
            prop_assert_eq!(appended.first, sent.len() as i64);
            sent.extend(values.into_iter().map(<[u8]>::to_vec));
            if rolls >> request & 1 == 1 {
                writer.roll().expect("roll");
            }
        }
        let read: Vec<Vec<u8>> = drain(&reader, -1, limit).expect("read").into_iter().map(|(_, value)| value).collect();
        prop_assert_eq!(read, sent);
    }
}
