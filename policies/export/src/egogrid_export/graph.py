"""Building ONNX graphs by hand: nodes, and the operators that multiply with whatever way a matrix is stored.

From: tensors that lie in `weights.bin`. To: small `*.onnx` files that refer to them by offset and length. Families say what is computed;
which operators do it is decided here, by how `weights.py` stored the tensor and by how many rows it is multiplied with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from egogrid_export.weights import WEIGHTS_FILE, Dense, Quantized, Span, WeightsFile

__all__ = ["MICROSOFT", "WEIGHTS_FILE", "GraphBuilder", "Port", "WeightsFile"]

MICROSOFT = "com.microsoft"
# Attention with a soft-cap came with opset 23; IR 11 is what belongs to it.
OPSET, IR_VERSION = 23, 11
# MatMulNBits multiplies with integers: activations get a scale per block too, so that one large channel spoils its block only.
INTEGER_ACCURACY = 4

ONNX_TYPES = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
}


def file_name(graph: str, flavour: str) -> str:
    """Of a graph in the bundle's directory."""
    return f"{graph}.onnx" if flavour == "cpu" else f"{graph}.{flavour}.onnx"


@dataclass(frozen=True)
class Port:
    """One input or output of a graph; a dimension is a number or a name."""

    name: str
    dtype: str
    shape: list[int | str]


