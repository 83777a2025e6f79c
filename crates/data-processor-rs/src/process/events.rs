//! The founding interface: parse, validate, transform, each for itself.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::{Array, StructArray};
use bytes::Bytes;
use data_processor_core::contract;
use data_processor_core::process::admit::{Format, Indexed};
use data_processor_core::process::csv::Dialect;
use data_processor_core::process::events;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyTuple};

use super::csv::{CsvDialect, dialect_of};
use super::{Plan, json_value};
use crate::errors::to_python;
use crate::rows::{Rows, export};

/// Parsed records: typed columns of those that could be typed, and every violation found so far.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct Events(pub Arc<events::Events>);

#[pymethods]
impl Events {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let _ = requested_schema; // the protocol lets a producer ignore the wish
        export(py, &StructArray::from(self.0.rows.clone()) as &dyn Array)
    }

    fn line(&self, index: usize) -> PyResult<Option<u64>> {
        if index < self.0.len() { Ok(self.0.line(index)) } else { Err(PyIndexError::new_err("no such record")) }
    }

    #[getter]
    fn violations(&self) -> Vec<ValidationError> {
        errors(self.0.violations.clone())
    }

    #[getter]
    fn plan(&self) -> Plan {
        Plan(Arc::clone(&self.0.plan))
    }
}

/// One broken rule of one record. Its parts become Python's when somebody asks.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct ValidationError(Indexed);

#[pymethods]
impl ValidationError {
    #[getter]
    fn index(&self) -> usize {
        self.0.index
    }

    #[getter]
    fn path(&self) -> &str {
        &self.0.violation.path
    }

    #[getter]
    fn code(&self) -> &'static str {
        self.0.violation.code
    }

    #[getter]
    fn message(&self) -> &str {
        &self.0.violation.message
    }

    #[getter]
    fn hint(&self) -> &str {
        &self.0.violation.hint
    }

    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json_value(py, self.0.violation.value.as_deref())
    }

    /// The violation as the dict that HTTP answers show.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        super::as_dict(py, self.0.index, &self.0.violation)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let value = self.value(py)?.repr()?;
        let Indexed { index, violation } = &self.0;
        Ok(format!(
            "ValidationError(index={index}, path={:?}, code={:?}, message={:?}, value={value})",
            violation.path, violation.code, violation.message
        ))
    }
}

/// Violations for Python.
pub fn errors(found: Vec<Indexed>) -> Vec<ValidationError> {
    found.into_iter().map(ValidationError).collect()
}

fn plan_of(plan: Option<&Plan>, otherwise: impl FnOnce() -> Arc<contract::Plan>) -> Arc<contract::Plan> {
    plan.map_or_else(otherwise, |plan| Arc::clone(&plan.0))
}

/// Parses a body, typed by a plan or by the generic one.
pub fn parsed(
    py: Python<'_>,
    data: PyBackedBytes,
    plan: Option<&Plan>,
    format: Option<Format>,
    dialect: &Dialect,
) -> PyResult<Events> {
    let plan = plan_of(plan, events::generic);
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    let body = Bytes::from_owner(data);
    let parsed = py.detach(|| match format {
        None => events::parse(plan, body, None, now_us),
        Some(format) => events::parse_in(plan, body, format, dialect, now_us),
    });
    parsed.map(|events| Events(Arc::new(events))).map_err(|error| to_python(py, error))
}

/// Parses a body of a named format into typed columns.
#[pyfunction]
#[pyo3(signature = (data, plan = None, *, format = "json", dialect = None))]
pub fn parse_events(
    py: Python<'_>,
    data: PyBackedBytes,
    plan: Option<&Plan>,
    format: &str,
    dialect: Option<&CsvDialect>,
) -> PyResult<Events> {
    let format = Format::parse(format).map_err(|error| to_python(py, error))?;
    parsed(py, data, plan, Some(format), &dialect_of(dialect))
}

/// Parses an array, an object or one object per line.
#[pyfunction]
#[pyo3(signature = (data, plan = None))]
pub fn parse_json(py: Python<'_>, data: PyBackedBytes, plan: Option<&Plan>) -> PyResult<Events> {
    parsed(py, data, plan, None, &Dialect::default())
}

/// Every violation of every record, in order of records.
#[pyfunction]
#[pyo3(signature = (events, plan = None))]
pub fn validate_schema(py: Python<'_>, events: &Events, plan: Option<&Plan>) -> PyResult<Vec<ValidationError>> {
    let (events, plan) = (Arc::clone(&events.0), plan_of(plan, || Arc::clone(&events.0.plan)));
    py.detach(|| events::validate(&events, &plan)).map(errors).map_err(|error| to_python(py, error))
}

/// Valid rows with `event_date` and `event_hour`.
#[pyfunction]
#[pyo3(signature = (events, plan = None))]
pub fn transform_batch(py: Python<'_>, events: &Events, plan: Option<&Plan>) -> PyResult<Rows> {
    let (events, plan) = (Arc::clone(&events.0), plan_of(plan, || Arc::clone(&events.0.plan)));
    py.detach(|| events::transform(&events, &plan)).map(Rows).map_err(|error| to_python(py, error))
}
