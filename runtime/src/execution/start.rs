//! The start of a provider: what it needs is there, it is the only one that runs nodes, and its refusal is an error.

use super::chain::Chain;
use super::environment::Environment;
use super::error::ExecutionError;
use super::openvino::{NAME as OPENVINO, OpenVino};
use super::options::GraphOptions;
use super::provider::Provider;
use ort::session::builder::SessionBuilder;
use std::path::Path;

/// What ONNX Runtime says when a node is left to the processor that may not be.
const FALLBACK: &str = "fallback to CPU EP";
/// What it says when the processor has no kernel for a node.
const NO_KERNEL: &str = "Could not find an implementation for";

/// Registers the provider that `options` ask for.
pub(super) fn with_provider(
    builder: SessionBuilder,
    environment: &Environment,
    options: &GraphOptions,
) -> Result<SessionBuilder, ExecutionError> {
    let provider = &options.provider;
    if *provider == Provider::Cpu {
        return Ok(builder);
    }
    Chain::of(environment, provider).preload(provider)?;
    let refused = |detail: String| ExecutionError::Provider { provider: provider.to_string(), detail };
    // Without this a node that the provider does not take runs on the processor, and only the clock tells.
    let builder = builder.with_disable_cpu_fallback().map_err(|error| refused(error.to_string()))?;
    let builder = match provider {
        Provider::Cpu => Ok(builder),
        Provider::Cuda(cuda) => builder.with_execution_providers([cuda.dispatch()]),
        Provider::TensorRt(tensorrt, cuda) => {
            made(tensorrt.cache_dir()?.as_deref())?;
            builder.with_execution_providers([tensorrt.dispatch()?, cuda.dispatch()])
        }
        Provider::OpenVino(openvino) => return with_openvino(builder, environment, openvino, options),
    };
    builder.map_err(|error| refused(error.to_string()))
}

fn with_openvino(
    builder: SessionBuilder,
    environment: &Environment,
    openvino: &OpenVino,
    options: &GraphOptions,
) -> Result<SessionBuilder, ExecutionError> {
    let refused = |detail: String| ExecutionError::Provider { provider: options.provider.to_string(), detail };
    made(openvino.cache_dir()?.as_deref())?;
    // The chain has just found it.
    let device =
        openvino.device().among(environment.inner.devices()).ok_or_else(|| refused("no such device".to_owned()))?;
    let entries = openvino.entries(options.threads)?;
    let entries: Vec<(String, String)> =
        entries.into_iter().map(|(key, value)| (format!("{OPENVINO}.{key}"), value)).collect();
    builder.with_devices([device], Some(&entries)).map_err(|error| refused(error.to_string()))
}

/// A session that ONNX Runtime does not make of `file`.
pub(super) fn refused(file: &Path, provider: &Provider, error: &ort::Error) -> ExecutionError {
    let (file, detail) = (file.to_path_buf(), error.to_string());
    match provider {
        Provider::Cpu if detail.contains(NO_KERNEL) => ExecutionError::NoKernel { file, detail },
        Provider::Cpu => ExecutionError::Load { file, detail },
        provider if detail.contains(FALLBACK) => {
            ExecutionError::NotAllOnProvider { file, provider: provider.to_string(), detail }
        }
        provider => {
            ExecutionError::Provider { provider: provider.to_string(), detail: format!("{}: {detail}", file.display()) }
        }
    }
}

fn made(dir: Option<&Path>) -> Result<(), ExecutionError> {
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|source| ExecutionError::CacheDir { dir: dir.to_path_buf(), source })
        }
        None => Ok(()),
    }
}
