//! The directory of a topic: identity, lock, segment files, the last acknowledged offset.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::fault;
use crate::error::{Error, ErrorKind, Result};

const IDENTITY: &str = "log.json";
const LOCK: &str = "lock";
const ACKNOWLEDGED: &str = "acknowledged";
const CLOSED: &str = "closed";

/// Device and inode of a file: tells a file from another one put in its place.
pub(crate) type Inode = (u64, u64);

pub(crate) fn inode(path: &Path) -> io::Result<Inode> {
    fs::metadata(path).map(|facts| (facts.dev(), facts.ino()))
}

/// A topic's directory, with the identity it had when it was opened.
pub(crate) struct Directory {
    pub path: PathBuf,
    pub log_id: String,
    identity: Inode,
}

/// The lock of a topic, one open file per holder.
pub(crate) struct Lock(File);

/// Holds the lock until it is dropped.
pub(crate) struct Locked<'a>(&'a File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl Lock {
    /// Blocks until no other thread or process appends, rolls or unlinks.
    pub fn acquire(&self, directory: &Directory) -> Result<Locked<'_>> {
        loop {
            match self.0.lock() {
                Ok(()) => return Ok(Locked(&self.0)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault::io(&error, &directory.path)),
            }
        }
    }
}

impl Directory {
    /// Opens a topic's directory; makes it, and the log's identity in it, when there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = || -> io::Result<Directory> {
            create_directories(path)?;
            if !path.join(IDENTITY).exists() {
                create_identity(path)?;
            }
            // Another process may have made it a moment ago and not have synced the name yet.
            sync_directory(path)?;
            let (log_id, identity) = read_identity(path)?;
            Ok(Directory { path: path.to_path_buf(), log_id, identity })
        };
        opened().map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => fault::checksum(&path.join(IDENTITY), -1, error),
            _ => fault::io(&error, path),
        })
    }

    /// Refuses when another log was put in this one's place.
    pub fn still_ours(&self) -> Result<()> {
        if inode(&self.path.join(IDENTITY)).is_ok_and(|found| found == self.identity) {
            return Ok(());
        }
        match read_identity(&self.path) {
            Ok((found, _)) if found == self.log_id => Ok(()),
            Ok((found, _)) => Err(fault::recreated(&self.path, &self.log_id, &found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(fault::recreated(&self.path, &self.log_id, "nothing")),
            Err(error) => Err(fault::io(&error, &self.path)),
        }
    }

    /// Refuses when the log takes no more records. The caller holds the lock.
    pub fn takes_records(&self) -> Result<()> {
        match self.path.join(CLOSED).try_exists() {
            Ok(false) => Ok(()),
            Ok(true) => Err(fault::sealed(&self.path)),
            Err(error) => Err(fault::io(&error, &self.path)),
        }
    }

    /// Takes no more records from now on, whoever appends. The caller holds the lock.
    pub fn close(&self) -> Result<()> {
        let closed = || -> io::Result<()> {
            File::create(self.path.join(CLOSED))?.sync_all()?;
            self.sync()
        };
        closed().map_err(|error| fault::io(&error, &self.path))
    }

    pub fn lock(&self) -> Result<Lock> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.path.join(LOCK));
        file.map(Lock).map_err(|error| fault::io(&error, &self.path))
    }

    pub fn segment(&self, base: i64) -> PathBuf {
        self.path.join(format!("seg-{base:020}.db"))
    }

    /// Base offsets of the segments, ascending.
    pub fn bases(&self) -> Result<Vec<i64>> {
        let names = self.names().map_err(|error| fault::io(&error, &self.path))?;
        let mut bases: Vec<i64> = names.iter().filter_map(|name| base_of(name.strip_suffix(".db")?)).collect();
        bases.sort_unstable();
        Ok(bases)
    }

    pub fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    pub fn sync(&self) -> io::Result<()> {
        sync_directory(&self.path)
    }

    /// The last offset that was ever acknowledged, -1 when none is known.
    ///
    /// It is written after the fsync and not synced itself: it may lag, never lead. It tells a tail that was lost
    /// from one that was never acknowledged.
    pub fn acknowledged(&self) -> i64 {
        let Ok(file) = File::open(self.path.join(ACKNOWLEDGED)) else { return -1 };
        // A reader may meet the writer in the middle of sixteen bytes; the next look is whole.
        (0..3).find_map(|_| parse_acknowledged(&file)).unwrap_or(-1)
    }

    pub fn acknowledged_file(&self) -> Result<File> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.path.join(ACKNOWLEDGED));
        file.map_err(|error| fault::io(&error, &self.path))
    }

    /// Refuses when writing `bytes` would leave less than the floor.
    pub fn check_floor(&self, bytes: u64, min_free_bytes: Option<u64>) -> Result<()> {
        let (free, total) = space(&self.path).map_err(|error| fault::io(&error, &self.path))?;
        let floor = min_free_bytes.unwrap_or_else(|| (total / 20).min(1 << 30));
        if free >= floor.saturating_add(bytes) {
            return Ok(());
        }
        let said = format!("the disk has {free} bytes free and keeps {floor}");
        Err(fault::disk_full(&self.path, said).int("free_bytes", free).int("min_free_bytes", floor).int("bytes", bytes))
    }
}

