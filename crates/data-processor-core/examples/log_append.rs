//! Measures durable appends to an embedded log: threads that each append again and wait, as requests do.
//!
//! `cargo run --release -p data-processor-core --example log_append [seconds] [directory]`
//!
//! Every line is a run on a log of its own: threads × records of 350 bytes per append. Afterwards the log is read and must hold what was
//! acknowledged. `fdatasync` is what the disk itself takes for a megabyte, in the same minute: a virtual disk changes its mind.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_processor_core::log::{Encoded, Options, Reader, Writer};

/// The wheel's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORD_BYTES: usize = 350;
const RUNS: [(usize, usize); 5] = [(8, 1000), (1, 1000), (64, 1000), (1, 1), (64, 1)];

fn quantiles(taken: &mut [Duration]) -> [f64; 3] {
    taken.sort_unstable();
    [0.5, 0.95, 0.99].map(|share| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3)
}

/// Appends until the time is over; how long each took.
fn append(writer: &Writer, request: i64, records: usize, until: Instant) -> Vec<Duration> {
    let mut body = vec![b'x'; RECORD_BYTES * records];
    body[RECORD_BYTES - 1..].iter_mut().step_by(RECORD_BYTES).for_each(|byte| *byte = b'\n');
    let body = Bytes::from(body);
    let ranges: Vec<_> = (0..records).map(|at| ((at * RECORD_BYTES) as u32, ((at + 1) * RECORD_BYTES - 1) as u32)).collect();
    let lines: Vec<u32> = (1..=records as u32).collect();
    let mut taken = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let encoded = Encoded::of_body(request, 1_800_000_000_000_000, "ndjson", &body, &ranges, Some(&lines));
        writer.append(encoded, None).expect("append");
        taken.push(began.elapsed());
    }
    taken
}

fn run(directory: &Path, threads: usize, records: usize, seconds: f64) {
    let directory = tempfile::tempdir_in(directory).expect("directory");
    let writer = Writer::open(directory.path(), Options::default()).expect("writer");
    append(&writer, 0, records, Instant::now() + Duration::from_millis(300));
    let before = Reader::open(directory.path()).and_then(|reader| reader.end()).expect("end") + 1;
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let mut taken: Vec<Duration> = std::thread::scope(|scope| {
        let writer = &writer;
        let running: Vec<_> =
            (1..=threads).map(|thread| scope.spawn(move || append(writer, thread as i64, records, until))).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("thread")).collect()
    });
    let spent = began.elapsed().as_secs_f64();
    writer.close();
    let held = Reader::open(directory.path()).and_then(|reader| reader.end()).expect("end") + 1 - before;
    let appended = taken.len() * records;
    assert_eq!(held, appended as i64, "the log holds what was acknowledged");
    let [p50, p95, p99] = quantiles(&mut taken);
    println!(
        "{threads:>3} x {records:<5} {:>10.0} records/s   p50 {p50:>7.2}  p95 {p95:>7.2}  p99 {p99:>7.2} ms",
        appended as f64 / spent
    );
}

/// What the disk itself takes to make a megabyte durable.
fn disk(directory: &Path) {
    let mut file: File = tempfile::tempfile_in(directory).expect("file");
    let megabyte = vec![7; 1 << 20];
    let mut taken: Vec<Duration> = (0..60)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&megabyte).and_then(|()| file.sync_data()).expect("sync");
            began.elapsed()
        })
        .collect();
    let [p50, p95, p99] = quantiles(&mut taken);
    println!("1 MiB + fdatasync                    p50 {p50:>7.2}  p95 {p95:>7.2}  p99 {p99:>7.2} ms");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(3.0, |text| text.parse().expect("seconds"));
    let place = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    disk(&place);
    for (threads, records) in RUNS {
        run(&place, threads, records, seconds);
    }
    disk(&place);
}
