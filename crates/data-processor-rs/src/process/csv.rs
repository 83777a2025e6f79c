//! Dialects of CSV, and the CSV name of parsing.

use data_processor_core::process::admit::Format;
use data_processor_core::process::csv::Dialect;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use super::Plan;
use super::events::{Events, parsed};
use crate::errors::to_python;

/// How a CSV text is spelled.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct CsvDialect(pub Dialect);

#[pymethods]
impl CsvDialect {
    #[new]
    #[pyo3(signature = (*, delimiter = ",", quote = "\"", header = true, columns = None, nulls = vec![]))]
    fn new(
        py: Python<'_>,
        delimiter: &str,
        quote: &str,
        header: bool,
        columns: Option<Vec<String>>,
        nulls: Vec<String>,
    ) -> PyResult<CsvDialect> {
        Dialect::new(delimiter, quote, header, columns, nulls).map(CsvDialect).map_err(|error| to_python(py, error))
    }
}

/// The dialect given, or RFC 4180 with a header.
pub fn dialect_of(given: Option<&CsvDialect>) -> Dialect {
    given.map_or_else(Dialect::default, |given| given.0.clone())
}

/// Parses rows of cells into typed columns.
#[pyfunction]
#[pyo3(signature = (data, plan = None, *, dialect = None))]
pub fn parse_csv(py: Python<'_>, data: PyBackedBytes, plan: Option<&Plan>, dialect: Option<&CsvDialect>) -> PyResult<Events> {
    parsed(py, data, plan, Some(Format::Csv), &dialect_of(dialect))
}
