//! Python bindings of Frazil's kernel: types in and out, GIL released during work, no logic of their own.

mod errors;
mod log;
mod process;
mod rows;
mod sink;
mod window;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[pymodule]
fn data_processor_rs(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<rows::Rows>()?;
    module.add_class::<rows::DistinctRows>()?;
    module.add_class::<rows::Column>()?;
    errors::register(module)?;
    process::register(module)?;
    sink::register(module)?;
    log::register(module)?;
    window::register(module)
}
