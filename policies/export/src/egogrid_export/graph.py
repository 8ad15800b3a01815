"""Building ONNX graphs by hand: nodes, and weights that lie in one file next to all graphs of a bundle.

From: packed tensors, written one after the other. To: `weights.bin` and small `*.onnx` files that refer to it by offset and length.
A tensor that two graphs use is stored once. Families say what a tensor is for (`add` or `add_matrix`, `product` or `rows`); how a matrix
is stored and which operator multiplies with it is decided here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from egogrid_export.precision import NUMPY_TYPES, Precision, rounded

WEIGHTS_FILE = "weights.bin"
MICROSOFT = "com.microsoft"
# Attention with a soft-cap came with opset 23; IR 11 is what belongs to it.
OPSET, IR_VERSION = 23, 11
ALIGNMENT_BYTES = 64
# Large tensors start on a page, so that a runtime can map them.
PAGE_BYTES, LARGE_BYTES = 4096, 1 << 20

ONNX_TYPES = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
}


@dataclass(frozen=True)
class Port:
    """One input or output of a graph; a dimension is a number or a name."""

    name: str
    dtype: str
    shape: list[int | str]


@dataclass(frozen=True)
class _Stored:
    """`scale`: what its user still has to multiply with; 1 where it was multiplied before it was written."""

    offset: int
    length: int
    shape: tuple[int, ...]
    dtype: str
    scale: float


class WeightsFile:
    """Writes tensors to `weights.bin` and remembers where each one lies and how. A context manager."""

    def __init__(self, directory: Path, precision: Precision) -> None:
        self._file = (directory / WEIGHTS_FILE).open("wb")
        self._precision = precision
        self.stored: dict[str, _Stored] = {}

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, tensor: np.ndarray) -> None:
        """A vector or small tensor that is added, compared or looked at: float32 in every precision."""
        self._write(name, tensor.shape, [tensor], "f32", 1.0)

    def add_matrix(self, name: str, matrix: np.ndarray, scale: float = 1.0) -> None:
        """`scale * matrix`, `[inputs, outputs]`, the right side of a product: what a precision may store in fewer bits."""
        self.add_rows(name, matrix.shape, [matrix], scale)

    def add_rows(self, name: str, shape: tuple[int, ...], pieces: Iterable[np.ndarray], scale: float = 1.0) -> None:
        """`scale` times a table given as consecutive pieces along its first axis, so that it never has to be in memory as a whole.

        The scale is apart, because weights that a checkpoint has in 16 bits stay what they are only without it.
        """
        dtype = self._precision.dtype
        if dtype == "f32" and scale != 1.0:
            self._write(name, shape, (piece.astype(np.float64) * scale for piece in pieces), dtype, 1.0)
        else:
            self._write(name, shape, pieces, dtype, scale)

    def _write(self, name: str, shape: tuple[int, ...], pieces: Iterable[np.ndarray], dtype: str, scale: float) -> None:
        if name in self.stored:
            raise AssertionError(f"{name} is stored twice")
        expected = NUMPY_TYPES[dtype].itemsize * int(np.prod(shape, dtype=np.int64))
        alignment = PAGE_BYTES if expected >= LARGE_BYTES else ALIGNMENT_BYTES
        self._file.write(bytes(-self._file.tell() % alignment))
        offset, written = self._file.tell(), 0
        for piece in pieces:
            written += self._file.write(rounded(name, piece, dtype).view(np.uint8).data)
        if written != expected:
            raise AssertionError(f"{name}: wrote {written} bytes of {expected}")
        self.stored[name] = _Stored(offset, written, tuple(shape), dtype, scale)


@dataclass
class GraphBuilder:
    """Collects nodes in running order. Methods return the names of what a node computes."""

    name: str
    weights: WeightsFile
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    _initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    _widened: dict[str, str] = field(default_factory=dict)

    def input(self, name: str, dtype: str, shape: list[int | str]) -> str:
        self.inputs.append(Port(name, dtype, shape))
        return name

    def output(self, name: str, dtype: str, shape: list[int | str]) -> str:
        """Declares an output; some node must be told to write to this name."""
        self.outputs.append(Port(name, dtype, shape))
        return name

    def op(self, kind: str, inputs: list[str], out: str | list[str] | None = None, domain: str = "", **attributes: Any) -> str:
        """Adds a node and returns its first output. `out`: its output names, made up where None."""
        label = f"{kind.lower()}_{len(self.nodes)}"
        outputs = [label] if out is None else [out] if isinstance(out, str) else out
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=label, domain=domain, **attributes))
        return outputs[0]

    def weight(self, name: str) -> str:
        """A tensor of `weights.bin`, as it is stored."""
        if name not in self._initializers:
            stored = self.weights.stored[name]
            proto = TensorProto(name=name, data_type=ONNX_TYPES[stored.dtype], dims=stored.shape)
            proto.data_location = TensorProto.EXTERNAL
            for key, value in (("location", WEIGHTS_FILE), ("offset", stored.offset), ("length", stored.length)):
                proto.external_data.add(key=key, value=str(value))
            self._initializers[name] = proto
        return name

    def weight_f32(self, name: str) -> str:
        """A tensor of `weights.bin` as float32, without its scale. The CPU provider has no products in 16 bits."""
        if self.weights.stored[name].dtype == "f32":
            return self.weight(name)
        if name not in self._widened:
            self._widened[name] = self.op("Cast", [self.weight(name)], out=f"{name}.f32", to=TensorProto.FLOAT)
        return self._widened[name]

    def product(self, x: str, name: str, out: str | None = None) -> str:
        """`x @ matrix` for a matrix that was stored by `add_matrix`; `x` is `[..., inputs]`."""
        if self._scale(name) == 1.0:
            return self.op("MatMul", [x, self.weight_f32(name)], out=out)
        return self._scaled(name, self.op("MatMul", [x, self.weight_f32(name)]), out)

    def affine(self, x: str, at: str, bias: str = "bias") -> str:
        """`x @ weight + bias` on a matrix `[n, inputs]`, from `{at}.weight` (`add_matrix`) and `{at}.{bias}`."""
        weight = f"{at}.weight"
        return self.op("Gemm", [x, self.weight_f32(weight), self.weight(f"{at}.{bias}")], **self._alpha(weight))

    def rows(self, table: str, ids: str) -> str:
        """Rows of a table that was stored by `add_rows`, as float32."""
        found = self.op("Gather", [self.weight(table), ids])
        if self.weights.stored[table].dtype != "f32":
            found = self.op("Cast", [found], to=TensorProto.FLOAT)
        return self._scaled(table, found)

    def product_by_rows(self, x: str, table: str, out: str | None = None) -> str:
        """`x @ table.T` on a matrix `[n, width]`, for a table `[rows, width]` that was stored by `add_rows`."""
        return self.op("Gemm", [x, self.weight_f32(table)], out=out, transB=1, **self._alpha(table))

    def _scale(self, name: str) -> float:
        return self.weights.stored[name].scale

    def _alpha(self, name: str) -> dict[str, float]:
        return {} if self._scale(name) == 1.0 else {"alpha": self._scale(name)}

    def _scaled(self, name: str, value: str, out: str | None = None) -> str:
        scale = self._scale(name)
        return value if scale == 1.0 else self.op("Mul", [value, self.constant(f"{name}.scale", np.float32(scale))], out=out)

    def layer_norm(self, x: str, at: str, eps: float) -> str:
        """With `{at}.weight` and `{at}.bias`, over the last axis."""
        return self.op("LayerNormalization", [x, self.weight(f"{at}.weight"), self.weight(f"{at}.bias")], epsilon=eps)

    def rms_norm(self, x: str, name: str, eps: float) -> str:
        return self.op("RMSNormalization", [x, self.weight(name)], epsilon=eps)

    def constant(self, name: str, value: np.ndarray) -> str:
        """A small tensor inside the graph file."""
        if name not in self._initializers:
            self._initializers[name] = onnx.numpy_helper.from_array(value, name)
        return name

    def integers(self, *values: int) -> str:
        """A vector of i64, named by its values."""
        return self.constant("i64_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def save(self, path: Path) -> None:
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(port.name, ONNX_TYPES[port.dtype], port.shape) for port in self.inputs],
            [helper.make_tensor_value_info(port.name, ONNX_TYPES[port.dtype], port.shape) for port in self.outputs],
            list(self._initializers.values()),
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="egogrid_export")
        path.write_bytes(model.SerializeToString())
