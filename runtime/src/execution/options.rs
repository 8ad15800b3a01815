//! Where and how a graph runs.

use super::cancel::Cancel;
use super::error::ExecutionError;
use super::provider::Provider;
use serde::Deserialize;
use std::fmt;

/// Most threads that one graph may be given.
pub const THREADS_MAX: u16 = 256;

/// A bundle may hold several sets of graphs that compute the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Tuned for ONNX Runtime's own kernels on the processor, the cache updated in place.
    #[default]
    Cpu,
    /// Standard operators and fixed shapes only: what CUDA, TensorRT and OpenVINO take.
    Static,
    /// As [`Self::Static`], of several observations at once.
    Batched,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Static => "static",
            Self::Batched => "batched",
        })
    }
}

/// How a graph runs.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphOptions {
    /// Where.
    pub provider: Provider,
    /// Which of the bundle's graphs; `None`: those that are made for the provider.
    pub flavour: Option<Flavour>,
    /// Threads inside one operator, `1..=`[`THREADS_MAX`].
    pub threads: u16,
    /// Whether idle threads poll for work. Lower latency for one graph, at the price of a busy core between runs.
    pub spinning: bool,
    /// Ends runs from another thread; `None`: nobody does.
    pub cancel: Option<Cancel>,
}

impl Default for GraphOptions {
    /// The processor, two threads (one on a machine that has one), no polling.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            provider: Provider::Cpu,
            flavour: None,
            threads: if cores > 1 { 2 } else { 1 },
            spinning: false,
            cancel: None,
        }
    }
}

impl GraphOptions {
    /// The set of graphs that runs.
    pub fn flavour(&self) -> Flavour {
        self.flavour.unwrap_or_else(|| self.provider.flavour())
    }

    /// The same for one model, see [`Provider::for_model`].
    pub fn for_model(&self, model: &str) -> Self {
        Self { provider: self.provider.clone().for_model(model), ..self.clone() }
    }

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
