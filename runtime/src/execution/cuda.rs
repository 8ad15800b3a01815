//! NVIDIA CUDA. Written against the library's interface; has not run on a device yet.

use ort::ep::{CUDA, ExecutionProviderDispatch};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

/// Fails where it cannot start: without this the library logs a line and runs on the processor.
pub(super) fn dispatch(device: u32) -> ExecutionProviderDispatch {
    CUDA::default().with_device_id(device.cast_signed()).build().error_on_failure()
}

/// Device memory for tensors that only graphs touch.
pub(super) fn allocator(session: &Session, device: u32) -> ort::Result<Allocator> {
    let memory =
        MemoryInfo::new(AllocationDevice::CUDA, device.cast_signed(), AllocatorType::Device, MemoryType::Default)?;
    Allocator::new(session, memory)
}
