//! Bindings of `data_processor_core::sink` and of deduplication.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatchReader;
use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use arrow_schema::ArrowError;
use data_processor_core::error::{Error, ErrorKind};
use data_processor_core::process::dedupe::{self, Distinct};
use data_processor_core::sink::schema::IcebergSchema;
use data_processor_core::sink::{BUFFER_BYTES, Codec, DataFile, TableWriter, WriteOptions};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict, PyIterator, PyList};

use crate::errors::to_python;
use crate::rows::{Column, DistinctRows, Rows, import, import_distinct};

/// Batches to write: one, or several pulled while writing.
enum Input {
    One(Distinct),
    Stream(RecordBatchStreamReader),
    /// A Python iterator; its batches may lay out one column in different ways (text plain or as codes).
    Many(Py<PyIterator>),
}

impl Input {
    fn of(source: &Bound<'_, PyAny>) -> PyResult<Input> {
        if source.hasattr("__arrow_c_array__")? {
            return import_distinct(source).map(Input::One);
        }
        if !source.hasattr("__arrow_c_stream__")? {
            return match source.try_iter() {
                Ok(batches) => Ok(Input::Many(batches.unbind())),
                Err(_) => import_distinct(source).map(Input::One), // says what was expected
            };
        }
        let capsule: Bound<'_, PyCapsule> = source.call_method0("__arrow_c_stream__")?.extract()?;
        let stream = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
        // SAFETY: the capsule's name says that it holds this C struct, and the capsule is alive; the stream is moved out
        // and a released one left behind, as the PyCapsule protocol asks of a consumer.
        let stream = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr()) };
        RecordBatchStreamReader::try_new(stream).map(Input::Stream).map_err(|e| to_python(source.py(), stream_failed(&e)))
    }

    /// Runs without the GIL but for pulling from an iterator.
    fn write(self, mut writer: TableWriter) -> Result<Vec<DataFile>, Failed> {
        match self {
            Input::One(rows) => writer.write_but(rows.rows(), rows.repeats())?,
            Input::Stream(batches) => {
                for rows in batches {
                    writer.write(&rows.map_err(|e| stream_failed(&e))?)?;
                }
            }
            Input::Many(batches) => {
                let next = |py: Python<'_>| batches.bind(py).clone().next().map(|rows| import_distinct(&rows?)).transpose();
                while let Some(rows) = Python::attach(next)? {
                    writer.write_but(rows.rows(), rows.repeats())?;
                }
            }
        }
        Ok(writer.finish()?)
    }
}

/// What can end a write: the kernel, or the Python code that makes the rows.
enum Failed {
    Kernel(Error),
    Source(PyErr),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Kernel(error)
    }
}

impl From<PyErr> for Failed {
    fn from(error: PyErr) -> Failed {
        Failed::Source(error)
    }
}

fn stream_failed(error: &ArrowError) -> Error {
    Error::new(ErrorKind::Parquet, "parquet.rows", format!("the stream of rows broke off: {error}"))
}

fn by_id<'py, V>(
    py: Python<'py>,
    entries: &BTreeMap<i32, V>,
    value: impl Fn(&V) -> Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    entries.iter().try_for_each(|(id, entry)| dict.set_item(id, value(entry)))?;
    Ok(dict)
}

/// A written file as the dict that commits take.
pub fn described<'py>(py: Python<'py>, file: &DataFile) -> PyResult<Bound<'py, PyDict>> {
    let count = |count: &u64| count.into_pyobject(py).map(Bound::into_any).unwrap_or_else(|never| match never {});
    let bytes = |bytes: &Vec<u8>| PyBytes::new(py, bytes).into_any();
    let dict = PyDict::new(py);
    dict.set_item("path", file.path.to_string_lossy())?;
    dict.set_item("partition", file.partition)?;
    dict.set_item("record_count", file.record_count)?;
    dict.set_item("file_size_in_bytes", file.file_size_in_bytes)?;
    dict.set_item("column_sizes", by_id(py, &file.column_sizes, count)?)?;
    dict.set_item("value_counts", by_id(py, &file.value_counts, count)?)?;
    dict.set_item("null_value_counts", by_id(py, &file.null_value_counts, count)?)?;
    dict.set_item("nan_value_counts", by_id(py, &file.nan_value_counts, count)?)?;
    dict.set_item("lower_bounds", by_id(py, &file.lower_bounds, bytes)?)?;
    dict.set_item("upper_bounds", by_id(py, &file.upper_bounds, bytes)?)?;
    dict.set_item("split_offsets", &file.split_offsets)?;
    Ok(dict)
}

fn write<'py>(py: Python<'py>, input: Input, schema: IcebergSchema, options: WriteOptions) -> PyResult<Bound<'py, PyList>> {
    let written = py.detach(|| input.write(TableWriter::new(schema, options)?)).map_err(|failed| match failed {
        Failed::Kernel(error) => to_python(py, error),
        Failed::Source(error) => error,
    })?;
    PyList::new(py, written.iter().map(|file| described(py, file)).collect::<PyResult<Vec<_>>>()?)
}

