//! Which execution provider runs the graphs, with its settings as checked types.
//!
//! From: a TOML file or the command line ([`ProviderConfig`], [`Provider::from_str`]). To: [`super::Graph`], which asks
//! ONNX Runtime for exactly that. Settings are in one file per provider; every key that we know is handed over with its
//! value, so that a default of the library cannot change ours.

use super::cuda::{Cuda, CudaConfig};
use super::error::ExecutionError;
use super::openvino::{OpenVino, OpenVinoConfig, OpenVinoDevice};
use super::options::Flavour;
use super::tensorrt::{TensorRt, TensorRtConfig};
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Largest index of a device.
pub const DEVICE_MAX: u32 = 63;

/// Execution provider with its settings. Asked for means required.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// NVIDIA CUDA.
    Cuda(Cuda),
    /// NVIDIA TensorRT, and CUDA for the operators that it does not take.
    TensorRt(TensorRt, Cuda),
    /// Intel OpenVINO.
    OpenVino(OpenVino),
}

impl Provider {
    /// The set of graphs that is made for it.
    pub fn flavour(&self) -> Flavour {
        match self {
            Self::Cpu => Flavour::Cpu,
            Self::Cuda(_) | Self::TensorRt(..) | Self::OpenVino(_) => Flavour::Static,
        }
    }

    /// What it writes on disk goes below a directory of its own for `model`, a digest of graphs and weights: an engine
    /// holds weights, and its file name does not depend on them.
    pub fn for_model(self, model: &str) -> Self {
        match self {
            Self::TensorRt(tensorrt, cuda) => Self::TensorRt(tensorrt.for_model(model), cuda),
            Self::OpenVino(openvino) => Self::OpenVino(openvino.for_model(model)),
            other => other,
        }
    }

    /// Whether tensors that the host fills lie in the memory that the graph reads.
    pub(super) fn shares_host_memory(&self) -> bool {
        match self {
            Self::Cpu => true,
            Self::OpenVino(openvino) => openvino.device() == OpenVinoDevice::Cpu,
            Self::Cuda(_) | Self::TensorRt(..) => false,
        }
    }

    /// Whether it takes weights that are mapped for it. The others copy them anyway and read them from the file.
    pub(super) fn takes_mapped_weights(&self) -> bool {
        *self == Self::Cpu
    }

    /// Whether a run is recorded once and then replayed, with every address as it was.
    pub(super) fn replays(&self) -> bool {
        match self {
            Self::Cuda(cuda) => cuda.records_graph(),
            Self::TensorRt(tensorrt, _) => tensorrt.records_graph(),
            Self::Cpu | Self::OpenVino(_) => false,
        }
    }

    /// The NVIDIA device whose memory graphs share, if it is one.
    pub(super) fn cuda_device(&self) -> Option<u32> {
        match self {
            Self::Cuda(cuda) | Self::TensorRt(_, cuda) => Some(cuda.device()),
            Self::Cpu | Self::OpenVino(_) => None,
        }
    }
}

/// As asked for, without the settings: `cpu`, `cuda:0`, `tensorrt:0`, `openvino:CPU`.
impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(cuda) => write!(f, "cuda:{}", cuda.device()),
            Self::TensorRt(_, cuda) => write!(f, "tensorrt:{}", cuda.device()),
            Self::OpenVino(openvino) => write!(f, "openvino:{}", openvino.device()),
        }
    }
}

impl FromStr for Provider {
    type Err = ExecutionError;

    /// `cpu`, `cuda`, `cuda:1`, `tensorrt`, `tensorrt:1`, `openvino`, `openvino:GPU`, with the settings that they have
    /// when nothing is said; without a number it is device 0, and `openvino` is the processor.
    fn from_str(text: &str) -> Result<Self, ExecutionError> {
        ProviderConfig { provider: text.to_owned(), ..ProviderConfig::default() }.checked()
    }
}

