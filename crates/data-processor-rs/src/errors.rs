//! Kernel errors as Python exceptions that keep their facts.

use data_processor_core::error::{Error, ErrorKind, Fact};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

create_exception!(data_processor_rs, KernelError, PyException);
create_exception!(data_processor_rs, PlanError, KernelError);
create_exception!(data_processor_rs, BodyError, KernelError);
create_exception!(data_processor_rs, FormatError, KernelError);
create_exception!(data_processor_rs, ParquetFault, KernelError);
create_exception!(data_processor_rs, LogUnavailable, KernelError);
create_exception!(data_processor_rs, LogThrottled, KernelError);
create_exception!(data_processor_rs, LogCorrupt, KernelError);
create_exception!(data_processor_rs, LogExpired, KernelError);
create_exception!(data_processor_rs, IdempotencyMismatch, KernelError);
create_exception!(data_processor_rs, WindowUnavailable, KernelError);
create_exception!(data_processor_rs, WindowConflict, KernelError);
create_exception!(data_processor_rs, WindowCorrupt, KernelError);

/// The Python exception of a kernel error, with `code`, `retry`, `hint` and `context` set.
pub fn to_python(py: Python<'_>, error: Error) -> PyErr {
    let message = error.message.clone();
    let raised = match error.kind {
        ErrorKind::Plan => PlanError::new_err(message),
        ErrorKind::Body => BodyError::new_err(message),
        ErrorKind::Format => FormatError::new_err(message),
        ErrorKind::Process => KernelError::new_err(message),
        ErrorKind::Parquet => ParquetFault::new_err(message),
        ErrorKind::LogUnavailable => LogUnavailable::new_err(message),
        ErrorKind::LogThrottled => LogThrottled::new_err(message),
        ErrorKind::LogCorrupt => LogCorrupt::new_err(message),
        ErrorKind::LogExpired => LogExpired::new_err(message),
        ErrorKind::IdempotencyMismatch => IdempotencyMismatch::new_err(message),
        ErrorKind::WindowUnavailable => WindowUnavailable::new_err(message),
        ErrorKind::WindowConflict => WindowConflict::new_err(message),
        ErrorKind::WindowCorrupt => WindowCorrupt::new_err(message),
    };
    match with_facts(py, &raised, &error) {
        Ok(()) => raised,
        Err(failed) => failed,
    }
}

fn with_facts(py: Python<'_>, raised: &PyErr, error: &Error) -> PyResult<()> {
    let context = PyDict::new(py);
    for (name, fact) in &error.context {
        match fact {
            Fact::Int(value) => context.set_item(name, value)?,
            Fact::Text(value) => context.set_item(name, value)?,
        }
    }
    let raised = raised.value(py);
    raised.setattr("code", error.code)?;
    raised.setattr("retry", error.retry().as_str())?;
    raised.setattr("hint", error.hint.as_str())?;
    raised.setattr("context", context)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("KernelError", py.get_type::<KernelError>())?;
    module.add("PlanError", py.get_type::<PlanError>())?;
    module.add("BodyError", py.get_type::<BodyError>())?;
    module.add("FormatError", py.get_type::<FormatError>())?;
    module.add("ParquetFault", py.get_type::<ParquetFault>())?;
    module.add("LogUnavailable", py.get_type::<LogUnavailable>())?;
    module.add("LogThrottled", py.get_type::<LogThrottled>())?;
    module.add("LogCorrupt", py.get_type::<LogCorrupt>())?;
    module.add("LogExpired", py.get_type::<LogExpired>())?;
    module.add("IdempotencyMismatch", py.get_type::<IdempotencyMismatch>())?;
    module.add("WindowUnavailable", py.get_type::<WindowUnavailable>())?;
    module.add("WindowConflict", py.get_type::<WindowConflict>())?;
    module.add("WindowCorrupt", py.get_type::<WindowCorrupt>())
}
