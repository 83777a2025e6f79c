//! Bindings of `data_processor_core::window`.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use data_processor_core::window::reader::Counted;
use data_processor_core::window::store::{Change, WindowStore as Store};
use data_processor_core::window::{WindowReader as Reader, WindowSpec};
use pyo3::prelude::*;

use crate::errors::to_python;
use crate::rows::{Rows, import};

/// State, position and keys of a contract's live windows, open for writing.
#[pyclass(frozen, module = "data_processor_rs")]
struct WindowStore(Mutex<Store>);

impl WindowStore {
    /// A panic while the lock was held rolled its transaction back.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl WindowStore {
    #[new]
    #[pyo3(signature = (path, windows, *, key, content, most_bytes=67_108_864))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        windows: &str,
        key: Vec<String>,
        content: Vec<String>,
        most_bytes: usize,
    ) -> PyResult<Self> {
        let open = || Store::open(&path, WindowSpec::parse(windows)?, key, content, most_bytes);
        py.detach(open).map(|store| WindowStore(Mutex::new(store))).map_err(|e| to_python(py, e))
    }

    fn head(&self, py: Python<'_>) -> PyResult<(i64, String, String)> {
        let head = py.detach(|| self.lock().head()).map_err(|e| to_python(py, e))?;
        Ok((head.sequence, head.position, head.totals))
    }

    fn seen(&self, py: Python<'_>, rows: &Bound<'_, PyAny>, events: &Bound<'_, PyAny>) -> PyResult<Rows> {
        let (rows, events) = (import(rows)?, import(events)?);
        py.detach(|| self.lock().seen(&rows, &events)).map(Rows).map_err(|e| to_python(py, e))
    }

    fn landed(&self, py: Python<'_>, log: &str, partition: &str, offset: i64) -> PyResult<bool> {
        py.detach(|| self.lock().landed(log, partition, offset)).map_err(|e| to_python(py, e))
    }

    fn memory(&self) -> (usize, usize, u64) {
        let memory = self.lock().memory();
        (memory.held, memory.peak, memory.spilled)
    }

    #[pyo3(signature = (rows, events, *, head, position, totals, replay, now_us))]
    #[allow(clippy::too_many_arguments)]
    fn append(
        &self,
        py: Python<'_>,
        rows: &Bound<'_, PyAny>,
        events: &Bound<'_, PyAny>,
        head: i64,
        position: &str,
        totals: &str,
        replay: Option<&str>,
        now_us: i64,
    ) -> PyResult<(i64, u64, u64)> {
        let (rows, events) = (import(rows)?, import(events)?);
        let change = Change { head, position, totals, replay, now_us };
        let done = py.detach(|| self.lock().append(&rows, &events, &change)).map_err(|e| to_python(py, e))?;
        Ok((done.sequence, done.results, done.late))
    }

    fn maintain(&self, py: Python<'_>, keep_us: i64) -> PyResult<u64> {
        py.detach(|| self.lock().maintain(keep_us)).map_err(|e| to_python(py, e))
    }
}

/// What other processes see of a contract's live windows.
#[pyclass(frozen, module = "data_processor_rs")]
struct WindowReader(Mutex<Reader>);

impl WindowReader {
    fn lock(&self) -> MutexGuard<'_, Reader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Outcome = (i64, String, i64, i64, String, i64, i64, String, i64);
type Progress = (String, Option<i64>, i64, i64, String);
type Place = (String, String, i64);
type Late = (String, i64, i64, i64, Place);

#[pymethods]
impl WindowReader {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| Reader::open(&path)).map(|reader| WindowReader(Mutex::new(reader))).map_err(|e| to_python(py, e))
    }

    fn position(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.lock().position()).map_err(|e| to_python(py, e))
    }

    fn last(&self, py: Python<'_>) -> PyResult<i64> {
        py.detach(|| self.lock().last()).map_err(|e| to_python(py, e))
    }

    #[pyo3(signature = (after, *, window=None, limit=10_000))]
    fn changes(&self, py: Python<'_>, after: i64, window: Option<&str>, limit: i64) -> PyResult<Vec<Outcome>> {
        let found = py.detach(|| self.lock().changes(after, window, limit)).map_err(|e| to_python(py, e))?;
        Ok(found.into_iter().map(|o| (o.seq, o.window, o.start, o.end, o.key, o.revision, o.state, o.body, o.at)).collect())
    }

    fn progress(&self, py: Python<'_>) -> PyResult<Vec<Progress>> {
        let found = py.detach(|| self.lock().progress()).map_err(|e| to_python(py, e))?;
        Ok(found.into_iter().map(|one| (one.window, one.watermark, one.open, one.late, one.since)).collect())
    }

    fn late(&self, py: Python<'_>, window: &str, limit: i64) -> PyResult<Vec<Late>> {
        let found = py.detach(|| self.lock().late(window, limit)).map_err(|e| to_python(py, e))?;
        Ok(found.into_iter().map(|one| (one.key, one.start, one.time, one.watermark, one.place)).collect())
    }

    fn landed(&self, py: Python<'_>) -> PyResult<Vec<Counted>> {
        py.detach(|| self.lock().landed()).map_err(|e| to_python(py, e))
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<WindowStore>()?;
    module.add_class::<WindowReader>()
}
