//! Finished appends, waiting for an event loop that a socket wakes: no lock of the interpreter in the writer thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use super::writer::Outcome;

pub(crate) struct Completions {
    finished: Mutex<Vec<(u64, Outcome)>>,
    ear: UnixStream,
    mouth: UnixStream,
}

impl Completions {
    pub fn new() -> io::Result<Self> {
        let (ear, mouth) = UnixStream::pair()?;
        ear.set_nonblocking(true)?;
        mouth.set_nonblocking(true)?;
        Ok(Completions { finished: Mutex::new(Vec::new()), ear, mouth })
    }

    pub fn fileno(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    pub fn add(&self, ticket: u64, outcome: Outcome) {
        let mut finished = self.finished.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let wake = finished.is_empty();
        finished.push((ticket, outcome));
        drop(finished);
        if wake {
            // A full socket already says what there is to say.
            let _ = (&self.mouth).write(&[1]);
        }
    }

    pub fn take(&self) -> Vec<(u64, Outcome)> {
        let mut bytes = [0; 64];
        while (&self.ear).read(&mut bytes).is_ok_and(|n| n == bytes.len()) {}
        std::mem::take(&mut *self.finished.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}
