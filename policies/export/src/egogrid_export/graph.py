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

WEIGHTS_FILE = "weights.bin"
MICROSOFT = "com.microsoft"
# Attention with a soft-cap came with opset 23; IR 11 is what belongs to it.
OPSET, IR_VERSION = 23, 11
ALIGNMENT_BYTES = 64
# Large tensors start on a page, so that a runtime can map them.
PAGE_BYTES, LARGE_BYTES = 4096, 1 << 20

ONNX_TYPES = {"f32": TensorProto.FLOAT, "i64": TensorProto.INT64, "i32": TensorProto.INT32}


@dataclass(frozen=True)
class Port:
    """One input or output of a graph; a dimension is a number or a name."""

    name: str
    dtype: str
    shape: list[int | str]


@dataclass(frozen=True)
class _Stored:
    offset: int
    length: int
    shape: tuple[int, ...]


class WeightsFile:
    """Writes float32 tensors to `weights.bin` and remembers where each one lies. A context manager."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / WEIGHTS_FILE).open("wb")
        self.stored: dict[str, _Stored] = {}

    def __enter__(self) -> WeightsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, tensor: np.ndarray) -> None:
        self.add_rows(name, tensor.shape, [tensor])

    def add_matrix(self, name: str, matrix: np.ndarray) -> None:
        """`[inputs, outputs]`, the right side of a product: what a precision may store in fewer bits."""
        self.add(name, matrix)

    def add_rows(self, name: str, shape: tuple[int, ...], pieces: Iterable[np.ndarray]) -> None:
        """A tensor given as consecutive pieces along its first axis, so that it never has to be in memory as a whole."""
        if name in self.stored:
            raise AssertionError(f"{name} is stored twice")
        expected = 4 * int(np.prod(shape, dtype=np.int64))
        alignment = PAGE_BYTES if expected >= LARGE_BYTES else ALIGNMENT_BYTES
        self._file.write(bytes(-self._file.tell() % alignment))
        offset, written = self._file.tell(), 0
        for piece in pieces:
            written += self._file.write(np.ascontiguousarray(piece, dtype="<f4").data)
        if written != expected:
            raise AssertionError(f"{name}: wrote {written} bytes of {expected}")
        self.stored[name] = _Stored(offset, written, tuple(shape))


@dataclass
class GraphBuilder:
    """Collects nodes in running order. Methods return the names of what a node computes."""

    name: str
    weights: WeightsFile
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    _initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)

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
        """A tensor of `weights.bin`."""
        if name not in self._initializers:
            stored = self.weights.stored[name]
            proto = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=stored.shape)
            proto.data_location = TensorProto.EXTERNAL
            for key, value in (("location", WEIGHTS_FILE), ("offset", stored.offset), ("length", stored.length)):
                proto.external_data.add(key=key, value=str(value))
            self._initializers[name] = proto
        return name

    def product(self, x: str, name: str, out: str | None = None) -> str:
        """`x @ matrix` for a matrix that was stored by `add_matrix`; `x` is `[..., inputs]`."""
        return self.op("MatMul", [x, self.weight(name)], out=out)

    def affine(self, x: str, at: str, bias: str = "bias") -> str:
        """`x @ weight + bias` on a matrix `[n, inputs]`, from `{at}.weight` (`add_matrix`) and `{at}.{bias}`."""
        return self.op("Gemm", [x, self.weight(f"{at}.weight"), self.weight(f"{at}.{bias}")])

    def rows(self, table: str, ids: str) -> str:
        """Rows of a table that was stored by `add_rows`."""
        return self.op("Gather", [self.weight(table), ids])

    def product_by_rows(self, x: str, table: str, out: str | None = None) -> str:
        """`x @ table.T` on a matrix `[n, width]`, for a table `[rows, width]` that was stored by `add_rows`."""
        return self.op("Gemm", [x, self.weight(table)], out=out, transB=1)

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
