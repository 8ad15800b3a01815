//! The processor: always there, shares memory with the host.

use ort::memory::Allocator;

/// Memory for tensors that only graphs touch. On the processor that is the host's own.
pub(super) fn allocator() -> Allocator {
    Allocator::default()
}
