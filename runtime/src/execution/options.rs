//! Where and how a graph runs, as the configuration says it.

use super::error::ExecutionError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most threads that one graph may be given.
pub const THREADS_MAX: u16 = 256;

/// Execution provider. Asked for means required.
/// Written `cpu`, `cuda:0`, `tensorrt:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// NVIDIA CUDA.
    Cuda {
        /// Index of the device.
        device: u32,
    },
    /// NVIDIA TensorRT.
    TensorRt {
        /// Index of the device.
        device: u32,
    },
}

impl Provider {
    /// What to do when it cannot start.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Cpu => "run `egogrid doctor`",
            Self::Cuda { .. } => {
                "install the GPU build of ONNX Runtime with CUDA 13, cuDNN 9 and the NVIDIA driver and give its path, or set provider = \"cpu\""
            }
            Self::TensorRt { .. } => {
                "install the GPU build of ONNX Runtime with TensorRT 10, CUDA 13, cuDNN 9 and the NVIDIA driver and give its path, \
                 or set provider = \"cpu\""
            }
        }
    }

    /// Whether tensors that the host fills lie in the memory that the graph reads.
    pub(super) fn shares_host_memory(self) -> bool {
        self == Self::Cpu
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { device } => write!(f, "cuda:{device}"),
            Self::TensorRt { device } => write!(f, "tensorrt:{device}"),
        }
    }
}

impl TryFrom<String> for Provider {
    type Error = ExecutionError;
    fn try_from(text: String) -> Result<Self, ExecutionError> {
        text.parse()
    }
}

impl From<Provider> for String {
    fn from(provider: Provider) -> Self {
        provider.to_string()
    }
}

impl FromStr for Provider {
    type Err = ExecutionError;

    /// `cpu`, `cuda`, `cuda:1`, `tensorrt`, `tensorrt:1`; without a number it is device 0.
    fn from_str(text: &str) -> Result<Self, ExecutionError> {
        let unknown = || ExecutionError::Option {
            option: "provider",
            found: format!("{text:?}"),
            expected: "cpu, cuda, cuda:N, tensorrt or tensorrt:N".to_owned(),
        };
        let (name, device) = match text.split_once(':') {
            Some((name, device)) => (name, Some(device.parse::<u32>().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (name, device) {
            ("cpu", None) => Ok(Self::Cpu),
            ("cuda", device) => Ok(Self::Cuda { device: device.unwrap_or(0) }),
            ("tensorrt", device) => Ok(Self::TensorRt { device: device.unwrap_or(0) }),
            _ => Err(unknown()),
        }
    }
}

/// How a graph runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphOptions {
    /// Where.
    pub provider: Provider,
    /// Threads inside one operator, `1..=`[`THREADS_MAX`].
    pub threads: u16,
    /// Whether idle threads poll for work. Lower latency for one graph, at the price of a busy core between runs.
    pub spinning: bool,
}

impl Default for GraphOptions {
    /// The processor, two threads (one on a machine that has one), no polling.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { provider: Provider::Cpu, threads: if cores > 1 { 2 } else { 1 }, spinning: false }
    }
}

impl GraphOptions {
    pub(super) fn check(&self) -> Result<(), ExecutionError> {
        if (1..=THREADS_MAX).contains(&self.threads) {
            return Ok(());
        }
        Err(ExecutionError::Option {
            option: "threads",
            found: self.threads.to_string(),
            expected: format!("1 to {THREADS_MAX}"),
        })
    }
}
