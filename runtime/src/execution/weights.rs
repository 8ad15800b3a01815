//! The weights of a bundle: one file, mapped once, read in place by every graph of a policy.
//!
//! From: `weights.bin` and the external-data entries of each `.onnx` file (name, type, shape, offset, length). To:
//! [`super::Graph::load_sharing`], which hands them to ONNX Runtime as initializers that it does not own. Kernels that
//! rearrange a matrix for speed do it once per process: what prefill has rearranged, decode finds in [`PrepackedWeights`].
//! Without this every graph reads and rearranges its own copy (a model of 4 GB would take 8).

#![allow(unsafe_code)] // the only file that may, see tests/layering.rs

use super::error::ExecutionError;
use super::graph_file::{GraphFile, Placed};
use super::tensor::Element;
use memmap2::{Mmap, MmapOptions};
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::DynValue;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// The processor has no 16-bit products: ONNX Runtime keeps an `f32` copy of such weights for each graph, up to this size.
const WIDENED_BYTES_MAX: usize = 2 << 30;

/// One mapped weights file. Cheap to clone; the last clone, and the last graph that reads it, unmaps it.
#[derive(Debug, Clone)]
pub struct Weights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    /// By name; a tensor that two graphs use is one value. Dropped before the mapping that they point into.
    values: Mutex<BTreeMap<String, (Placed, Arc<DynValue>)>>,
    prepacked: PrepackedWeights,
    map: Mmap,
}

impl Weights {
    /// Maps `file`, which must not change while the process runs: it belongs to a verified bundle.
    ///
    /// # Errors
    /// A file that cannot be opened or mapped.
    pub fn open(file: &Path) -> Result<Self, ExecutionError> {
        let refused =
            |error: std::io::Error| ExecutionError::Weights { file: file.to_path_buf(), detail: error.to_string() };
        let handle = File::open(file).map_err(refused)?;
        // SAFETY: the mapping is private and read-only, and bundles are never written in place: the exporter writes a new
        // directory and renames it, and a verified bundle is not ours to change.
        let map = unsafe { MmapOptions::new().map(&handle) }.map_err(refused)?;
        let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let (prepacked, values) = (PrepackedWeights::new(), Mutex::new(BTreeMap::new()));
        Ok(Self(Arc::new(Inner { name, values, prepacked, map })))
    }

    /// How many bytes are mapped.
    pub fn bytes(&self) -> usize {
        self.0.map.len()
    }

    /// How many bytes one pass of the graph in `graph_file` has to read: all of its tensors but the tables that it only takes
    /// rows from. Divided by the machine's read bandwidth it is the limit of a pass over one token.
    ///
    /// # Errors
    /// A file that is no graph of this bundle.
    pub fn bytes_read_by(&self, graph_file: &Path) -> Result<usize, ExecutionError> {
        let load = |detail: String| ExecutionError::Load { file: graph_file.to_path_buf(), detail };
        let graph = GraphFile::read(graph_file)?;
        let tables = graph.tables();
        let placed = graph.placed(&self.0.name, self.0.map.len()).map_err(load)?;
        Ok(placed.iter().filter(|(name, _)| !tables.contains(name)).map(|(_, placed)| placed.length).sum())
    }

    /// Where `tensor` of the graph in `graph_file` lies; `None` where the graph has no such tensor in this file.
    ///
    /// # Errors
    /// A file that is no graph of this bundle.
    pub fn place_of(&self, graph_file: &Path, tensor: &str) -> Result<Option<Placed>, ExecutionError> {
        Ok(self.placed_in(graph_file)?.into_iter().find(|(name, _)| name == tensor).map(|(_, placed)| placed))
    }

    /// Gives `builder` every tensor of this file that the graph in `graph_file` names.
    pub(super) fn hand_to(
        &self,
        mut builder: SessionBuilder,
        graph_file: &Path,
    ) -> Result<SessionBuilder, ExecutionError> {
        let load = |detail: String| ExecutionError::Load { file: graph_file.to_path_buf(), detail };
        builder = builder.with_prepacked_weights(&self.0.prepacked).map_err(|error| load(error.to_string()))?;
        let tensors = self.placed_in(graph_file)?;
        let sixteen_bit = |placed: &&Placed| matches!(placed.dtype, Element::F16 | Element::Bf16);
        let widened: usize = tensors.iter().map(|(_, placed)| placed).filter(sixteen_bit).map(|p| 2 * p.length).sum();
        if widened > WIDENED_BYTES_MAX {
            tracing::warn!(
                graph = %graph_file.display(),
                "16-bit weights are widened in every pass: {widened} bytes as f32 are too many to keep; int8 or int4 suits a processor better"
            );
            builder = builder.with_disabled_optimizers("ConstantFolding").map_err(|error| load(error.to_string()))?;
        }
        for (name, placed) in tensors {
            let value = self.value(&name, &placed).map_err(load)?;
            builder = builder.with_initializer(&name, value).map_err(|error| load(error.to_string()))?;
        }
        Ok(builder)
    }

