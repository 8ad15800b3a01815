//! One session with tensors that are allocated once and bound by name.
//!
//! From: a `.onnx` file (weights next to it). To: the policy families. Host tensors belong to the graph: fill the
//! inputs, [`Graph::run`], read the outputs. A [`SharedTensor`] is bound to several graphs, or as input and output of
//! one: a cache that is updated in place, features that go from one graph to the next.

use super::environment::Environment;
use super::error::ExecutionError;
use super::options::{GraphOptions, Provider};
use super::tensor::{Dim, HostElement, SharedTensor, TensorSpec};
use super::weights::Weights;
use super::{cpu, cuda, tensorrt};
use ort::memory::Allocator;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session};
use ort::value::DynTensor;
use std::path::Path;

/// One loaded graph. One caller at a time: `&mut self` is the lock.
#[derive(Debug)]
pub struct Graph {
    name: String,
    session: Session,
    binding: IoBinding,
    provider: Provider,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    host_inputs: Vec<HostTensor>,
    host_outputs: Vec<HostTensor>,
    /// What the session reads in place: unmapped only after it, hence last.
    _weights: Option<Weights>,
}

#[derive(Debug)]
struct HostTensor {
    name: String,
    value: DynTensor,
}

impl Graph {
    /// Loads `file`; external weights are looked for next to it.
    ///
    /// # Errors
    /// Options out of bounds, a provider that cannot start, a file that is not a graph this library runs.
    pub fn load(environment: &Environment, file: &Path, options: &GraphOptions) -> Result<Self, ExecutionError> {
        Self::load_from(environment, file, None, options)
    }

    /// [`Self::load`], reading its external weights in place from `weights`, together with other graphs. A device copies
    /// them to its own memory anyway and reads them from the file.
    ///
    /// # Errors
    /// As [`Self::load`], and a graph whose tensors do not lie inside `weights`.
    pub fn load_sharing(
        environment: &Environment,
        file: &Path,
        weights: &Weights,
        options: &GraphOptions,
    ) -> Result<Self, ExecutionError> {
        let weights = options.provider.shares_host_memory().then(|| weights.clone());
        Self::load_from(environment, file, weights, options)
    }

    fn load_from(
        environment: &Environment,
        file: &Path,
        weights: Option<Weights>,
        options: &GraphOptions,
    ) -> Result<Self, ExecutionError> {
        options.check()?;
        let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let load = |error: ort::Error| ExecutionError::Load { file: file.to_path_buf(), detail: error.to_string() };
        let builder = Session::builder(&environment.inner).map_err(load)?;
        let builder = with_provider(builder, options.provider)?;
        let mut builder = with_options(builder, options).map_err(load)?;
        if let Some(weights) = &weights {
            builder = weights.hand_to(builder, file)?;
        }
        let session = builder.commit_from_file(file).map_err(load)?;
        let (inputs, outputs) = (specs_of(&name, session.inputs())?, specs_of(&name, session.outputs())?);
        let binding = session.create_binding().map_err(load)?;
        let (host_inputs, host_outputs) = (Vec::new(), Vec::new());
        let provider = options.provider;
        Ok(Self { name, session, binding, provider, inputs, outputs, host_inputs, host_outputs, _weights: weights })
    }

    /// Every input of the graph.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// Every output of the graph.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// Gives input `name` memory, zeroed, with every named dimension set to `named`. Again with another size: new memory.
    ///
    /// # Errors
    /// No such input, or no memory.
    pub fn allocate_input(&mut self, name: &str, named: usize) -> Result<(), ExecutionError> {
        let value = self.host_tensor(find(&self.name, "input", &self.inputs, name)?, named)?;
        self.binding.bind_input(name, &value).map_err(|error| self.refused("bind an input", &error))?;
        replace(&mut self.host_inputs, name, value);
        Ok(())
    }

