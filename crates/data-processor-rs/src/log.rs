//! Bindings of `data_processor_core::log`.

use std::os::fd::RawFd;
use std::path::PathBuf;

use data_processor_core::log::{Appended, Encoded, Encoder, Idempotency, Options, Reader, RecordRef, Writer, spell_check};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::errors::to_python;
use crate::process::Admission;
use crate::rows::Rows;

/// One topic's writer: one thread, group commit; acknowledged means fsynced. Several processes may append.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct EmbeddedLogWriter(Writer);

type Facts<'py> = (i64, i64, String, i64, Bound<'py, PyBytes>, bool);

#[pymethods]
impl EmbeddedLogWriter {
    #[new]
    #[pyo3(signature = (directory, *, segment_bytes=67_108_864, queue_bytes=268_435_456, group_bytes=8_388_608, min_free_bytes=None))]
    fn new(
        py: Python<'_>,
        directory: PathBuf,
        segment_bytes: u64,
        queue_bytes: usize,
        group_bytes: usize,
        min_free_bytes: Option<u64>,
    ) -> PyResult<Self> {
        let options = Options { segment_bytes, queue_bytes, group_bytes, min_free_bytes };
        let opened = py.detach(|| Writer::open(&directory, options));
        opened.map(EmbeddedLogWriter).map_err(|error| to_python(py, error))
    }

    #[getter]
    fn log_id(&self) -> &str {
        self.0.log_id()
    }

    /// (first, last, check, request, receipt, repeated); blocks until durable, GIL released.
    #[pyo3(signature = (records, *, request, received_at_us, format="json", idempotency=None))]
    fn append<'py>(
        &self,
        records: &Bound<'py, PyAny>,
        request: i64,
        received_at_us: i64,
        format: &str,
        idempotency: Option<(String, Vec<u8>, Vec<u8>)>,
    ) -> PyResult<Facts<'py>> {
        let py = records.py();
        let encoded = encode(records, request, received_at_us, format)?;
        let appended = py.detach(|| self.0.append(encoded, idempotency.map(key)));
        appended.map(|appended| facts(py, appended)).map_err(|error| to_python(py, error))
    }

    /// Queue an append; its ticket.
    #[pyo3(signature = (records, *, request, received_at_us, format="json", idempotency=None))]
    fn submit(
        &self,
        records: &Bound<'_, PyAny>,
        request: i64,
        received_at_us: i64,
        format: &str,
        idempotency: Option<(String, Vec<u8>, Vec<u8>)>,
    ) -> PyResult<u64> {
        let py = records.py();
        let encoded = encode(records, request, received_at_us, format)?;
        py.detach(|| self.0.submit(encoded, idempotency.map(key))).map_err(|error| to_python(py, error))
    }

    fn fileno(&self) -> RawFd {
        self.0.fileno()
    }

    fn completed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let outcomes = PyList::empty(py);
        for (ticket, outcome) in self.0.completed() {
            let outcome = match outcome {
                Ok(appended) => facts(py, appended).into_pyobject(py)?.into_any(),
                Err(error) => to_python(py, error).into_value(py).into_bound(py).into_any(),
            };
            outcomes.append(PyTuple::new(py, [ticket.into_pyobject(py)?.into_any(), outcome])?)?;
        }
        Ok(outcomes)
    }

    fn roll(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.roll()).map_err(|error| to_python(py, error))
    }

    fn seal(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.seal()).map_err(|error| to_python(py, error))
    }

    fn unlink(&self, py: Python<'_>, through: i64) -> PyResult<usize> {
        py.detach(|| self.0.unlink(through)).map_err(|error| to_python(py, error))
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

fn key((key, body, receipt): (String, Vec<u8>, Vec<u8>)) -> Idempotency {
    Idempotency { key, body, receipt }
}

fn facts(py: Python<'_>, appended: Appended) -> Facts<'_> {
    let Appended { first, last, check, request, receipt, repeated } = appended;
    (first, last, spell_check(check), request, PyBytes::new(py, &receipt), repeated)
}

/// Lays records out for the log: an admitted body, which is not copied, or tuples of value, key and line.
fn encode(records: &Bound<'_, PyAny>, request: i64, received_at_us: i64, format: &str) -> PyResult<Encoded> {
    if let Ok(admission) = records.cast::<Admission>() {
        let data_processor_core::process::admit::Admission { body, ranges, lines, .. } = &admission.get().0;
        return Ok(Encoded::of_body(request, received_at_us, format, body, ranges, lines.as_deref()));
    }
    let mut encoder = Encoder::new(request, received_at_us, format);
    for record in records.try_iter()? {
        let (value, key, line): (Option<Bound<'_, PyBytes>>, Option<Bound<'_, PyBytes>>, Option<u64>) = record?.extract()?;
        let (value, key) = (value.as_ref().map(|bytes| bytes.as_bytes()), key.as_ref().map(|bytes| bytes.as_bytes()));
        encoder.push(RecordRef { value, key, line });
    }
    Ok(encoder.finish())
}

/// Reads one topic, read-only, from any process.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct EmbeddedLogReader(Reader);

#[pymethods]
impl EmbeddedLogReader {
    #[new]
    fn new(py: Python<'_>, directory: PathBuf) -> PyResult<Self> {
        py.detach(|| Reader::open(&directory)).map(EmbeddedLogReader).map_err(|error| to_python(py, error))
    }

    #[getter]
    fn log_id(&self) -> &str {
        self.0.log_id()
    }

    #[pyo3(signature = (after, limit, max_bytes=268_435_456))]
    fn read(&self, py: Python<'_>, after: i64, limit: usize, max_bytes: usize) -> PyResult<Option<Rows>> {
        Ok(self.resume(py, after, None, limit, max_bytes)?.map(|(rows, _)| rows))
    }

    /// As `read`, with the check of the last record; the record at `after` must have the check `check` while it is held.
    #[pyo3(signature = (after, check, limit, max_bytes=268_435_456))]
    fn resume(
        &self,
        py: Python<'_>,
        after: i64,
        check: Option<&str>,
        limit: usize,
        max_bytes: usize,
    ) -> PyResult<Option<(Rows, String)>> {
        let found = py.detach(|| self.0.read(after, check, limit, max_bytes)).map_err(|error| to_python(py, error))?;
        Ok(found.map(|(rows, check)| (Rows(rows), spell_check(check))))
    }

    fn check(&self, py: Python<'_>, offset: i64) -> PyResult<Option<String>> {
        let found = py.detach(|| self.0.check(offset)).map_err(|error| to_python(py, error))?;
        Ok(found.map(spell_check))
    }

    fn first(&self, py: Python<'_>) -> PyResult<i64> {
        py.detach(|| self.0.first()).map_err(|error| to_python(py, error))
    }

    fn end(&self, py: Python<'_>) -> PyResult<i64> {
        py.detach(|| self.0.end()).map_err(|error| to_python(py, error))
    }

    fn segments<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let segments = py.detach(|| self.0.segments()).map_err(|error| to_python(py, error))?;
        let listed = segments.into_iter().map(|segment| {
            let facts = PyDict::new(py);
            facts.set_item("first", segment.first)?;
            facts.set_item("last", segment.last)?;
            facts.set_item("sealed", segment.sealed)?;
            facts.set_item("bytes", segment.bytes)?;
            facts.set_item("path", segment.path.display().to_string())?;
            Ok(facts)
        });
        listed.collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<EmbeddedLogWriter>()?;
    module.add_class::<EmbeddedLogReader>()
}
