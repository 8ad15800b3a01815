//! NVIDIA CUDA: its settings, and what ONNX Runtime is told. Has not run on a device yet.
//!
//! Option names are those of ONNX Runtime 1.31's `CUDAExecutionProvider`.

use super::error::ExecutionError;
use super::provider::{flag, mib};
use ort::ep::{ArbitrarilyConfigurableExecutionProvider, CUDA, ExecutionProviderDispatch};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use serde::Deserialize;

/// Largest limit of device memory that is accepted, MiB.
const MEMORY_LIMIT_MIB_MAX: u32 = 1 << 20;

/// What a configuration says under `[cuda]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CudaConfig {
    /// Of the provider's arena, MiB; absent: all there is. Weights and cache lie in it, libraries' own memory does not.
    pub memory_limit_mib: Option<u32>,
    /// How the arena grows.
    pub arena: Arena,
    /// How cuDNN chooses a kernel for a convolution.
    pub conv_search: ConvSearch,
    /// Whether that search may use as much memory as it likes.
    pub conv_max_workspace: bool,
    /// Products of `f32` with 10 bits of mantissa. Off: only then is fp32 the fp32 of the reference.
    pub tf32: bool,
    /// Record the first run and replay it. Only for graphs of fixed shapes.
    pub cuda_graph: bool,
}

impl Default for CudaConfig {
    fn default() -> Self {
        Self {
            memory_limit_mib: None,
            arena: Arena::SameAsRequested,
            conv_search: ConvSearch::Exhaustive,
            conv_max_workspace: true,
            tf32: false,
            cuda_graph: false,
        }
    }
}

/// How an arena grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arena {
    /// By what is asked for: all sizes are known after the first run.
    SameAsRequested,
    /// By powers of two.
    NextPowerOfTwo,
}

/// How cuDNN chooses a kernel for a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConvSearch {
    /// By measuring all of them in the first run.
    Exhaustive,
    /// By a rule.
    Heuristic,
    /// Always the same one.
    Default,
}

impl CudaConfig {
    /// With its bounds checked.
    ///
    /// # Errors
    /// A memory limit that cannot be meant.
    pub(super) fn checked(self, device: u32) -> Result<Cuda, ExecutionError> {
        let memory_limit = mib("cuda.memory_limit_mib", self.memory_limit_mib, MEMORY_LIMIT_MIB_MAX)?;
        Ok(Cuda { device, memory_limit, config: self })
    }
}

/// One CUDA device and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cuda {
    device: u32,
    /// Bytes.
    memory_limit: Option<u64>,
    config: CudaConfig,
}

impl Cuda {
    /// Its index.
    pub fn device(&self) -> u32 {
        self.device
    }

    pub(super) fn records_graph(&self) -> bool {
        self.config.cuda_graph
    }

    /// What ONNX Runtime is told, key by key.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let config = &self.config;
        let arena = match config.arena {
            Arena::SameAsRequested => "kSameAsRequested",
            Arena::NextPowerOfTwo => "kNextPowerOfTwo",
        };
        let search = match config.conv_search {
            ConvSearch::Exhaustive => "EXHAUSTIVE",
            ConvSearch::Heuristic => "HEURISTIC",
            ConvSearch::Default => "DEFAULT",
        };
        let mut entries = vec![
            ("device_id", self.device.to_string()),
            ("arena_extend_strategy", arena.to_owned()),
            ("cudnn_conv_algo_search", search.to_owned()),
            ("cudnn_conv_use_max_workspace", flag(config.conv_max_workspace)),
            ("use_tf32", flag(config.tf32)),
            ("enable_cuda_graph", flag(config.cuda_graph)),
        ];
        entries.extend(self.memory_limit.map(|bytes| ("gpu_mem_limit", bytes.to_string())));
        entries
    }

    /// Fails where it cannot start: without this the library logs a line and runs on the processor.
    pub(super) fn dispatch(&self) -> ExecutionProviderDispatch {
        let provider = self
            .entries()
            .into_iter()
            .fold(CUDA::default(), |provider, (key, value)| provider.with_arbitrary_config(key, value));
        provider.build().error_on_failure()
    }
}

/// Device memory for tensors that only graphs touch.
pub(super) fn allocator(session: &Session, device: u32) -> ort::Result<Allocator> {
    let memory =
        MemoryInfo::new(AllocationDevice::CUDA, device.cast_signed(), AllocatorType::Device, MemoryType::Default)?;
    Allocator::new(session, memory)
}