    /// Gives output `name` memory that the host can read.
    ///
    /// # Errors
    /// No such output, a size that is not fixed, or no memory.
    pub fn allocate_output(&mut self, name: &str) -> Result<(), ExecutionError> {
        let spec = find(&self.name, "output", &self.outputs, name)?;
        self.require_fixed(spec)?;
        let mut value = self.host_tensor(spec, 0)?;
        self.binding.bind_output(name, &mut value).map_err(|error| self.refused("bind an output", &error))?;
        replace(&mut self.host_outputs, name, value);
        Ok(())
    }

    /// A tensor like output `name` in the provider's memory, already bound to it. Its contents are not defined yet.
    ///
    /// # Errors
    /// No such output, a size that is not fixed, or no memory.
    pub fn share_output(&mut self, name: &str) -> Result<SharedTensor, ExecutionError> {
        let spec = find(&self.name, "output", &self.outputs, name)?.clone();
        self.require_fixed(&spec)?;
        let allocator = match self.provider {
            Provider::Cpu => Ok(cpu::allocator()),
            Provider::Cuda { device } | Provider::TensorRt { device } => cuda::allocator(&self.session, device),
        };
        let allocator = allocator.map_err(|error| self.refused("find memory", &error))?;
        let value = DynTensor::new(&allocator, spec.dtype.ort(), spec.sized(0));
        let mut tensor = SharedTensor { value: value.map_err(|error| self.refused("allocate", &error))?, spec };
        self.bind_output(name, &mut tensor)?;
        Ok(tensor)
    }

    /// Lets the graph read input `name` from `tensor`.
    ///
    /// # Errors
    /// No such input, or one of another type or shape.
    pub fn bind_input(&mut self, name: &str, tensor: &SharedTensor) -> Result<(), ExecutionError> {
        self.require_same(find(&self.name, "input", &self.inputs, name)?, tensor)?;
        self.binding.bind_input(name, &tensor.value).map_err(|error| self.refused("bind an input", &error))
    }

    /// Lets the graph write output `name` to `tensor`.
    ///
    /// # Errors
    /// No such output, or one of another type or shape.
    pub fn bind_output(&mut self, name: &str, tensor: &mut SharedTensor) -> Result<(), ExecutionError> {
        self.require_same(find(&self.name, "output", &self.outputs, name)?, tensor)?;
        self.binding.bind_output(name, &mut tensor.value).map_err(|error| self.refused("bind an output", &error))
    }

    /// What the next run reads from input `name`.
    ///
    /// # Errors
    /// Not allocated, or of another element type.
    pub fn input_mut<T: HostElement>(&mut self, name: &str) -> Result<&mut [T], ExecutionError> {
        let Some(index) = self.host_inputs.iter().position(|tensor| tensor.name == name) else {
            return Err(no_such(
                &self.name,
                "allocated input",
                name,
                self.host_inputs.iter().map(|tensor| &tensor.name),
            ));
        };
        let graph = &self.name;
        match self.host_inputs[index].value.try_extract_tensor_mut::<T>() {
            Ok((_, values)) => Ok(values),
            Err(error) => Err(element::<T>(graph, name, &error)),
        }
    }

    /// What the last run wrote to output `name`.
    ///
    /// # Errors
    /// Not allocated, or of another element type.
    pub fn output<T: HostElement>(&self, name: &str) -> Result<&[T], ExecutionError> {
        let Some(tensor) = self.host_outputs.iter().find(|tensor| tensor.name == name) else {
            return Err(no_such(
                &self.name,
                "allocated output",
                name,
                self.host_outputs.iter().map(|tensor| &tensor.name),
            ));
        };
        let values = tensor.value.try_extract_tensor::<T>().map_err(|error| element::<T>(&self.name, name, &error))?;
        Ok(values.1)
    }

