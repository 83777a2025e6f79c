//! Record batches across the Arrow C data interface: no copy, no Arrow library on the Python side at build time.

use std::ptr::NonNull;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::DataType;
use data_processor_core::process::dedupe::Distinct;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::errors::to_python;

/// A record batch owned by the kernel.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct Rows(pub RecordBatch);

#[pymethods]
impl Rows {
    fn __len__(&self) -> usize {
        self.0.num_rows()
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let _ = requested_schema; // the protocol lets a producer ignore the wish
        export(py, &StructArray::from(self.0.clone()))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.0.schema().as_ref()).map_err(|e| PyValueError::new_err(e.to_string()))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }
}

/// A record batch owned by the kernel without the rows that repeat an earlier one; copied when somebody else asks for it.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct DistinctRows(pub Distinct);

impl DistinctRows {
    fn copied(&self, py: Python<'_>) -> PyResult<RecordBatch> {
        py.detach(|| self.0.copied()).map_err(|error| to_python(py, error))
    }
}

#[pymethods]
impl DistinctRows {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let _ = requested_schema;
        export(py, &StructArray::from(self.copied(py)?))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = self.0.rows().schema();
        let schema = FFI_ArrowSchema::try_from(schema.as_ref()).map_err(|e| PyValueError::new_err(e.to_string()))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }
}

/// One Arrow array owned by the kernel.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct Column(pub arrow_array::ArrayRef);

#[pymethods]
impl Column {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let _ = requested_schema;
        export(py, self.0.as_ref())
    }
}

/// The two capsules of an Arrow array.
pub fn export<'py>(py: Python<'py>, array: &dyn Array) -> PyResult<Bound<'py, PyTuple>> {
    let (array, schema) = to_ffi(&array.to_data()).map_err(|e| PyValueError::new_err(e.to_string()))?;
    let schema = PyCapsule::new_with_value(py, schema, c"arrow_schema")?;
    let array = PyCapsule::new_with_value(py, array, c"arrow_array")?;
    PyTuple::new(py, [schema, array])
}

/// Takes a record batch from anything with `__arrow_c_array__` (pyarrow, polars, `Rows`).
pub fn import(source: &Bound<'_, PyAny>) -> PyResult<RecordBatch> {
    if let Ok(rows) = source.cast::<Rows>() {
        return Ok(rows.get().0.clone());
    }
    if let Ok(rows) = source.cast::<DistinctRows>() {
        return rows.get().copied(source.py());
    }
    let capsules = source
        .call_method0("__arrow_c_array__")
        .map_err(|_| PyTypeError::new_err("expected an Arrow record batch (an object with __arrow_c_array__)"))?;
    let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) = capsules.extract()?;
    let schema: NonNull<FFI_ArrowSchema> = schema.pointer_checked(Some(c"arrow_schema"))?.cast();
    let array: NonNull<FFI_ArrowArray> = array.pointer_checked(Some(c"arrow_array"))?.cast();
    // SAFETY: the capsules' names say that they hold these C structs, and the capsules are alive. The array is moved
    // out and an empty one left behind, as the PyCapsule protocol asks of a consumer.
    let (array, schema) = unsafe { (FFI_ArrowArray::from_raw(array.as_ptr()), schema.as_ref()) };
    // SAFETY: a producer promises that the array has the layout of its schema.
    let data = unsafe { from_ffi(array, schema) }.map_err(|e| PyValueError::new_err(e.to_string()))?;
    if !matches!(data.data_type(), DataType::Struct(_)) {
        return Err(PyTypeError::new_err("expected an Arrow record batch (a struct array), found another array"));
    }
    let rows = StructArray::from(data);
    if rows.null_count() > 0 {
        return Err(PyValueError::new_err("expected an Arrow record batch, found a struct array with nulls: drop them first"));
    }
    Ok(RecordBatch::from(rows))
}

/// As [`import`], but rows that were left out of a batch are not cut from it.
pub fn import_distinct(source: &Bound<'_, PyAny>) -> PyResult<Distinct> {
    match source.cast::<DistinctRows>() {
        Ok(rows) => Ok(rows.get().0.clone()),
        Err(_) => import(source).map(Distinct::all),
    }
}
