//! Appends to a log from many threads and prints records per second and the time an append takes.
//!
//! `cargo run --profile quick --example log_append -- DIRECTORY [SECONDS]`

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use data_processor_core::log::{Encoder, Options, RecordRef, Writer};

/// As long as a usual event.
const RECORD_BYTES: usize = 354;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("a directory is needed")?;
    let lasting = Duration::from_secs(arguments.next().map_or(Ok(2), |seconds| seconds.parse())?);
    for (threads, records) in [(1, 1), (64, 1), (1, 1_000), (8, 1_000)] {
        measure(&Path::new(&directory).join(format!("{threads}x{records}")), threads, records, lasting)?;
    }
    Ok(())
}

fn measure(directory: &Path, threads: usize, records: usize, lasting: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let writer = Writer::open(directory, Options { min_free_bytes: Some(0), ..Options::default() })?;
    let record: Vec<u8> = (0..RECORD_BYTES).map(|byte| b' ' + (byte * 7 % 90) as u8).collect();
    let started = Instant::now();
    let mut took: Vec<Duration> = thread::scope(|scope| {
        let appenders: Vec<_> = (0..threads)
            .map(|request| {
                scope.spawn({
                    let (writer, record) = (&writer, &record);
                    move || appender(writer, request as i64, record, records, lasting)
                })
            })
            .collect();
        appenders.into_iter().flat_map(|appender| appender.join().unwrap_or_default()).collect()
    });
    let per_second = (took.len() * records) as f64 / started.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{threads:>3} threads x {records:>4}: {per_second:>10.0} records/s   p50 {:.2} ms   p99 {:.2} ms",
        at(0.5),
        at(0.99)
    );
    Ok(())
}

fn appender(writer: &Writer, request: i64, record: &[u8], records: usize, lasting: Duration) -> Vec<Duration> {
    let (started, mut took) = (Instant::now(), Vec::new());
    while started.elapsed() < lasting {
        let appending = Instant::now();
        let mut encoder = Encoder::new(request, 0, "ndjson");
        (0..records).for_each(|line| encoder.push(RecordRef { value: Some(record), key: None, line: Some(line as u64 + 1) }));
        if let Err(error) = writer.append(encoder.finish(), None) {
            eprintln!("{error}");
            break;
        }
        took.push(appending.elapsed());
    }
    took
}
