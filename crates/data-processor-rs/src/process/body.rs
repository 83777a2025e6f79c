//! Request bodies, decompressed.

use std::sync::Mutex;

use data_processor_core::process::body;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::to_python;

/// Decompresses a request body piece by piece.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct BodyDecoder(Mutex<Option<body::BodyDecoder>>);

fn used_up() -> PyErr {
    PyValueError::new_err("the decoder is finished or has failed: make a new one")
}

#[pymethods]
impl BodyDecoder {
    #[new]
    #[pyo3(signature = (encoding, *, max_bytes, max_ratio = 100))]
    fn new(py: Python<'_>, encoding: &str, max_bytes: usize, max_ratio: usize) -> PyResult<BodyDecoder> {
        let decoder = body::BodyDecoder::new(encoding, max_bytes, max_ratio).map_err(|error| to_python(py, error))?;
        Ok(BodyDecoder(Mutex::new(Some(decoder))))
    }

    fn feed(&self, py: Python<'_>, chunk: &[u8]) -> PyResult<()> {
        let mut decoder = self.take()?;
        let fed = py.detach(|| decoder.feed(chunk).map(|()| decoder));
        let decoder = fed.map_err(|error| to_python(py, error))?;
        *self.0.lock().map_err(|_| used_up())? = Some(decoder);
        Ok(())
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let decoder = self.take()?;
        let whole = py.detach(|| decoder.finish()).map_err(|error| to_python(py, error))?;
        Ok(PyBytes::new(py, &whole))
    }
}

impl BodyDecoder {
    fn take(&self) -> PyResult<body::BodyDecoder> {
        self.0.lock().map_err(|_| used_up())?.take().ok_or_else(used_up)
    }
}
