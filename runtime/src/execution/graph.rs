//! One session with tensors that are allocated once and bound by name.
//!
//! From: a `.onnx` file (weights next to it). To: the policy families. Host tensors belong to the graph: fill the
//! inputs, [`Graph::run`], read the outputs. A [`SharedTensor`] is bound to several graphs, or as input and output of
//! one: a cache that is updated in place, features that go from one graph to the next. A graph that must not write where
//! it reads has two such tensors, and its runs alternate between two sides.

use super::cancel::Cancel;
use super::environment::Environment;
use super::error::ExecutionError;
use super::options::GraphOptions;
use super::provider::Provider;
use super::start;
use super::tensor::{Dim, HostElement, SharedTensor, TensorSpec};
use super::weights::Weights;
use super::{cpu, cuda};
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
    /// Indexed by [`Side`].
    bindings: [IoBinding; 2],
    provider: Provider,
    /// Ends a run, and says how it is asked for.
    cancel: Cancel,
    /// Whether runs are recorded and replayed.
    replays: bool,
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
    /// The same in the device's memory, where a replayed run expects it at its recorded address.
    staged: Option<DynTensor>,
}

/// Which of a graph's two sets of bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Side {
    First,
    Second,
}

impl Side {
    const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// The one that is not this one.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
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
        let weights = options.provider.takes_mapped_weights().then(|| weights.clone());
        Self::load_from(environment, file, weights, options)
    }

    /// [`Self::load`], from memory; for graphs that are part of this program.
    pub(super) fn load_bytes(
        environment: &Environment,
        name: &str,
        bytes: &[u8],
        options: &GraphOptions,
    ) -> Result<Self, ExecutionError> {
        let mut builder = builder(environment, Path::new(name), options)?;
        let session = builder.commit_from_memory(bytes);
        let session = session.map_err(|error| start::refused(Path::new(name), &options.provider, &error))?;
        Self::with_session(name, session, None, options)
    }

    fn load_from(
        environment: &Environment,
        file: &Path,
        weights: Option<Weights>,
        options: &GraphOptions,
    ) -> Result<Self, ExecutionError> {
        let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let mut builder = builder(environment, file, options)?;
        if let Some(weights) = &weights {
            builder = weights.hand_to(builder, file)?;
        }
        let session =
            builder.commit_from_file(file).map_err(|error| start::refused(file, &options.provider, &error))?;
        Self::with_session(&name, session, weights, options)
    }

    fn with_session(
        name: &str,
        session: Session,
        weights: Option<Weights>,
        options: &GraphOptions,
    ) -> Result<Self, ExecutionError> {
        let call = |error: ort::Error| ExecutionError::Call {
            graph: name.to_owned(),
            action: "bind its tensors",
            detail: error.to_string(),
        };
        let (inputs, outputs) = (specs_of(name, session.inputs())?, specs_of(name, session.outputs())?);
        let bindings = [session.create_binding().map_err(call)?, session.create_binding().map_err(call)?];
        let provider = options.provider.clone();
        let cancel = options.cancel.clone().map_or_else(Cancel::new, Ok).map_err(call)?;
        let replays = provider.replays();
        let (host_inputs, host_outputs) = (Vec::new(), Vec::new());
        Ok(Self {
            name: name.to_owned(),
            session,
            bindings,
            provider,
            cancel,
            replays,
            inputs,
            outputs,
            host_inputs,
            host_outputs,
            _weights: weights,
        })
    }

    /// As on a device that replays runs.
    #[cfg(test)]
    pub(super) fn stage_everything(&mut self) {
        self.replays = true;
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
        let spec = find(&self.name, "input", &self.inputs, name)?;
        let tensor = self.host_tensor(spec, named)?;
        for side in Side::BOTH {
            let bound = self.bindings[side as usize].bind_input(name, tensor.staged.as_ref().unwrap_or(&tensor.value));
            bound.map_err(|error| self.refused("bind an input", &error))?;
        }
        replace(&mut self.host_inputs, tensor);
        Ok(())
    }

    /// Gives output `name` memory that the host can read.
    ///
    /// # Errors
    /// No such output, a size that is not fixed, or no memory.
    pub fn allocate_output(&mut self, name: &str) -> Result<(), ExecutionError> {
        let spec = find(&self.name, "output", &self.outputs, name)?;
        self.require_fixed(spec)?;
        let mut tensor = self.host_tensor(spec, 0)?;
        for side in Side::BOTH {
            let value = tensor.staged.as_mut().unwrap_or(&mut tensor.value);
            let bound = self.bindings[side as usize].bind_output(name, value);
            bound.map_err(|error| self.refused("bind an output", &error))?;
        }
        replace(&mut self.host_outputs, tensor);
        Ok(())
    }

    /// A tensor like output `name` in the provider's memory, already bound to it. Its contents are not defined yet.
    ///
    /// # Errors
    /// No such output, a size that is not fixed, or no memory.
    pub fn share_output(&mut self, name: &str) -> Result<SharedTensor, ExecutionError> {
        let mut tensor = self.tensor_like(name)?;
        self.bind_output(name, &mut tensor)?;
        Ok(tensor)
    }

    /// A tensor like output `name` in the provider's memory, bound to nothing yet. Its contents are not defined.
    ///
    /// # Errors
    /// No such output, a size that is not fixed, or no memory.
    pub fn tensor_like(&self, name: &str) -> Result<SharedTensor, ExecutionError> {
        let spec = find(&self.name, "output", &self.outputs, name)?.clone();
        self.require_fixed(&spec)?;
        let value = self.device_tensor(&spec, 0)?;
        Ok(SharedTensor { value, spec })
    }

    /// Lets the graph read input `name` from `tensor`.
    ///
    /// # Errors
    /// No such input, or one of another type or shape.
    pub fn bind_input(&mut self, name: &str, tensor: &SharedTensor) -> Result<(), ExecutionError> {
        Side::BOTH.into_iter().try_for_each(|side| self.bind_input_on(side, name, tensor))
    }

    /// [`Self::bind_input`] on one side.
    ///
    /// # Errors
    /// As there.
    pub fn bind_input_on(&mut self, side: Side, name: &str, tensor: &SharedTensor) -> Result<(), ExecutionError> {
        self.require_same(find(&self.name, "input", &self.inputs, name)?, tensor)?;
        let bound = self.bindings[side as usize].bind_input(name, &tensor.value);
        bound.map_err(|error| self.refused("bind an input", &error))
    }

    /// Lets the graph write output `name` to `tensor`.
    ///
    /// # Errors
    /// No such output, or one of another type or shape.
    pub fn bind_output(&mut self, name: &str, tensor: &mut SharedTensor) -> Result<(), ExecutionError> {
        Side::BOTH.into_iter().try_for_each(|side| self.bind_output_on(side, name, tensor))
    }

    /// [`Self::bind_output`] on one side.
    ///
    /// # Errors
    /// As there.
    pub fn bind_output_on(&mut self, side: Side, name: &str, tensor: &mut SharedTensor) -> Result<(), ExecutionError> {
        self.require_same(find(&self.name, "output", &self.outputs, name)?, tensor)?;
        let bound = self.bindings[side as usize].bind_output(name, &mut tensor.value);
        bound.map_err(|error| self.refused("bind an output", &error))
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
        self.run_on(Side::First)
    }

    /// [`Self::run`] with the tensors of one side.
    ///
    /// # Errors
    /// As there.
    pub fn run_on(&mut self, side: Side) -> Result<(), ExecutionError> {
        self.run_staged(side).map_err(|error| match self.cancel.is_cancelled() {
            true => ExecutionError::Cancelled { graph: self.name.clone() },
            false => ExecutionError::Run { graph: self.name.clone(), detail: error.to_string() },
        })
    }

    fn run_staged(&mut self, side: Side) -> ort::Result<()> {
        let binding = &mut self.bindings[side as usize];
        for tensor in &mut self.host_inputs {
            match &mut tensor.staged {
                Some(staged) => tensor.value.copy_into(staged)?,
                // A device reads a copy that is made when an input is bound, not when the graph runs.
                None if !self.provider.shares_host_memory() => binding.bind_input(&tensor.name, &tensor.value)?,
                None => {}
            }
        }
        let asked = if self.replays { self.cancel.replayed(side) } else { self.cancel.plain() };
        drop(self.session.run_binding_with_options(binding, asked)?);
        for tensor in &mut self.host_outputs {
            if let Some(staged) = &tensor.staged {
                staged.copy_into(&mut tensor.value)?;
            }
        }
        Ok(())
    }

    fn host_tensor(&self, spec: &TensorSpec, named: usize) -> Result<HostTensor, ExecutionError> {
        let value = DynTensor::new(&Allocator::default(), spec.dtype.ort(), spec.sized(named));
        let value = value.map_err(|error| self.refused("allocate", &error))?;
        let staged = self.replays.then(|| self.device_tensor(spec, named)).transpose()?;
        Ok(HostTensor { name: spec.name.clone(), value, staged })
    }

    /// In the memory that the provider computes in.
    fn device_tensor(&self, spec: &TensorSpec, named: usize) -> Result<DynTensor, ExecutionError> {
        let allocator = match self.provider.cuda_device() {
            Some(device) => cuda::allocator(&self.session, device),
            None => Ok(cpu::allocator()),
        };
        let allocator = allocator.map_err(|error| self.refused("find memory", &error))?;
        let value = DynTensor::new(&allocator, spec.dtype.ort(), spec.sized(named));
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

/// Everything but the model: the provider that was asked for, and only it.
fn builder(environment: &Environment, file: &Path, options: &GraphOptions) -> Result<SessionBuilder, ExecutionError> {
    options.check()?;
    let load = |error: ort::Error| ExecutionError::Load { file: file.to_path_buf(), detail: error.to_string() };
    let builder = Session::builder(&environment.inner).map_err(load)?;
    let builder = start::with_provider(builder, environment, options)?;
    with_options(builder, options).map_err(load)
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

fn replace(tensors: &mut Vec<HostTensor>, tensor: HostTensor) {
    match tensors.iter_mut().find(|known| known.name == tensor.name) {
        Some(known) => *known = tensor,
        None => tensors.push(tensor),
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