/// Writes the acknowledged end: best effort, since records are durable without it.
pub(crate) fn acknowledge(file: &File, end: i64) {
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&end.to_le_bytes());
    let check = crc32c::crc32c(&bytes[..8]);
    bytes[8..12].copy_from_slice(&check.to_le_bytes());
    let _ = file.write_all_at(&bytes, 0);
}

fn parse_acknowledged(file: &File) -> Option<i64> {
    let mut bytes = [0u8; 16];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (end, check) = (bytes[..8].try_into().ok()?, bytes[8..12].try_into().ok()?);
    (crc32c::crc32c(&bytes[..8]) == u32::from_le_bytes(check)).then(|| i64::from_le_bytes(end))
}

/// `seg-00000000000000000042` → 42.
pub(crate) fn base_of(stem: &str) -> Option<i64> {
    let digits = stem.strip_prefix("seg-")?;
    if digits.len() == 20 { digits.parse().ok() } else { None }
}

fn create_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_directories(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

fn create_identity(directory: &Path) -> io::Result<()> {
    let log_id = random_uuid()?;
    let draft = directory.join(format!("{IDENTITY}.{log_id}"));
    let mut file = OpenOptions::new().create_new(true).write(true).open(&draft)?;
    file.write_all(serde_json::json!({"log_id": log_id, "format": 1}).to_string().as_bytes())?;
    file.sync_all()?;
    // A link refuses to replace what another process made meanwhile: the first one wins.
    let linked = fs::hard_link(&draft, directory.join(IDENTITY));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn read_identity(directory: &Path) -> io::Result<(String, Inode)> {
    let mut file = File::open(directory.join(IDENTITY))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let facts = file.metadata()?;
    let identity: serde_json::Value = serde_json::from_str(&text)?;
    match (identity["log_id"].as_str(), identity["format"].as_i64()) {
        (Some(log_id), Some(1)) => Ok((log_id.to_owned(), (facts.dev(), facts.ino()))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no log_id, or a format this version does not know")),
    }
}

fn random_uuid() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Bytes that may still be written below a path, and the size of its file system.
fn space(path: &Path) -> io::Result<(u64, u64)> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut facts = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in NUL and `facts` has room for the struct the call fills.
    if unsafe { libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the struct.
    let facts = unsafe { facts.assume_init() };
    #[allow(clippy::unnecessary_cast)] // 32 bits wide on some systems
    let (free, total, unit) = (facts.f_bavail as u64, facts.f_blocks as u64, facts.f_frsize as u64);
    Ok((free.saturating_mul(unit), total.saturating_mul(unit)))
}

/// What a closed writer or reader answers.
pub(crate) fn closed(path: &Path) -> Error {
    Error::new(ErrorKind::LogUnavailable, "log.closed", "the log was closed")
        .hint("open it again")
        .text("path", path.display().to_string())
}