@dataclass
class GraphBuilder:
    """Collects nodes in running order. Methods return the names of what a node computes.

    `few_rows`: products have one row or a few, as in decoding, where reading the weights is what takes time. `batch`: observations at once.
    """

    name: str
    weights: WeightsFile
    few_rows: bool = False
    flavour: str = "cpu"
    batch: int = 1
    opsets: tuple[tuple[str, int], ...] = (("", OPSET), (MICROSOFT, 1))
    ir_version: int = IR_VERSION
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    _initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    _widened: dict[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return file_name(self.name, self.flavour)

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
        """A tensor of `weights.bin` that is not cut into blocks, as it is stored."""
        stored = self._dense(name)
        return self._external(name, stored.span, ONNX_TYPES[stored.dtype], stored.shape)

    def weight_f32(self, name: str) -> str:
        """The same as float32, without its scale. The CPU provider has no products in 16 bits."""
        if self._dense(name).dtype == "f32":
            return self.weight(name)
        if name not in self._widened:
            self._widened[name] = self.op("Cast", [self.weight(name)], out=f"{name}.f32", to=TensorProto.FLOAT)
        return self._widened[name]

    def product(self, x: str, name: str, out: str | None = None) -> str:
        """`x @ matrix` for a matrix that was stored by `add_matrix`; `x` is `[..., inputs]`."""
        if self.is_quantized(name):
            return self._block_product(x, name, self.few_rows, out=out)
        if self._dense(name).scale == 1.0:
            return self.op("MatMul", [x, self.weight_f32(name)], out=out)
        return self._scaled(name, self.op("MatMul", [x, self.weight_f32(name)]), out)

    def affine(self, x: str, at: str, bias: str = "bias", exact: bool = False) -> str:
        """`x @ weight + bias` on a matrix `[n, inputs]`, from `{at}.weight` (`add_matrix`) and `{at}.{bias}`.

        `exact`: of numbers that 16 bits would spoil; only static graphs compute in 16 bits.
        """
        weight, bias = f"{at}.weight", f"{at}.{bias}"
        if not self.is_quantized(weight):
            return self.op("Gemm", [x, self.weight_f32(weight), self.weight(bias)], **self._alpha(weight))
        if self._by_integers(weight, self.few_rows):
            return self.op("Add", [self._block_product(x, weight, self.few_rows), self.weight(bias)])
        return self.op("Gemm", [x, self._dequantized(weight), self.weight(bias)], transB=1)

    def rows(self, table: str, ids: str) -> str:
        """Rows of a table that was stored by `add_rows`, as float32."""
        if self.is_quantized(table):
            inputs, block = [self._block_rows(table), ids, *self._block_steps(table)], self._quantized(table).blocks.block
            return self.op("GatherBlockQuantized", inputs, domain=MICROSOFT, bits=8, block_size=block, quantize_axis=1)
        found = self.op("Gather", [self.weight(table), ids])
        if self._dense(table).dtype != "f32":
            found = self.op("Cast", [found], to=TensorProto.FLOAT)
        return self._scaled(table, found)

    def product_by_rows(self, x: str, table: str, out: str | None = None) -> str:
        """`x @ table.T` on a matrix `[n, width]` of few rows, for a table `[rows, width]` that was stored by `add_rows`."""
        if self.is_quantized(table):
            return self._block_product(x, table, True, out=out)
        return self.op("Gemm", [x, self.weight_f32(table)], out=out, transB=1, **self._alpha(table))

    def is_quantized(self, name: str) -> bool:
        return isinstance(self.weights.stored[name], Quantized)

    def _quantized(self, name: str) -> Quantized:
        stored = self.weights.stored[name]
        if not isinstance(stored, Quantized):
            raise AssertionError(f"{name} is not stored in blocks")
        return stored

    def _dense(self, name: str) -> Dense:
        stored = self.weights.stored[name]
        if not isinstance(stored, Dense):
            raise AssertionError(f"{name} is stored in blocks: multiply with it by product, affine or product_by_rows")
        return stored

    def _external(self, name: str, span: Span, kind: int, shape: tuple[int, ...]) -> str:
        if name not in self._initializers:
            proto = TensorProto(name=name, data_type=kind, dims=shape)
            proto.data_location = TensorProto.EXTERNAL
            for key, value in (("location", WEIGHTS_FILE), ("offset", span.offset), ("length", span.length)):
                proto.external_data.add(key=key, value=str(value))
            self._initializers[name] = proto
        return name

    def _by_integers(self, name: str, few_rows: bool) -> bool:
        """Whether integers are multiplied, or the matrix is made float32 first. Figures: `docs/precision.md`."""
        return few_rows or self._quantized(name).blocks.bits == 4

    def _block_product(self, x: str, name: str, few_rows: bool, out: str | None = None) -> str:
        stored = self._quantized(name)
        blocks = stored.blocks
        if self._by_integers(name, few_rows):
            kind = {"bits": blocks.bits, "block_size": blocks.block, "K": stored.width, "N": stored.rows}
            inputs = [x, self._block_values(name), *self._block_steps(name)]
            return self.op("MatMulNBits", inputs, out=out, domain=MICROSOFT, accuracy_level=INTEGER_ACCURACY, **kind)
        return self.op("FusedMatMul", [x, self._dequantized(name)], out=out, domain=MICROSOFT, transB=1)

    def _dequantized(self, name: str) -> str:
        """`[rows, width]` as float32, made anew in each run: memory for one matrix at a time."""
        if name not in self._widened:
            parts = [self._block_rows(name), *self._block_steps(name)]
            block = self._quantized(name).blocks.block
            self._widened[name] = self.op("DequantizeLinear", parts, out=f"{name}.f32", axis=1, block_size=block)
        return self._widened[name]

    def _block_values(self, name: str) -> str:
        """As MatMulNBits wants them: `[rows, blocks, bytes of a block]`."""
        stored = self._quantized(name)
        shape = (stored.rows, stored.blocks.per_row(stored.width), stored.blocks.packed(stored.blocks.block))
        return self._external(name, stored.values, TensorProto.UINT8, shape)

    def _block_rows(self, name: str) -> str:
        """The same bytes of 8-bit numbers as `[rows, width]`. A name of its own: a tensor has one shape in all graphs."""
        stored = self._quantized(name)
        return self._external(f"{name}.rows", stored.values, TensorProto.UINT8, (stored.rows, stored.width))

    def _block_steps(self, name: str) -> list[str]:
        """Scales and zero points."""
        stored = self._quantized(name)
        per_row = stored.blocks.per_row(stored.width)
        return [
            self._external(f"{name}.scales", stored.scales, TensorProto.FLOAT, (stored.rows, per_row)),
            self._external(f"{name}.zeros", stored.zeros, TensorProto.UINT8, (stored.rows, stored.blocks.packed(per_row))),
        ]

    def _alpha(self, name: str) -> dict[str, float]:
        scale = self._dense(name).scale
        return {} if scale == 1.0 else {"alpha": scale}

    def _scaled(self, name: str, value: str, out: str | None = None) -> str:
        scale = self._dense(name).scale
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

    def save(self, directory: Path) -> None:
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(port.name, ONNX_TYPES[port.dtype], port.shape) for port in self.inputs],
            [helper.make_tensor_value_info(port.name, ONNX_TYPES[port.dtype], port.shape) for port in self.outputs],
            list(self._initializers.values()),
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version, producer_name="egogrid_export")
        (directory / self.file_name).write_bytes(model.SerializeToString())
