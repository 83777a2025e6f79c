//! Files without a name: the disk is free again however the process ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::keys::random;
use crate::error::{Error, ErrorKind, Result};

/// A folder for files of passing use.
#[derive(Clone, Debug)]
pub struct Scratch {
    place: PathBuf,
}

impl Scratch {
    /// A folder that exists; None: the system's own for such files (`TMPDIR`).
    pub fn at(place: Option<PathBuf>) -> Scratch {
        Scratch { place: place.unwrap_or_else(std::env::temp_dir) }
    }

    /// An empty file to write and read, without a name from its first moment where the system can do that, from its second elsewhere.
    pub fn file(&self) -> Result<File> {
        unnamed(&self.place).or_else(|_| named(&self.place)).map_err(|error| self.failed("opened", &error))
    }

    /// An error of a file of this folder.
    pub fn failed(&self, step: &str, error: &io::Error) -> Error {
        let (code, hint) = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => (
                "key.scratch_full",
                "name a scratch folder on a disk with 32 bytes free per key, or give keys more memory; start again",
            ),
            _ => ("key.scratch_failed", "name a scratch folder that can be written, or give keys more memory; start again"),
        };
        let message = format!("keys that do not fit into memory: a file in {} cannot be {step}: {error}", self.place.display());
        Error::new(ErrorKind::Process, code, message).hint(hint).text("path", self.place.display().to_string())
    }

    /// The error of a file whose bytes are not those that were written.
    pub fn changed(&self) -> Error {
        let message = format!("keys in a scratch file in {} are not those that were written", self.place.display());
        Error::new(ErrorKind::Process, "key.scratch_changed", message)
            .hint("look at the disk, or name a scratch folder on another one; start again")
            .text("path", self.place.display().to_string())
    }
}

#[cfg(target_os = "linux")]
fn unnamed(place: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE | libc::O_EXCL).mode(0o600).open(place)
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A file whose name is taken away at once.
fn named(place: &Path) -> io::Result<File> {
    let path = place.join(format!("frazil-keys-{:016x}", random()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn files_have_no_name() {
        let place = tempfile::tempdir().unwrap();
        let mut files = [Scratch::at(Some(place.path().to_owned())).file().unwrap(), named(place.path()).unwrap()];
        assert!(files.iter_mut().all(|file| file.write_all(b"keys").is_ok()));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), b"").unwrap();
        for wrong in ["none", "file"] {
            let error = Scratch::at(Some(place.path().join(wrong))).file().unwrap_err();
            assert_eq!(error.code, "key.scratch_failed");
            assert!(error.message.contains(wrong) && error.hint.contains("scratch folder"));
        }
    }
}
