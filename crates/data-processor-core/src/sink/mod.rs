//! Parquet files for Iceberg: written with field ids and full metrics, read back without trust.

pub mod align;
pub mod bounds;
mod calendar;
pub mod encode;
mod file;
mod footer;
pub mod leaf;
pub mod place;
pub mod read;
pub mod schema;
mod table;

pub use read::read;
pub use table::{BUFFER_BYTES, Codec, DataFile, TableWriter, WriteOptions};

use crate::error::{Error, ErrorKind};

/// An error of the file system, with what was being done.
pub(crate) fn io_error(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Error {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull => "parquet.no_space",
        std::io::ErrorKind::NotFound => "parquet.not_found",
        std::io::ErrorKind::AlreadyExists => "parquet.exists",
        _ => "parquet.io",
    };
    Error::new(ErrorKind::Parquet, code, format!("{doing} {} failed: {error}", path.display()))
        .text("path", path.display().to_string())
        .int("errno", error.raw_os_error().unwrap_or_default())
}

/// An error of the Parquet crate about one file.
pub(crate) fn parquet_error(path: &std::path::Path, error: &parquet::errors::ParquetError) -> Error {
    if let parquet::errors::ParquetError::External(inner) = error
        && let Some(inner) = inner.downcast_ref::<std::io::Error>()
    {
        return io_error("access to", path, inner);
    }
    Error::new(ErrorKind::Parquet, "parquet.invalid_file", format!("{}: {error}", path.display()))
        .text("path", path.display().to_string())
}
