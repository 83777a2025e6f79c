//! Large files on their way to the disk, or out of memory, bit by bit: what others sync meanwhile waits for a bit, not for all of it.
//!
//! Only takes load off what SQLite does afterwards in one go; where nothing can be done here, that does it all.

use std::path::Path;

/// Writes what the system holds of an open file; with some time for others between the bits unless it is urgent.
pub(crate) fn write_back(path: &Path, urgent: bool) {
    #[cfg(target_os = "linux")]
    linux::by_bits(path, urgent, |descriptor, at, bytes| {
        // SAFETY: no memory is handed over.
        unsafe {
            libc::sync_file_range(descriptor, at, bytes, libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER) == 0
        }
    });
    #[cfg(not(target_os = "linux"))]
    let _ = (path, urgent);
}

/// Drops what the system holds in memory of an open file that is durable and about to be cut off.
pub(crate) fn forget(path: &Path) {
    #[cfg(target_os = "linux")]
    linux::by_bits(path, true, |descriptor, at, bytes| {
        // SAFETY: no memory is handed over.
        unsafe { libc::posix_fadvise(descriptor, at, bytes, libc::POSIX_FADV_DONTNEED) == 0 }
    });
    #[cfg(not(target_os = "linux"))]
    let _ = path;
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::RawFd;
    use std::path::Path;
    use std::time::{Duration, Instant};

    const BIT: i64 = 1 << 20;
    const LONGEST_PAUSE: Duration = Duration::from_millis(20);

    pub fn by_bits(path: &Path, urgent: bool, act: impl Fn(RawFd, i64, i64) -> bool) {
        let (Some(descriptor), Ok(facts)) = (descriptor(path), std::fs::metadata(path)) else { return };
        for at in (0..facts.len() as i64).step_by(BIT as usize) {
            let began = Instant::now();
            // Should its holder have closed the descriptor meanwhile, this fails, or does another file a harmless turn.
            if !act(descriptor, at, BIT) {
                return;
            }
            if !urgent {
                std::thread::sleep((began.elapsed() / 2).min(LONGEST_PAUSE));
            }
        }
    }

    /// A descriptor of this process, whoever holds it: to open one, and close it, would drop SQLite's locks on the file.
    fn descriptor(path: &Path) -> Option<RawFd> {
        let path = path.canonicalize().ok()?;
        let open = std::fs::read_dir("/proc/self/fd").ok()?.flatten();
        open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == path))
            .find_map(|entry| entry.file_name().to_str()?.parse().ok())
    }
}