    /// Tells the system that pages which were only read to be rearranged may go; those still in use come back from the file.
    pub fn release_pages(&self) {
        // A hint: where the system does not take it, memory stays higher and nothing else changes.
        // SAFETY: the mapping is read-only and backed by the file, so that dropped pages are read again with the same bytes.
        let advised = unsafe { self.0.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        if let Err(error) = advised {
            tracing::debug!(%error, "the mapped weights stay resident");
        }
    }

    fn placed_in(&self, graph_file: &Path) -> Result<Vec<(String, Placed)>, ExecutionError> {
        let load = |detail: String| ExecutionError::Load { file: graph_file.to_path_buf(), detail };
        GraphFile::read(graph_file)?.placed(&self.0.name, self.0.map.len()).map_err(load)
    }

    fn value(&self, name: &str, placed: &Placed) -> Result<Arc<DynValue>, String> {
        // A panic in another thread leaves whole entries only, which is a state to go on from.
        let mut values = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, value)) = values.get(name) {
            return if known == placed {
                Ok(Arc::clone(value))
            } else {
                Err(format!("tensor {name:?} is {placed:?} here and {known:?} in another graph"))
            };
        }
        let value = Arc::new(self.view(placed)?);
        values.insert(name.to_owned(), (placed.clone(), Arc::clone(&value)));
        Ok(value)
    }

    /// A tensor over the mapped bytes; nothing is copied. Lives no longer than the mapping: it is only ever kept beside
    /// it, in `Inner` and in graphs that hold a clone of this.
    fn view(&self, placed: &Placed) -> Result<DynValue, String> {
        let bytes = &self.0.map[placed.offset..placed.offset + placed.length];
        let (memory, mut value) = (MemoryInfo::default(), std::ptr::null_mut());
        // SAFETY: the pointer covers exactly `length` bytes of the mapping, whose type and shape `placed` has checked; it is
        // aligned for every element type. ONNX Runtime does not write to initializers that it is given.
        let status = unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                bytes.as_ptr().cast_mut().cast(),
                placed.length,
                placed.shape.as_ptr(),
                placed.shape.len(),
                placed.dtype.ort().into(),
                &raw mut value,
            )
        };
        // SAFETY: the status comes from the call above and is consumed here, once.
        unsafe { ort::Error::result_from_status(status) }.map_err(|error| error.to_string())?;
        let value = NonNull::new(value).ok_or_else(|| "ONNX Runtime made no tensor".to_owned())?;
        // SAFETY: a valid tensor that nobody else owns. The allocator is only what the binding asks for: data that was
        // handed in is not freed with the value.
        Ok(unsafe { DynValue::from_ptr(value, Some(&Allocator::default())) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_of_two_graphs_is_one_value_over_the_mapped_bytes() {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/spatialvla_golden_bundle/bundle");
        let library = std::env::var_os("EGOGRID_ORT_LIB")
            .map_or_else(|| bundle.join("../../../../third_party/onnxruntime/libonnxruntime.so"), Into::into);
        crate::execution::Environment::load(&library).unwrap();
        let weights = Weights::open(&bundle.join("weights.bin")).unwrap();
        let [prefill, decode] = ["prefill", "decode"].map(|graph| {
            let placed = weights.placed_in(&bundle.join(format!("{graph}.onnx"))).unwrap();
            let value = |(name, placed): (String, Placed)| (weights.value(&name, &placed).unwrap(), name, placed);
            placed.into_iter().map(value).collect::<Vec<_>>()
        });
        let mut shared = 0;
        for (value, name, placed) in &prefill {
            for (other, _, _) in decode.iter().filter(|(_, other, _)| other == name) {
                assert!(Arc::ptr_eq(value, other), "{name}");
                shared += placed.length;
            }
            let (_, data) = value.try_extract_tensor::<f32>().unwrap();
            assert_eq!(data.as_ptr().cast(), weights.0.map[placed.offset..].as_ptr(), "{name} is a copy");
        }
        assert!(shared * 2 > weights.bytes(), "{shared} of {} bytes are used by both", weights.bytes());
        let table = &prefill.iter().find(|(_, name, _)| name == "text.embeddings_scaled").unwrap().2;
        let all: usize = decode.iter().map(|(_, _, placed)| placed.length).sum();
        let read = weights.bytes_read_by(&bundle.join("decode.onnx")).unwrap();
        assert_eq!(read, all - table.length, "a token reads one row of the table");
        let other = Placed { offset: 0, ..prefill[0].2.clone() };
        let moved = Placed { offset: other.offset + 64, ..other };
        assert!(weights.value(&prefill[0].1, &moved).is_err(), "one name, two places");
    }
}
