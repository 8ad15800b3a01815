//! Everything that can go wrong between a configuration and a finished run of a graph.

use super::chain::{Part, told};
use super::tensor::Element;
use std::path::PathBuf;

/// Why a graph cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// No such file.
    #[error("there is no ONNX Runtime library at {}; run ./launch/demo or ./launch/test once, which fetch it, \
             or give the path of libonnxruntime.so (version 1.{} or newer)", library.display(), ort::MINOR_VERSION)]
    LibraryMissing {
        /// Where it was looked for.
        library: PathBuf,
    },
    /// A file that is not a usable library.
    #[error("{} cannot be used as ONNX Runtime: {detail}; expected libonnxruntime.so, version 1.{} or newer, for this machine: \
             run ./launch/demo or ./launch/test once, which fetch it", library.display(), ort::MINOR_VERSION)]
    LibraryRefused {
        /// The file.
        library: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A second library in one process.
    #[error("this process already runs ONNX Runtime from {}, and cannot load {} as well; use one path everywhere", loaded.display(), asked.display())]
    OtherLibrary {
        /// The first one.
        loaded: PathBuf,
        /// The second one.
        asked: PathBuf,
    },
    /// What the provider needs is not on this machine. ONNX Runtime has not been asked.
    #[error("execution provider {provider} cannot start, {} missing:{}", count(missing), listed(missing))]
    ProviderParts {
        /// As asked for.
        provider: String,
        /// All that is missing.
        missing: Vec<Part>,
    },
    /// The provider that was asked for does not start.
    #[error(
        "execution provider {provider} cannot start: {detail}; run `egogrid doctor`, which shows what it needs and what is there, \
             or set provider = \"cpu\""
    )]
    Provider {
        /// As asked for.
        provider: String,
        /// What ONNX Runtime said.
        detail: String,
    },
    /// A graph with nodes that the provider does not take.
    #[error("{} does not run wholly on {provider}, and no node is left to the processor silently: {detail}; run the static graphs \
             (export the bundle again with this release's exporter as fp32, fp16 or bf16), or set provider = \"cpu\"", file.display())]
    NotAllOnProvider {
        /// The graph.
        file: PathBuf,
        /// As asked for.
        provider: String,
        /// What ONNX Runtime said.
        detail: String,
    },
    /// A graph with an operator that the processor has no kernel for.
    #[error("{} does not run on cpu: {detail}; static graphs of a bf16 bundle run on cuda and tensorrt only: take its cpu graphs \
             (leave --graphs out), or export the bundle as fp32 or fp16", file.display())]
    NoKernel {
        /// The graph.
        file: PathBuf,
        /// What ONNX Runtime said.
        detail: String,
    },
    /// A directory for engines or compiled models that cannot be made.
    #[error("{} cannot be made: {source}; name a directory that can be written to in the provider's settings", dir.display())]
    CacheDir {
        /// Which one.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An option outside its bounds.
    #[error("{option} is {found}, expected {expected}; correct it in the configuration")]
    Option {
        /// Its name.
        option: &'static str,
        /// What was found.
        found: String,
        /// What is accepted.
        expected: String,
    },
    /// A graph that ONNX Runtime does not take.
    #[error("{} cannot be loaded: {detail}; export the bundle again with this release's exporter", file.display())]
    Load {
        /// The graph.
        file: PathBuf,
        /// What ONNX Runtime said.
        detail: String,
    },
    /// The weights file of a bundle.
    #[error("{} cannot be mapped into memory: {detail}; free memory, or copy the bundle again", file.display())]
    Weights {
        /// The file.
        file: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// A name that the graph does not have, or that was not allocated.
    #[error(
        "graph {graph} has no {what} {name:?}, only {known:?}; export the bundle again with this release's exporter"
    )]
    NoSuchTensor {
        /// Which graph.
        graph: String,
        /// `input`, `output`, `allocated input` or `allocated output`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// A tensor of another type or shape than the graph's.
    #[error(
        "tensor {name:?} of graph {graph} is {found}, expected {expected}; export the bundle again with this release's exporter"
    )]
    TensorKind {
        /// Which graph.
        graph: String,
        /// Which tensor.
        name: String,
        /// What was found.
        found: String,
        /// What the graph wants.
        expected: String,
    },
    /// An element type that is not handled here.
    #[error(
        "graph {graph} has {name:?} of type {found}, expected one of {:?}; export the bundle again",
        Element::NAMES
    )]
    ElementType {
        /// Which graph.
        graph: String,
        /// Which tensor.
        name: String,
        /// What was found.
        found: String,
    },
    /// Memory, binding or another call that only fails when something is badly wrong.
    #[error("ONNX Runtime refused to {action} for graph {graph}: {detail}; free memory, or run `egogrid doctor`")]
    Call {
        /// Which graph.
        graph: String,
        /// What was tried.
        action: &'static str,
        /// What ONNX Runtime said.
        detail: String,
    },
    /// Ended from outside, see [`super::Cancel`].
    #[error("graph {graph} was cancelled while running")]
    Cancelled {
        /// Which graph.
        graph: String,
    },
    /// The run itself.
    #[error("graph {graph} failed while running: {detail}; run `egogrid check` on the bundle")]
    Run {
        /// Which graph.
        graph: String,
        /// What ONNX Runtime said.
        detail: String,
    },
}

impl ExecutionError {
    /// Whether something is missing on this machine (exit code 4), and not wrong in the configuration or the bundle.
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::LibraryMissing { .. }
                | Self::LibraryRefused { .. }
                | Self::ProviderParts { .. }
                | Self::Provider { .. }
        )
    }
}

fn count(missing: &[Part]) -> String {
    if missing.len() == 1 { "1 thing is".to_owned() } else { format!("{} things are", missing.len()) }
}

fn listed(missing: &[Part]) -> String {
    told(missing).iter().map(|line| format!("\n  - {line}")).collect()
}
