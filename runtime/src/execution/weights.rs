//! The weights of a bundle: one file, mapped once, read in place by every graph of a policy.
//!
//! From: `weights.bin` and the external-data entries of each `.onnx` file (name, type, shape, offset, length). To:
//! [`super::Graph::load_sharing`], which hands them to ONNX Runtime as initializers that it does not own. Kernels that
//! rearrange a matrix for speed do it once per process: what prefill has rearranged, decode finds in [`PrepackedWeights`].
//! Without this every graph reads and rearranges its own copy (a model of 4 GB would take 8).

#![allow(unsafe_code)] // the only file that may, see tests/layering.rs

use super::error::ExecutionError;
use super::tensor::Element;
use memmap2::{Mmap, MmapOptions};
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::DynValue;
use prost::Message;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Largest `.onnx` file that is read: graphs without weights are far smaller.
const GRAPH_BYTES_MAX: u64 = 256 << 20;
/// Tensors start at multiples of this, see `policies/BUNDLE.md`; the widest loads of the kernels need no more.
const ALIGNMENT_BYTES: usize = 64;

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

/// Where one tensor lies.
#[derive(Debug, Clone, PartialEq)]
struct Placed {
    dtype: Element,
    shape: Vec<i64>,
    offset: usize,
    length: usize,
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

    /// Gives `builder` every tensor of this file that the graph in `graph_file` names.
    pub(super) fn hand_to(
        &self,
        mut builder: SessionBuilder,
        graph_file: &Path,
    ) -> Result<SessionBuilder, ExecutionError> {
        let load = |detail: String| ExecutionError::Load { file: graph_file.to_path_buf(), detail };
        builder = builder.with_prepacked_weights(&self.0.prepacked).map_err(|error| load(error.to_string()))?;
        for (name, placed) in self.placed_in(graph_file)? {
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
        let size = std::fs::metadata(graph_file).map_err(|error| load(error.to_string()))?.len();
        if size > GRAPH_BYTES_MAX {
            return Err(load(format!("{size} bytes, expected a graph without weights, at most {GRAPH_BYTES_MAX}")));
        }
        let bytes = std::fs::read(graph_file).map_err(|error| load(error.to_string()))?;
        placed(&bytes, &self.0.name, self.0.map.len()).map_err(load)
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

/// The part of ONNX's `ModelProto` that says where tensors lie. Numbers are those of onnx.proto3.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Every tensor of the graph in `bytes` that lies in `weights_name`, checked against the size of that file.
fn placed(bytes: &[u8], weights_name: &str, weights_len: usize) -> Result<Vec<(String, Placed)>, String> {
    let graph = Model::decode(bytes).map_err(|error| format!("not an ONNX graph ({error})"))?.graph.unwrap_or_default();
    let mut found = Vec::new();
    for tensor in graph.initializer {
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
        match entry("location") {
            None => {}
            Some(location) if location == weights_name => {
                let wrong = || format!("tensor {:?} does not lie inside {weights_name}", tensor.name);
                let number = |key: &str| entry(key).and_then(|value| value.parse::<usize>().ok()).ok_or_else(wrong);
                let (offset, length) = (number("offset")?, number("length")?);
                let dtype = Element::of_onnx(tensor.data_type)
                    .ok_or_else(|| format!("tensor {:?} has the ONNX type {}", tensor.name, tensor.data_type))?;
                let mut sides = tensor.dims.iter().map(|side| usize::try_from(*side).ok());
                let elements = sides.try_fold(1usize, |product, side| product.checked_mul(side?));
                let expected = elements.and_then(|count| count.checked_mul(dtype.bytes()));
                let inside = offset.checked_add(length).is_some_and(|end| end <= weights_len);
                if expected != Some(length) || !inside || length == 0 || offset % ALIGNMENT_BYTES != 0 {
                    return Err(wrong());
                }
                found.push((tensor.name.clone(), Placed { dtype, shape: tensor.dims.clone(), offset, length }));
            }
            Some(other) => return Err(format!("tensor {:?} lies in {other:?}, expected {weights_name}", tensor.name)),
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tensor(dims: Vec<i64>, data_type: i32, entries: &[(&str, &str)]) -> TensorProto {
        let external_data =
            entries.iter().map(|(key, value)| Entry { key: (*key).into(), value: (*value).into() }).collect();
        TensorProto { dims, data_type, name: "w".into(), external_data }
    }

    fn read(tensor: TensorProto) -> Result<Vec<(String, Placed)>, String> {
        let model = Model { graph: Some(GraphProto { initializer: vec![tensor] }) };
        placed(&model.encode_to_vec(), "weights.bin", 1024)
    }

    #[test]
    fn a_tensor_is_found_where_the_graph_says_it_lies() {
        let at = [("location", "weights.bin"), ("offset", "64"), ("length", "960")];
        let expected = Placed { dtype: Element::F32, shape: vec![2, 120], offset: 64, length: 960 };
        assert_eq!(read(tensor(vec![2, 120], 1, &at)).unwrap(), [("w".to_owned(), expected)]);
        assert_eq!(read(tensor(vec![2], 1, &[])).unwrap(), [], "data inside the graph is not ours");
    }

    #[test]
    fn whatever_does_not_lie_inside_the_file_is_refused() {
        let entries = |offset: &'static str, length: &'static str| {
            [("location", "weights.bin"), ("offset", offset), ("length", length)]
        };
        for (dims, data_type, entries) in [
            (vec![2, 121], 1, entries("64", "960")),
            (vec![2, 120], 10, entries("64", "960")),
            (vec![2, 120], 1, entries("128", "960")),
            (vec![2, 120], 1, entries("32", "960")),
            (vec![2, 120], 1, entries("18446744073709551552", "960")),
            (vec![2, 120], 1, entries("-64", "960")),
            (vec![-2, -120], 1, entries("64", "960")),
            (vec![i64::MAX, i64::MAX], 1, entries("64", "960")),
            (vec![0, 120], 1, entries("64", "0")),
            (vec![2, 120], 8, entries("64", "960")),
            (vec![2, 120], 1, [("location", "other.bin"), ("offset", "64"), ("length", "960")]),
        ] {
            assert!(read(tensor(dims.clone(), data_type, &entries)).is_err(), "{dims:?} {data_type} {entries:?}");
        }
    }

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
        let other = Placed { offset: 0, ..prefill[0].2.clone() };
        let moved = Placed { offset: other.offset + 64, ..other };
        assert!(weights.value(&prefill[0].1, &moved).is_err(), "one name, two places");
    }

    proptest! {
        #[test]
        fn damaged_graphs_are_errors_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for (_, placed) in placed(&bytes, "weights.bin", 1024).unwrap_or_default() {
                prop_assert!(placed.offset + placed.length <= 1024);
            }
        }
    }
}
