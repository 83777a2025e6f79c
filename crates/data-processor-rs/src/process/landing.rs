//! Bindings of `data_processor_core::process::landing`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_processor_core::error::{Error, ErrorKind};
use data_processor_core::process::dedupe::KeyRoom;
use data_processor_core::process::landing::{self, Source, Terms};
use data_processor_core::sink::schema::IcebergSchema;
use data_processor_core::sink::{Codec, TableWriter, WriteOptions};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyList;

use super::Plan;
use crate::errors::to_python;
use crate::rows::Rows;
use crate::sink::described;

/// What became of one batch of an input.
#[pyclass(frozen, get_all, module = "data_processor_rs")]
pub struct LandedBatch {
    records: usize,
    good: usize,
    duplicates: usize,
    letters: Py<Rows>,
}

/// A binary file object of Python; what it raises is kept for the caller.
struct Readable {
    file: Py<PyAny>,
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Read for Readable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = |py: Python<'_>| -> PyResult<usize> {
            let bytes: PyBackedBytes = self.file.bind(py).call_method1("read", (buffer.len(),))?.extract()?;
            let room = buffer.get_mut(..bytes.len()).ok_or_else(|| PyTypeError::new_err("read(n) gave more than n bytes"))?;
            room.copy_from_slice(&bytes);
            Ok(bytes.len())
        };
        Python::attach(read).map_err(|error| {
            let said = io::Error::other(error.to_string());
            *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            said
        })
    }
}

/// An input on its way into files.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct Landing {
    landing: Mutex<landing::Landing>,
    raised: Arc<Mutex<Option<PyErr>>>,
}

fn opened(source: &Bound<'_, PyAny>, raised: &Arc<Mutex<Option<PyErr>>>) -> PyResult<Source> {
    if source.hasattr("read")? {
        return Ok(Box::new(Readable { file: source.clone().unbind(), raised: Arc::clone(raised) }));
    }
    let path: PathBuf = source.extract()?;
    let file = File::open(&path).map_err(|error| {
        let error = Error::new(ErrorKind::Process, "landing.read", format!("opening {} failed: {error}", path.display()))
            .hint("name a file that can be read")
            .text("path", path.display().to_string());
        to_python(source.py(), error)
    })?;
    Ok(Box::new(file))
}

impl Landing {
    /// A panic while the lock was held left a landing that has ended.
    fn lock(&self) -> MutexGuard<'_, landing::Landing> {
        self.landing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What Python raised while the input was read, or the kernel's error.
    fn raise(&self, py: Python<'_>, error: Error) -> PyErr {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take();
        raised.unwrap_or_else(|| to_python(py, error))
    }
}

#[pymethods]
impl Landing {
    #[new]
    #[pyo3(signature = (source, plan, location, *, schema_json, received_at_us, key=Vec::new(), partition_field=None, file_prefix="", name="input", batch_bytes=8_388_608, threads=1, key_memory_bytes=268_435_456, scratch=None, compression="zstd", compression_level=1, target_bytes=134_217_728, buffer_bytes=33_554_432, durable=true))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        source: &Bound<'_, PyAny>,
        plan: &Plan,
        location: PathBuf,
        schema_json: &str,
        received_at_us: i64,
        key: Vec<String>,
        partition_field: Option<String>,
        file_prefix: &str,
        name: &str,
        batch_bytes: usize,
        threads: usize,
        key_memory_bytes: usize,
        scratch: Option<PathBuf>,
        compression: &str,
        compression_level: i32,
        target_bytes: u64,
        buffer_bytes: usize,
        durable: bool,
    ) -> PyResult<Landing> {
        let kernel = |error| to_python(source.py(), error);
        let codec = Codec::named(compression, compression_level).map_err(kernel)?;
        let schema = IcebergSchema::from_json(schema_json).map_err(kernel)?;
        let prefix = file_prefix.to_owned();
        let options = WriteOptions { location, partition: partition_field, prefix, codec, target_bytes, durable, buffer_bytes };
        let writer = TableWriter::new(schema, options).map_err(kernel)?;
        let raised = Arc::default();
        let named = scratch.is_some();
        let room = KeyRoom { bytes: key_memory_bytes, scratch };
        if named {
            room.check().map_err(kernel)?;
        }
        let terms = Terms { key, room, batch_bytes, received_us: received_at_us, name: name.to_owned() };
        let landing = landing::Landing::new(Arc::clone(&plan.0), opened(source, &raised)?, terms, writer, threads);
        Ok(Landing { landing: Mutex::new(landing), raised })
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<LandedBatch>> {
        let landed = py.detach(|| self.lock().batch()).map_err(|error| self.raise(py, error))?;
        let batch = |landed: landing::Landed| {
            let landing::Landed { records, good, duplicates, letters } = landed;
            Ok(LandedBatch { records, good, duplicates, letters: Py::new(py, Rows(letters))? })
        };
        landed.map(batch).transpose()
    }

    #[getter]
    fn key_memory_bytes(&self, py: Python<'_>) -> usize {
        py.detach(|| self.lock().key_bytes().0)
    }

    #[getter]
    fn key_scratch_bytes(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.lock().key_bytes().1)
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let files = py.detach(|| self.lock().finish()).map_err(|error| to_python(py, error))?;
        PyList::new(py, files.iter().map(|file| described(py, file)).collect::<PyResult<Vec<_>>>()?)
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LandedBatch>()?;
    module.add_class::<Landing>()
}