/// What a configuration says: which provider, and the settings of each. Settings of a provider that is not used are
/// checked too.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// See [`Provider::from_str`].
    pub provider: String,
    /// For `cuda` and for what `tensorrt` leaves to it.
    pub cuda: CudaConfig,
    /// For `tensorrt`.
    pub tensorrt: TensorRtConfig,
    /// For `openvino`.
    pub openvino: OpenVinoConfig,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            provider: "cpu".to_owned(),
            cuda: CudaConfig::default(),
            tensorrt: TensorRtConfig::default(),
            openvino: OpenVinoConfig::default(),
        }
    }
}

impl ProviderConfig {
    /// What sessions may rely on.
    ///
    /// # Errors
    /// A provider that does not exist, a setting out of bounds, settings that exclude each other.
    pub fn checked(self) -> Result<Provider, ExecutionError> {
        let (name, device) = match self.provider.split_once(':') {
            Some((name, device)) => (name, Some(device)),
            None => (self.provider.as_str(), None),
        };
        let index = || match device.map(str::parse::<u32>) {
            None => Ok(0),
            Some(Ok(index)) if index <= DEVICE_MAX => Ok(index),
            Some(_) => Err(self.unknown()),
        };
        let openvino_device = match (name, device) {
            ("openvino", Some(device)) => device.parse().map_err(|()| self.unknown())?,
            _ => OpenVinoDevice::Cpu,
        };
        let openvino = self.openvino.clone().checked(openvino_device)?;
        let device_index = if matches!(name, "cuda" | "tensorrt") { index()? } else { 0 };
        let cuda = self.cuda.clone().checked(device_index)?;
        let tensorrt = self.tensorrt.clone().checked(device_index)?;
        match (name, device) {
            ("cpu", None) => Ok(Provider::Cpu),
            ("cuda", _) => Ok(Provider::Cuda(cuda)),
            ("tensorrt", _) if cuda.records_graph() => Err(ExecutionError::Option {
                option: "cuda.cuda_graph",
                found: "true together with tensorrt".to_owned(),
                expected: "tensorrt.cuda_graph = true, which records the whole run".to_owned(),
            }),
            ("tensorrt", _) => Ok(Provider::TensorRt(tensorrt, cuda)),
            ("openvino", _) => Ok(Provider::OpenVino(openvino)),
            _ => Err(self.unknown()),
        }
    }

    fn unknown(&self) -> ExecutionError {
        ExecutionError::Option {
            option: "provider",
            found: format!("{:?}", self.provider),
            expected: "cpu, cuda, cuda:N, tensorrt, tensorrt:N, openvino, openvino:CPU, openvino:GPU, openvino:GPU.N or openvino:NPU"
                .to_owned(),
        }
    }
}

/// A size in MiB that is asked for, as bytes.
pub(super) fn mib(option: &'static str, found: Option<u32>, max: u32) -> Result<Option<u64>, ExecutionError> {
    match found {
        Some(size) if !(1..=max).contains(&size) => {
            Err(ExecutionError::Option { option, found: size.to_string(), expected: format!("1 to {max}") })
        }
        size => Ok(size.map(|size| u64::from(size) << 20)),
    }
}

/// How ONNX Runtime's options write a choice.
pub(super) fn flag(on: bool) -> String {
    if on { "1" } else { "0" }.to_owned()
}

/// Where `model` keeps what a provider compiles: below `dir`, apart from other models. ONNX Runtime names an engine by the
/// graph and not by its weights, so that two fine-tunes of one model would run each other's.
///
/// # Errors
/// A directory without a model to keep apart.
pub(super) fn cache_of(
    option: &'static str,
    dir: Option<&Path>,
    model: Option<&str>,
) -> Result<Option<PathBuf>, ExecutionError> {
    match (dir, model) {
        (None, _) => Ok(None),
        (Some(dir), Some(model)) => Ok(Some(dir.join(model))),
        (Some(dir), None) => Err(ExecutionError::Option {
            option,
            found: dir.display().to_string(),
            expected: "a graph of a bundle, whose digest keeps its engines apart".to_owned(),
        }),
    }
}
