//! What a graph says about its inputs and outputs, and tensors that pass between graphs without the host.

use super::error::ExecutionError;
use ort::value::{DynTensor, TensorElementType, ValueType};
use serde::Deserialize;
use std::fmt;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names say it
pub enum Element {
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I8,
    U8,
}

impl Element {
    /// Names as a bundle's manifest writes them.
    pub const NAMES: [&'static str; 7] = ["f32", "f16", "bf16", "i64", "i32", "i8", "u8"];

    fn of(element: TensorElementType) -> Option<Self> {
        Some(match element {
            TensorElementType::Float32 => Self::F32,
            TensorElementType::Float16 => Self::F16,
            TensorElementType::Bfloat16 => Self::Bf16,
            TensorElementType::Int64 => Self::I64,
            TensorElementType::Int32 => Self::I32,
            TensorElementType::Int8 => Self::I8,
            TensorElementType::Uint8 => Self::U8,
            _ => return None,
        })
    }

    /// From the numbers of `TensorProto.DataType`.
    pub(super) fn of_onnx(data_type: i32) -> Option<Self> {
        Some(match data_type {
            1 => Self::F32,
            10 => Self::F16,
            16 => Self::Bf16,
            7 => Self::I64,
            6 => Self::I32,
            3 => Self::I8,
            2 => Self::U8,
            _ => return None,
        })
    }

    /// Size of one element.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }

    pub(super) fn ort(self) -> TensorElementType {
        match self {
            Self::F32 => TensorElementType::Float32,
            Self::F16 => TensorElementType::Float16,
            Self::Bf16 => TensorElementType::Bfloat16,
            Self::I64 => TensorElementType::Int64,
            Self::I32 => TensorElementType::Int32,
            Self::I8 => TensorElementType::Int8,
            Self::U8 => TensorElementType::Uint8,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES[*self as usize])
    }
}

/// One dimension: a size, or a name for a size that differs from run to run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Always this.
    Fixed(u32),
    /// Chosen with each allocation.
    Named(String),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => size.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Name, type and shape of an input or output. Prints as `f32[1, text_tokens]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// As in the graph.
    pub name: String,
    /// Element type.
    pub dtype: Element,
    /// Slowest axis first; empty for a scalar.
    pub shape: Vec<Dim>,
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (axis, dim) in self.shape.iter().enumerate() {
            write!(f, "{}{dim}", if axis == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

impl TensorSpec {
    pub(super) fn of(graph: &str, outlet: &ort::value::Outlet) -> Result<Self, ExecutionError> {
        let name = outlet.name().to_owned();
        let refused = || ExecutionError::ElementType {
            graph: graph.to_owned(),
            name: outlet.name().to_owned(),
            found: outlet.dtype().to_string(),
        };
        let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else { return Err(refused()) };
        let dtype = Element::of(*ty).ok_or_else(refused)?;
        let dim = |(axis, &size): (usize, &i64)| match u32::try_from(size) {
            Ok(size) => Dim::Fixed(size),
            Err(_) => Dim::Named(dimension_symbols.get(axis).cloned().unwrap_or_default()),
        };
        Ok(Self { name, dtype, shape: shape.iter().enumerate().map(dim).collect() })
    }

    /// The shape with every named dimension set to `named`.
    pub(super) fn sized(&self, named: usize) -> Vec<i64> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => i64::from(*size),
            Dim::Named(_) => named as i64,
        };
        self.shape.iter().map(size).collect()
    }
}

/// Element types that the host reads and writes.
pub trait HostElement: ort::value::PrimitiveTensorElementType + Copy + Default + fmt::Debug {}
impl HostElement for f32 {}
impl HostElement for i64 {}
impl HostElement for i32 {}

/// A tensor that graphs hand to each other, or to themselves: in the memory of the provider, never copied by the host.
#[derive(Debug)]
pub struct SharedTensor {
    pub(super) value: DynTensor,
    pub(super) spec: TensorSpec,
}

impl SharedTensor {
    /// A copy for the host, of an `f32` tensor. For checks and views; the control path never needs it.
    ///
    /// # Errors
    /// Another element type, or a device that cannot be read.
    pub fn to_host(&self) -> Result<Vec<f32>, ExecutionError> {
        let failed = |error: ort::Error| ExecutionError::Call {
            graph: self.spec.name.clone(),
            action: "copy a tensor to the host",
            detail: error.to_string(),
        };
        if self.value.memory_info().is_cpu_accessible() {
            return Ok(self.value.try_extract_tensor::<f32>().map_err(failed)?.1.to_vec());
        }
        let host = self.value.to(ort::memory::AllocationDevice::CPU, 0).map_err(failed)?;
        Ok(host.try_extract_tensor::<f32>().map_err(failed)?.1.to_vec())
    }
}
