//! ONNX graphs: one session per graph, tensors allocated once, no copy between graphs.
//!
//! From: verified files of a bundle. To: the policy families, which fill named inputs, run, and read named outputs.
//! The only folder that names `ort`. What the configuration asks for is required: a provider that cannot start is an
//! error here, never a quiet run on the processor.

mod cancel;
mod chain;
mod cpu;
mod cuda;
mod environment;
mod error;
mod graph;
mod graph_file;
mod openvino;
mod options;
mod probe;
mod provider;
mod start;
mod tensor;
mod tensorrt;
mod weights;

pub use cancel::Cancel;
pub use chain::{Chain, Part, compiled_in, nvidia_driver, told};
pub use cuda::{Arena, ConvSearch, Cuda, CudaConfig};
pub use environment::Environment;
pub use error::ExecutionError;
pub use graph::{Graph, Side};
pub use graph_file::Placed;
pub use openvino::{OpenVino, OpenVinoConfig, OpenVinoDevice, OpenVinoPrecision};
pub use options::{Flavour, GraphOptions, THREADS_MAX};
pub use probe::probe;
pub use provider::{DEVICE_MAX, Provider, ProviderConfig};
pub use tensor::{Dim, Element, HostElement, SharedTensor, TensorSpec};
pub use tensorrt::{Profile, TensorRt, TensorRtConfig};
pub use weights::Weights;