    /// One pass. Every input must have been allocated or bound.
    ///
    /// # Errors
    /// Whatever ONNX Runtime says.
    pub fn run(&mut self) -> Result<(), ExecutionError> {
        if !self.provider.shares_host_memory() {
            // A device reads a copy that is made when an input is bound, not when the graph runs.
            for tensor in &self.host_inputs {
                let bound = self.binding.bind_input(tensor.name.as_str(), &tensor.value);
                bound.map_err(|error| ExecutionError::Run { graph: self.name.clone(), detail: error.to_string() })?;
            }
        }
        match self.session.run_binding(&self.binding) {
            Ok(_) => Ok(()),
            Err(error) => Err(ExecutionError::Run { graph: self.name.clone(), detail: error.to_string() }),
        }
    }

    fn host_tensor(&self, spec: &TensorSpec, named: usize) -> Result<DynTensor, ExecutionError> {
        let value = DynTensor::new(&Allocator::default(), spec.dtype.ort(), spec.sized(named));
        value.map_err(|error| self.refused("allocate", &error))
    }

    fn require_fixed(&self, spec: &TensorSpec) -> Result<(), ExecutionError> {
        if spec.shape.iter().all(|dim| matches!(dim, Dim::Fixed(_))) {
            return Ok(());
        }
        let (found, expected) = (spec.to_string(), "a fixed shape".to_owned());
        Err(ExecutionError::TensorKind { graph: self.name.clone(), name: spec.name.clone(), found, expected })
    }

    fn require_same(&self, spec: &TensorSpec, tensor: &SharedTensor) -> Result<(), ExecutionError> {
        if spec.dtype == tensor.spec.dtype && spec.shape == tensor.spec.shape {
            return Ok(());
        }
        let (found, expected) = (tensor.spec.to_string(), spec.to_string());
        Err(ExecutionError::TensorKind { graph: self.name.clone(), name: spec.name.clone(), found, expected })
    }

    fn refused(&self, action: &'static str, error: &ort::Error) -> ExecutionError {
        ExecutionError::Call { graph: self.name.clone(), action, detail: error.to_string() }
    }
}

fn with_provider(builder: SessionBuilder, provider: Provider) -> Result<SessionBuilder, ExecutionError> {
    let built = match provider {
        Provider::Cpu => return Ok(builder),
        Provider::Cuda { device } => builder.with_execution_providers([cuda::dispatch(device)]),
        Provider::TensorRt { device } => builder.with_execution_providers(tensorrt::dispatch(device)),
    };
    built.map_err(|error| ExecutionError::Provider { provider, detail: error.to_string() })
}

fn with_options(builder: SessionBuilder, options: &GraphOptions) -> ort::Result<SessionBuilder> {
    let builder = builder
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(usize::from(options.threads))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(options.spinning)?
        .with_log_level(ort::logging::LogLevel::Warning)?;
    Ok(builder)
}

fn specs_of(graph: &str, outlets: &[ort::value::Outlet]) -> Result<Vec<TensorSpec>, ExecutionError> {
    outlets.iter().map(|outlet| TensorSpec::of(graph, outlet)).collect()
}

fn find<'a>(
    graph: &str,
    what: &'static str,
    specs: &'a [TensorSpec],
    name: &str,
) -> Result<&'a TensorSpec, ExecutionError> {
    let found = specs.iter().find(|spec| spec.name == name);
    found.ok_or_else(|| no_such(graph, what, name, specs.iter().map(|spec| &spec.name)))
}

fn replace(tensors: &mut Vec<HostTensor>, name: &str, value: DynTensor) {
    match tensors.iter_mut().find(|tensor| tensor.name == name) {
        Some(tensor) => tensor.value = value,
        None => tensors.push(HostTensor { name: name.to_owned(), value }),
    }
}

fn no_such<'a>(graph: &str, what: &'static str, name: &str, known: impl Iterator<Item = &'a String>) -> ExecutionError {
    ExecutionError::NoSuchTensor {
        graph: graph.to_owned(),
        what,
        name: name.to_owned(),
        known: known.cloned().collect(),
    }
}

fn element<T: HostElement>(graph: &str, name: &str, error: &ort::Error) -> ExecutionError {
    let expected = std::any::type_name::<T>().to_owned();
    ExecutionError::TensorKind { graph: graph.to_owned(), name: name.to_owned(), found: error.to_string(), expected }
}
