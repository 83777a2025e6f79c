//! Bindings of `data_processor_core::process`.

mod body;
mod csv;
pub mod events;
mod files;
mod landing;

use std::sync::Arc;

use bytes::Bytes;
use data_processor_core::contract;
use data_processor_core::process::admit::{self, Format, Indexed};
use data_processor_core::process::violation::Violation;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use self::csv::{CsvDialect, dialect_of};
use crate::errors::to_python;
use crate::rows::{Rows, import};

/// A compiled contract.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct Plan(pub Arc<contract::Plan>);

#[pymethods]
impl Plan {
    #[new]
    fn new(py: Python<'_>, plan: &str) -> PyResult<Plan> {
        contract::Plan::compile(plan).map(|plan| Plan(Arc::new(plan))).map_err(|error| to_python(py, error))
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn version(&self) -> &str {
        &self.0.version
    }

    #[getter]
    fn hash(&self) -> &str {
        &self.0.hash
    }
}

/// Judges raw records: good rows and dead rows.
#[pyfunction]
fn process(py: Python<'_>, plan: &Plan, raw: &Bound<'_, PyAny>) -> PyResult<(Rows, Rows)> {
    let raw = import(raw)?;
    let plan = Arc::clone(&plan.0);
    let judged = py.detach(|| data_processor_core::process::process(&plan, &raw));
    judged.map(|(good, dead)| (Rows(good), Rows(dead))).map_err(|error| to_python(py, error))
}

/// A body split into records, each judged.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct Admission(pub admit::Admission);

#[pymethods]
impl Admission {
    #[getter]
    fn accepted(&self) -> usize {
        self.0.accepted
    }

    #[getter]
    fn rejected(&self) -> usize {
        self.0.rejected()
    }

    #[getter]
    fn errors<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.0.errors.iter().map(|error| self.error(py, error)).collect()
    }

    #[getter]
    fn errors_total(&self) -> usize {
        self.0.errors_total
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.0.body.len()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn records<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        (0..self.0.len()).map(|index| PyBytes::new(py, self.0.record(index))).collect()
    }

    fn line(&self, index: usize) -> PyResult<Option<u64>> {
        if index < self.0.len() { Ok(self.0.line(index)) } else { Err(pyo3::exceptions::PyIndexError::new_err("no such record")) }
    }
}

impl Admission {
    /// A violation as a dict; of a CSV body with its line and the name of its column, too.
    fn error<'py>(&self, py: Python<'py>, error: &Indexed) -> PyResult<Bound<'py, PyDict>> {
        let dict = as_dict(py, error.index, &error.violation)?;
        if let Some(layout) = &self.0.layout {
            dict.set_item("line", self.0.line(error.index))?;
            dict.set_item("column", layout.column_at(&error.violation.path))?;
        }
        Ok(dict)
    }
}

/// A violation as the dict that HTTP answers show.
fn as_dict<'py>(py: Python<'py>, index: usize, violation: &Violation) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("index", index)?;
    dict.set_item("path", &violation.path)?;
    dict.set_item("code", violation.code)?;
    dict.set_item("message", &violation.message)?;
    dict.set_item("hint", &violation.hint)?;
    dict.set_item("value", json_value(py, violation.value.as_deref())?)?;
    Ok(dict)
}

/// A violation's value as JSON-ready data; what was cut, or is no finite number, stays text.
fn json_value<'py>(py: Python<'py>, text: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
    let Some(text) = text else { return Ok(py.None().into_bound(py)) };
    let shown = py.import("json")?.call_method1("loads", (text,));
    let Ok(shown) = shown else { return Ok(text.into_pyobject(py)?.into_any()) };
    // `json` reads 1e400 as infinity, which is no JSON: writing it strictly tells.
    let strict = PyDict::new(py);
    strict.set_item("allow_nan", false)?;
    let writable = py.import("json")?.call_method("dumps", (&shown,), Some(&strict)).is_ok();
    Ok(if writable { shown } else { text.into_pyobject(py)?.into_any() })
}

/// Splits a body into records and judges each.
#[pyfunction]
#[pyo3(name = "admit", signature = (plan, body, *, format, received_at_us, max_errors = 100, dialect = None))]
fn admit_body(
    py: Python<'_>,
    plan: &Plan,
    body: PyBackedBytes,
    format: &str,
    received_at_us: i64,
    max_errors: usize,
    dialect: Option<&CsvDialect>,
) -> PyResult<Admission> {
    let format = Format::parse(format).map_err(|error| to_python(py, error))?;
    let plan = Arc::clone(&plan.0);
    let body = Bytes::from_owner(body);
    let dialect = dialect_of(dialect);
    let admitted = py.detach(|| admit::admit_in(&plan, body, format, &dialect, received_at_us, max_errors));
    admitted.map(Admission).map_err(|error| to_python(py, error))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Plan>()?;
    module.add_class::<Admission>()?;
    module.add_function(wrap_pyfunction!(process, module)?)?;
    module.add_class::<body::BodyDecoder>()?;
    module.add_class::<CsvDialect>()?;
    module.add_function(wrap_pyfunction!(csv::parse_csv, module)?)?;
    module.add_class::<events::Events>()?;
    module.add_class::<events::ValidationError>()?;
    files::register(module)?;
    landing::register(module)?;
    // The founding names of the same things.
    module.add("Event", module.getattr("Events")?)?;
    module.add("TransformedEvent", module.py().get_type::<Rows>())?;
    module.add("Schema", module.getattr("Plan")?)?;
    module.add_function(wrap_pyfunction!(admit_body, module)?)?;
    module.add_function(wrap_pyfunction!(events::parse_events, module)?)?;
    module.add_function(wrap_pyfunction!(events::parse_json, module)?)?;
    module.add_function(wrap_pyfunction!(events::validate_schema, module)?)?;
    module.add_function(wrap_pyfunction!(events::transform_batch, module)?)
}
