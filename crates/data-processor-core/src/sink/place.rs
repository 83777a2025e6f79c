//! Directories and files that survive a power cut.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use super::io_error;
use crate::error::Result;

/// Directories touched by one write; [`Places::sync`] makes their entries durable.
#[derive(Default)]
pub struct Places {
    touched: BTreeSet<PathBuf>,
}

impl Places {
    /// Creates a directory and the missing ones above it.
    pub fn directory(&mut self, path: &Path) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.directory(parent)?;
        }
        match std::fs::create_dir(path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(io_error("creating", path, &e)),
            _ => {}
        }
        // Another process may have created it a moment ago without having synced it yet: its entry is synced in either case.
        self.touched.insert(path.to_owned());
        self.touched.insert(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned());
        Ok(())
    }

    /// Creates a new file; never opens one that is there.
    pub fn file(&mut self, path: &Path) -> Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| io_error("creating", path, &e))?;
        self.touched.insert(path.parent().unwrap_or(Path::new(".")).to_owned());
        Ok(file)
    }

    /// fsync of every directory that got an entry.
    pub fn sync(&mut self) -> Result<()> {
        for directory in std::mem::take(&mut self.touched) {
            let synced = File::open(&directory).and_then(|opened| opened.sync_all());
            synced.map_err(|e| io_error("syncing", &directory, &e))?;
        }
        Ok(())
    }
}
