//! Bindings of `data_processor_core::process`.

use data_processor_core::process::admit;
use pyo3::prelude::*;

/// A body split into records, each judged.
#[pyclass(frozen, module = "data_processor_rs")]
pub struct Admission(pub admit::Admission);

#[pymethods]
impl Admission {
    fn __len__(&self) -> usize {
        self.0.len()
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Admission>()
}
