//! Measures the chain from a file of NDJSON to partitioned Parquet: CPU and wall nanoseconds per event, the median of several rounds, and memory.
//!
//! `cargo run --release --example measure_chain FILE PLAN.json SCHEMA.json KEY DAY [zstd level [rounds [batch bytes [part of a name [buffer bytes]]]]]`

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use data_processor_core::contract::Plan;
use data_processor_core::process::dedupe::KeyRoom;
use data_processor_core::process::landing::{Judging, Landing, Terms};
use data_processor_core::sink::schema::IcebergSchema;
use data_processor_core::sink::{Codec, TableWriter, WriteOptions};

/// The wheel's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Job {
    file: String,
    plan: Arc<Plan>,
    schema: String,
    key: String,
    day: String,
    level: i32,
    batch_bytes: usize,
    buffer_bytes: usize,
}

impl Job {
    fn terms(&self) -> Terms {
        Terms {
            key: vec![self.key.clone()],
            room: KeyRoom::default(),
            batch_bytes: self.batch_bytes,
            received_us: 1_795_132_800_000_000,
            name: "input".into(),
        }
    }

    fn source(&self) -> File {
        File::open(&self.file).expect("the input")
    }

    fn writer(&self) -> (tempfile::TempDir, TableWriter) {
        let place = tempfile::tempdir().expect("a directory");
        let options = WriteOptions {
            location: place.path().to_owned(),
            partition: Some(self.day.clone()),
            prefix: String::new(),
            codec: Codec::Zstd(self.level),
            target_bytes: 128 << 20,
            durable: false,
            buffer_bytes: self.buffer_bytes,
        };
        let schema = IcebergSchema::from_json(&self.schema).expect("a schema");
        (place, TableWriter::new(schema, options).expect("a writer"))
    }

    /// Reads, parses, validates and looks keys up; how many records.
    fn judge(&self, threads: usize) -> usize {
        let mut judging = Judging::new(Arc::clone(&self.plan), Box::new(self.source()), self.terms(), threads);
        let mut records = 0;
        while let Some(batch) = judging.batch().expect("a batch") {
            records += batch.records;
        }
        records
    }

    /// The whole chain; how many records.
    fn chain(&self, threads: usize) -> usize {
        let (place, writer) = self.writer();
        let mut landing = Landing::new(Arc::clone(&self.plan), Box::new(self.source()), self.terms(), writer, threads);
        let mut records = 0;
        while let Some(batch) = landing.batch().expect("a batch") {
            records += batch.records;
        }
        landing.finish().expect("files");
        drop(place);
        records
    }
}

/// CPU nanoseconds of the process.
fn cpu_ns() -> f64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut at) };
    at.tv_sec as f64 * 1e9 + at.tv_nsec as f64
}

/// Most memory that was resident at one time, MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn median(name: &str, rounds: usize, mut work: impl FnMut() -> usize) {
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (start, began) = (cpu_ns(), Instant::now());
        let events = work() as f64;
        cpu.push((cpu_ns() - start) / events);
        wall.push(began.elapsed().as_nanos() as f64 / events);
    }
    let (first, peak) = (cpu[0], peak_mib());
    cpu.sort_by(f64::total_cmp);
    wall.sort_by(f64::total_cmp);
    let (cpu, wall) = ((cpu[rounds / 2], cpu[0]), (wall[rounds / 2], wall[0]));
    println!(
        "{name:18} CPU {:6.0} ns/event (least {:.0}, first {first:.0})  wall {:6.0} (least {:.0})  resident at most {peak} MiB",
        cpu.0, cpu.1, wall.0, wall.1
    );
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let read = |path: &str| std::fs::read_to_string(path).expect(path);
    let plan = Arc::new(Plan::compile(&read(&given[1])).expect("a plan"));
    let number = |at: usize, otherwise: usize| given.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (level, rounds) = (number(5, 1) as i32, number(6, 7));
    let job = Job {
        file: given[0].clone(),
        plan,
        schema: read(&given[2]),
        key: given[3].clone(),
        day: given[4].clone(),
        level,
        batch_bytes: number(7, 8 << 20),
        buffer_bytes: number(9, 32 << 20),
    };
    let only = given.get(8).map_or("", String::as_str);
    for threads in [1, 2] {
        for (name, judge) in [("judge", true), ("chain", false)] {
            let name = format!("{name}, {threads} thread(s)");
            if name.contains(only) {
                median(&name, rounds, || if judge { job.judge(threads) } else { job.chain(threads) });
            }
        }
    }
}
