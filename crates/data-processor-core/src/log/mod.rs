//! The embedded log: SQLite segments, one writer thread, group commit.
