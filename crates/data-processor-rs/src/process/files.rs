//! Files of typed formats: batch by batch, or as canonical JSON.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use data_processor_core::error::{Error, ErrorKind};
use data_processor_core::process::admit::{Format, Indexed};
use data_processor_core::process::csv::Dialect;
use data_processor_core::process::{avro, batches, parquet_input};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::Plan;
use super::events::{Events, ValidationError, errors, parsed};
use crate::errors::to_python;
use crate::rows::Rows;

/// Records of a file, judged.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct FileBatch(batches::Batch);

#[pymethods]
impl FileBatch {
    fn __len__(&self) -> usize {
        self.0.count
    }

    #[getter]
    fn rows(&self) -> Rows {
        Rows(self.0.rows.clone())
    }

    #[getter]
    fn violations(&self) -> Vec<ValidationError> {
        let refused = self.0.refused.iter();
        let found = refused.flat_map(|(at, (_, violations))| violations.iter().map(move |violation| (*at, violation)));
        errors(found.map(|(at, violation)| Indexed { index: at as usize, violation: violation.clone() }).collect())
    }

    #[getter]
    fn first(&self) -> u64 {
        self.0.first
    }

    #[getter]
    fn refused(&self) -> usize {
        self.0.refused.len()
    }
}

enum Reader {
    Avro(avro::Reader),
    Parquet(parquet_input::Reader),
}

/// Reads a file batch by batch.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct FileReader(Mutex<Reader>);

fn unknown(format: &str) -> Error {
    Error::new(ErrorKind::Format, "format.unknown", format!("unknown file format `{format}`; known: avro, parquet"))
        .hint("name one of avro, parquet")
        .text("format", format)
        .text("known", "avro, parquet")
}

#[pymethods]
impl FileReader {
    #[new]
    #[pyo3(signature = (plan, file, *, format, received_at_us, batch_size = 65536))]
    fn new(
        py: Python<'_>,
        plan: &Plan,
        file: PyBackedBytes,
        format: &str,
        received_at_us: i64,
        batch_size: usize,
    ) -> PyResult<FileReader> {
        let (plan, file) = (Arc::clone(&plan.0), Bytes::from_owner(file));
        let opened = py.detach(|| match format {
            "avro" => avro::Reader::open(plan, file, received_at_us, batch_size).map(Reader::Avro),
            "parquet" => parquet_input::Reader::open(plan, file, received_at_us, batch_size).map(Reader::Parquet),
            other => Err(unknown(other)),
        });
        opened.map(|reader| FileReader(Mutex::new(reader))).map_err(|error| to_python(py, error))
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<FileBatch>> {
        let read = py.detach(|| {
            let mut reader = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            match &mut *reader {
                Reader::Avro(reader) => reader.batch(),
                Reader::Parquet(reader) => reader.batch(),
            }
        });
        read.map(|batch| batch.map(FileBatch)).map_err(|error| to_python(py, error))
    }
}

/// The records of a file as canonical JSON.
#[pyfunction]
#[pyo3(signature = (plan, file, *, format))]
fn canonical<'py>(py: Python<'py>, plan: &Plan, file: PyBackedBytes, format: &str) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let (plan, file) = (Arc::clone(&plan.0), Bytes::from_owner(file));
    let written = py.detach(|| {
        let mut records: Vec<Vec<u8>> = Vec::new();
        let keep = |text: &[u8]| {
            records.push(text.to_vec());
            Ok(())
        };
        match format {
            "avro" => avro::canonical(&plan, &file, keep),
            "parquet" => parquet_input::canonical(&plan, file, keep),
            other => Err(unknown(other)),
        }
        .map(|()| records)
    });
    let records = written.map_err(|error| to_python(py, error))?;
    Ok(records.iter().map(|record| PyBytes::new(py, record)).collect())
}

/// Parses an Avro object container file into typed columns.
#[pyfunction]
#[pyo3(signature = (data, plan = None))]
fn parse_avro(py: Python<'_>, data: PyBackedBytes, plan: Option<&Plan>) -> PyResult<Events> {
    parsed(py, data, plan, Some(Format::Avro), &Dialect::default())
}

/// Parses a Parquet file into typed columns.
#[pyfunction]
#[pyo3(signature = (data, plan = None))]
fn parse_parquet(py: Python<'_>, data: PyBackedBytes, plan: Option<&Plan>) -> PyResult<Events> {
    parsed(py, data, plan, Some(Format::Parquet), &Dialect::default())
}

/// A writer's schema, to read single values by.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct AvroSchema {
    plan: Arc<data_processor_core::contract::Plan>,
    schema: avro::Schema,
}

#[pymethods]
impl AvroSchema {
    #[new]
    fn new(py: Python<'_>, plan: &Plan, text: &str) -> PyResult<AvroSchema> {
        let schema = avro::Schema::parse(text.as_bytes()).map_err(|error| to_python(py, error))?;
        Ok(AvroSchema { plan: Arc::clone(&plan.0), schema })
    }

    fn canonical<'py>(&self, py: Python<'py>, values: Vec<PyBackedBytes>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let written: Vec<_> =
            py.detach(|| values.iter().map(|value| avro::canonical_value(&self.plan, &self.schema, value)).collect());
        let each = written.into_iter().map(|text| match text {
            Ok(text) => Ok(PyBytes::new(py, &text).into_any()),
            Err(fault) => Ok(fault.words().into_pyobject(py)?.into_any()),
        });
        each.collect()
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FileBatch>()?;
    module.add_class::<FileReader>()?;
    module.add_class::<AvroSchema>()?;
    module.add_function(wrap_pyfunction!(parse_avro, module)?)?;
    module.add_function(wrap_pyfunction!(parse_parquet, module)?)?;
    module.add_function(wrap_pyfunction!(canonical, module)?)
}