#[pyfunction]
#[pyo3(signature = (rows, location, *, schema_json, partition_field=None, file_prefix="", compression="zstd", compression_level=1, target_bytes=134_217_728, durable=true))]
#[allow(clippy::too_many_arguments)]
fn write_iceberg_parquet<'py>(
    py: Python<'py>,
    rows: &Bound<'py, PyAny>,
    location: PathBuf,
    schema_json: &str,
    partition_field: Option<String>,
    file_prefix: &str,
    compression: &str,
    compression_level: i32,
    target_bytes: u64,
    durable: bool,
) -> PyResult<Bound<'py, PyList>> {
    let codec = Codec::named(compression, compression_level).map_err(|e| to_python(py, e))?;
    let schema = IcebergSchema::from_json(schema_json).map_err(|e| to_python(py, e))?;
    let options = WriteOptions {
        location,
        partition: partition_field,
        prefix: file_prefix.to_owned(),
        codec,
        target_bytes,
        durable,
        buffer_bytes: BUFFER_BYTES,
    };
    write(py, Input::of(rows)?, schema, options)
}

#[pyfunction]
#[pyo3(signature = (events, table_path, *, plan=None))]
fn write_iceberg<'py>(
    py: Python<'py>,
    events: &Bound<'py, PyAny>,
    table_path: PathBuf,
    plan: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let _ = plan; // the rows carry their own types
    let input = Input::of(events)?;
    let schema = match &input {
        Input::One(rows) => rows.rows().schema(),
        Input::Stream(batches) => batches.schema(),
        Input::Many(_) => return Err(PyTypeError::new_err("expected events, Arrow rows or an Arrow stream")),
    };
    let schema = IcebergSchema::of_arrow(&schema).map_err(|e| to_python(py, e))?;
    let options = WriteOptions {
        location: table_path,
        partition: schema.day_column().map(str::to_owned),
        prefix: format!("{:016x}-", dedupe::random()),
        codec: Codec::Zstd(1),
        target_bytes: 128 << 20,
        durable: true,
        buffer_bytes: BUFFER_BYTES,
    };
    write(py, input, schema, options)
}

#[pyfunction]
#[pyo3(signature = (path, *, columns=None))]
fn read_iceberg_parquet(py: Python<'_>, path: PathBuf, columns: Option<Vec<String>>) -> PyResult<Rows> {
    let read = |path: &Path| data_processor_core::sink::read(path, columns.as_deref());
    py.detach(|| read(&path)).map(Rows).map_err(|e| to_python(py, e))
}

#[pyfunction]
fn deduplicate(py: Python<'_>, rows: &Bound<'_, PyAny>, key: Vec<String>) -> PyResult<DistinctRows> {
    let rows = import(rows)?;
    py.detach(|| dedupe::deduplicate(&rows, &key)).map(DistinctRows).map_err(|e| to_python(py, e))
}

#[pyfunction]
fn equal_rows(py: Python<'_>, left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>, columns: Vec<String>) -> PyResult<Column> {
    let (left, right) = (import(left)?, import(right)?);
    let equal = py.detach(|| dedupe::equal_rows(&left, &right, &columns)).map_err(|e| to_python(py, e))?;
    Ok(Column(Arc::new(equal)))
}

/// Keys seen, each with a caller's tag.
#[pyclass(frozen, module = "data_processor_rs")]
struct KeyCache(Mutex<dedupe::KeyCache>);

impl KeyCache {
    /// A panic while the lock was held leaves a cache that is still one: entries are whole.
    fn lock(&self) -> MutexGuard<'_, dedupe::KeyCache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl KeyCache {
    #[new]
    fn new() -> KeyCache {
        KeyCache(Mutex::new(dedupe::KeyCache::new()))
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().len())
    }

    #[getter]
    fn size_bytes(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().size_bytes())
    }

    fn add(&self, py: Python<'_>, rows: &Bound<'_, PyAny>, key: Vec<String>, tag: i64) -> PyResult<()> {
        let rows = import(rows)?;
        py.detach(|| self.lock().add(&rows, &key, tag)).map_err(|e| to_python(py, e))
    }

    fn fresh(&self, py: Python<'_>, rows: &Bound<'_, PyAny>, key: Vec<String>, tag: i64) -> PyResult<DistinctRows> {
        let rows = import(rows)?;
        py.detach(|| self.lock().fresh(&rows, &key, tag)).map(DistinctRows).map_err(|e| to_python(py, e))
    }

    fn retain(&self, py: Python<'_>, tags: Vec<i64>) {
        py.detach(|| self.lock().retain(&tags));
    }

    fn probe(&self, py: Python<'_>, rows: &Bound<'_, PyAny>, key: Vec<String>) -> PyResult<(Column, Column)> {
        let rows = import(rows)?;
        let (first, tags) = py.detach(|| self.lock().probe(&rows, &key)).map_err(|e| to_python(py, e))?;
        Ok((Column(Arc::new(first)), Column(Arc::new(tags))))
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<KeyCache>()?;
    module.add_function(wrap_pyfunction!(write_iceberg_parquet, module)?)?;
    module.add_function(wrap_pyfunction!(write_iceberg, module)?)?;
    module.add_function(wrap_pyfunction!(read_iceberg_parquet, module)?)?;
    module.add_function(wrap_pyfunction!(deduplicate, module)?)?;
    module.add_function(wrap_pyfunction!(equal_rows, module)?)
}
