//! NVIDIA TensorRT, with CUDA for the operators that it does not take. Has not run on a device yet.

use super::cuda;
use ort::ep::{ExecutionProviderDispatch, TensorRT};

/// Both fail where they cannot start, see [`cuda::dispatch`].
pub(super) fn dispatch(device: u32) -> [ExecutionProviderDispatch; 2] {
    [TensorRT::default().with_device_id(device.cast_signed()).build().error_on_failure(), cuda::dispatch(device)]
}
