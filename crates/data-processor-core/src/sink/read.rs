//! Reading Parquet files of any origin: a broken one is an error with its reason, never a crash.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{io_error, parquet_error};
use crate::error::{Error, ErrorKind, Result};

/// Rows decoded at once.
const STEP_ROWS: usize = 65_536;

/// Reads one file into one batch; `columns` are names, dotted when nested, None means all.
pub fn read(path: &Path, columns: Option<&[String]>) -> Result<RecordBatch> {
    let file = File::open(path).map_err(|e| io_error("opening", path, &e))?;
    // The Parquet crate checks most of what a file claims, but some broken files still end in a panic inside it.
    catch_unwind(AssertUnwindSafe(|| decode(path, file, columns))).unwrap_or_else(|_| {
        let message = format!("{}: its pages contradict its footer", path.display());
        Err(Error::new(ErrorKind::Parquet, "parquet.invalid_file", message).text("path", path.display().to_string()))
    })
}

fn decode(path: &Path, file: File, columns: Option<&[String]>) -> Result<RecordBatch> {
    let broken = |e| parquet_error(path, &e);
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(broken)?.with_batch_size(STEP_ROWS);
    if let Some(names) = columns {
        let descriptor = builder.parquet_schema();
        for name in names {
            let inside =
                |path: String| path == *name || path.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'));
            if !descriptor.columns().iter().any(|column| inside(column.path().string())) {
                let known: Vec<_> = descriptor.root_schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
                return Err(Error::new(
                    ErrorKind::Parquet,
                    "parquet.unknown_column",
                    format!("{} has no column {name:?}", path.display()),
                )
                .hint(format!("the columns are {}", known.join(", ")))
                .text("column", name.as_str()));
            }
        }
        let mask = ProjectionMask::columns(descriptor, names.iter().map(String::as_str));
        builder = builder.with_projection(mask);
    }
    let reader = builder.build().map_err(broken)?;
    let schema = arrow_array::RecordBatchReader::schema(&reader);
    let wrong = |e: arrow_schema::ArrowError| {
        Error::new(ErrorKind::Parquet, "parquet.invalid_file", format!("{}: {e}", path.display()))
            .text("path", path.display().to_string())
    };
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>().map_err(wrong)?;
    concat_batches(&schema, &batches).map_err(wrong)
}
