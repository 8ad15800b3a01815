//! ONNX graphs: one session per graph, tensors allocated once, no copy between graphs.
//!
//! From: verified files of a bundle. To: the policy families, which fill named inputs, run, and read named outputs.
//! The only folder that names `ort`. What the configuration asks for is required: a provider that cannot start is an
//! error here, never a quiet run on the processor.

mod cpu;
mod cuda;
mod environment;
mod error;
mod graph;
mod graph_file;
mod options;
mod tensor;
mod tensorrt;
mod weights;

pub use environment::Environment;
pub use error::ExecutionError;
pub use graph::Graph;
pub use options::{GraphOptions, Provider, THREADS_MAX};
pub use tensor::{Dim, Element, HostElement, SharedTensor, TensorSpec};
pub use weights::Weights;
