//! What went wrong inside a stage, as the policy's own error.

use egogrid_runtime::execution::ExecutionError;
use egogrid_runtime::policy::PolicyError;
use egogrid_runtime::stage::Stage;

/// ONNX Runtime failed in `stage`.
pub(crate) fn failed(stage: Stage) -> impl Fn(ExecutionError) -> PolicyError {
    move |error| failed_for(stage, &error)
}

/// The same for one of several that the failure is about.
pub(crate) fn failed_for(stage: Stage, error: &ExecutionError) -> PolicyError {
    match error {
        ExecutionError::Cancelled { .. } => PolicyError::Cancelled { stage },
        error => PolicyError::Execution { stage, message: error.to_string() },
    }
}

/// `stage` refused what it was given.
pub(crate) fn observed<E: std::error::Error + Send + Sync + 'static>(stage: Stage) -> impl Fn(E) -> PolicyError {
    move |error| PolicyError::Observation { stage, source: Box::new(error) }
}
