//! A client that keeps connections busy over HTTP/1.1 and costs little itself: one thread, answers checked, every body counted.
//!
//! `cargo run --release --example http_load ADDRESS PATH BODIES CONNECTIONS WARM_SECONDS SECONDS EXPECTED`
//!
//! `BODIES` is a file of bodies, each after its length (u32, little endian), sent again and again. An answer other than 202, or without
//! the text `EXPECTED`, ends the run with exit 1. Prints one JSON object; `acknowledged` counts every body from the first request on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use memchr::memmem;

const STALLED: Duration = Duration::from_secs(30);

/// One kept connection: a request, its answer, the next request.
struct Connection {
    stream: TcpStream,
    body: usize,
    sent: usize,
    began: Instant,
    answer: Vec<u8>,
    busy: bool,
}

struct Load {
    requests: Vec<Vec<u8>>,
    next: usize,
    expected: Vec<u8>,
    acknowledged: Vec<u64>,
    latencies: Vec<Duration>,
}

impl Load {
    fn start(&mut self, connection: &mut Connection) -> io::Result<()> {
        connection.body = self.next;
        self.next = (self.next + 1) % self.requests.len();
        (connection.sent, connection.began, connection.busy) = (0, Instant::now(), true);
        self.write(connection)
    }

    fn write(&self, connection: &mut Connection) -> io::Result<()> {
        let request = &self.requests[connection.body];
        while connection.sent < request.len() {
            match connection.stream.write(&request[connection.sent..]) {
                Ok(n) => connection.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there; true when the answer is whole, and right.
    fn read(&mut self, connection: &mut Connection) -> io::Result<bool> {
        let mut piece = [0; 16384];
        match connection.stream.read(&mut piece) {
            Ok(0) => return Err(io::Error::other("the server closed the connection")),
            Ok(n) => connection.answer.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let Some(end) = memmem::find(&connection.answer, b"\r\n\r\n") else { return Ok(false) };
        let head = String::from_utf8_lossy(&connection.answer[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok());
        let length = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
        if connection.answer.len() < end + 4 + length {
            return Ok(false);
        }
        let right = head.starts_with("http/1.1 202") && memmem::find(&connection.answer[end..], &self.expected).is_some();
        if !right {
            return Err(io::Error::other(String::from_utf8_lossy(&connection.answer).into_owned()));
        }
        connection.answer.clear();
        connection.busy = false;
        self.acknowledged[connection.body] += 1;
        self.latencies.push(connection.began.elapsed());
        Ok(true)
    }

    /// Keeps every connection busy until then, and waits for the last answers.
    fn drive(&mut self, connections: &mut [Connection], until: Instant) -> io::Result<()> {
        for connection in connections.iter_mut() {
            self.start(connection)?;
        }
        while connections.iter().any(|connection| connection.busy) {
            let mut wanted: Vec<libc::pollfd> = connections.iter().map(|one| self.wanted(one)).collect();
            // SAFETY: the pointer and the length are those of `wanted`, which lives through the call.
            let ready = unsafe { libc::poll(wanted.as_mut_ptr(), wanted.len() as libc::nfds_t, STALLED.as_millis() as i32) };
            if ready <= 0 {
                return Err(io::Error::other("no answer in time"));
            }
            for (connection, found) in connections.iter_mut().zip(&wanted).filter(|(_, found)| found.revents != 0) {
                if found.revents & libc::POLLOUT != 0 {
                    self.write(connection)?;
                }
                if found.revents & !libc::POLLOUT != 0 && self.read(connection)? && Instant::now() < until {
                    self.start(connection)?;
                }
            }
        }
        Ok(())
    }

    fn wanted(&self, connection: &Connection) -> libc::pollfd {
        let unsent = connection.sent < self.requests[connection.body].len();
        let fd = if connection.busy { connection.stream.as_raw_fd() } else { -1 };
        libc::pollfd { fd, events: if unsent { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN }, revents: 0 }
    }
}

fn requests(address: &str, path: &str, file: &str) -> io::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(file)?;
    let (mut rest, mut requests) = (&bytes[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (body, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        requests.push([head.as_bytes(), body].concat());
        rest = after;
    }
    Ok(requests)
}

fn connect(address: &str) -> io::Result<Connection> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(Connection { stream, body: 0, sent: 0, began: Instant::now(), answer: Vec::new(), busy: false })
}

fn cpu_seconds() -> f64 {
    let mut spent = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spent` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut spent) };
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [address, path, bodies, connections, warm, seconds, expected] = arguments else {
        return Err("usage: http_load ADDRESS PATH BODIES CONNECTIONS WARM_SECONDS SECONDS EXPECTED".into());
    };
    let requests = requests(address, path, bodies)?;
    let acknowledged = vec![0; requests.len()];
    let mut load = Load { requests, next: 0, expected: expected.clone().into_bytes(), acknowledged, latencies: Vec::new() };
    let mut connections = (0..connections.parse()?).map(|_| connect(address)).collect::<io::Result<Vec<_>>>()?;
    load.drive(&mut connections, Instant::now() + Duration::from_secs_f64(warm.parse()?))?;
    load.latencies.clear();
    let (began, cpu) = (Instant::now(), cpu_seconds());
    load.drive(&mut connections, began + Duration::from_secs_f64(seconds.parse()?))?;
    let (spent, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    load.latencies.sort_unstable();
    let at = |share: f64| load.latencies[((load.latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        r#"{{"requests": {}, "seconds": {spent:.6}, "client_cpu_seconds": {cpu:.6}, "p50_ms": {:.3}, "p95_ms": {:.3}, "p99_ms": {:.3}, "acknowledged": {:?}}}"#,
        load.latencies.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        load.acknowledged,
    );
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
