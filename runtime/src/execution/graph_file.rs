//! What an `.onnx` file says about tensors that lie beside it: name, type, shape and place, and what reads them.
//!
//! From: a graph of a verified bundle. To: [`super::weights`]. Only these fields of ONNX's `ModelProto` are read; their numbers are
//! those of onnx.proto3.

use super::error::ExecutionError;
use super::tensor::Element;
use prost::Message;
use std::collections::BTreeSet;
use std::path::Path;

/// Largest `.onnx` file that is read: graphs without weights are far smaller.
const GRAPH_BYTES_MAX: u64 = 256 << 20;
/// Tensors start at multiples of this, see `policies/BUNDLE.md`; the widest loads of the kernels need no more.
const ALIGNMENT_BYTES: usize = 64;

/// Where one tensor lies in the weights file; inside it, and as long as type and shape say.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Type of its numbers.
    pub dtype: Element,
    /// Slowest axis first.
    pub shape: Vec<i64>,
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
}

/// A graph without its weights.
#[derive(Debug)]
pub(super) struct GraphFile(GraphProto);

impl GraphFile {
    pub(super) fn read(file: &Path) -> Result<Self, ExecutionError> {
        let load = |detail: String| ExecutionError::Load { file: file.to_path_buf(), detail };
        let size = std::fs::metadata(file).map_err(|error| load(error.to_string()))?.len();
        if size > GRAPH_BYTES_MAX {
            return Err(load(format!("{size} bytes, expected a graph without weights, at most {GRAPH_BYTES_MAX}")));
        }
        let bytes = std::fs::read(file).map_err(|error| load(error.to_string()))?;
        Self::parse(&bytes).map_err(load)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let model = Model::decode(bytes).map_err(|error| format!("not an ONNX graph ({error})"))?;
        Ok(Self(model.graph.unwrap_or_default()))
    }

    /// Tensors that some operator takes rows from and no other looks at.
    pub(super) fn tables(&self) -> BTreeSet<String> {
        let gathers = |node: &&NodeProto| node.op_type.starts_with("Gather");
        let read: BTreeSet<&String> =
            self.0.node.iter().filter(|node| !gathers(node)).flat_map(|node| &node.input).collect();
        self.0
            .node
            .iter()
            .filter(gathers)
            .flat_map(|node| &node.input)
            .filter(|name| !read.contains(name))
            .cloned()
            .collect()
    }

    /// Every tensor that lies in `weights_name`, checked against the size of that file.
    pub(super) fn placed(&self, weights_name: &str, weights_len: usize) -> Result<Vec<(String, Placed)>, String> {
        let mut found = Vec::new();
        for tensor in &self.0.initializer {
            let entry =
                |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &*entry.value);
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
                Some(other) => {
                    return Err(format!("tensor {:?} lies in {other:?}, expected {weights_name}", tensor.name));
                }
            }
        }
        Ok(found)
    }
}

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
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
        GraphFile(GraphProto { node: Vec::new(), initializer: vec![tensor] }).placed("weights.bin", 1024)
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

    proptest! {
        #[test]
        fn damaged_graphs_are_errors_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let Ok(graph) = GraphFile::parse(&bytes) else { return Ok(()) };
            for (_, placed) in graph.placed("weights.bin", 1024).unwrap_or_default() {
                prop_assert!(placed.offset + placed.length <= 1024);
            }
        }
    }
}
