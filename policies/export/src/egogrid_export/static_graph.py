"""The second flavour of every graph, for CUDA, TensorRT and OpenVINO: standard operators and fixed shapes only.

CUDA's GroupQueryAttention takes no float32, TensorRT takes no operator of com.microsoft and plans for one shape, and both must run every
node. `StaticGraph` has the methods of `GraphBuilder`, so that a family builds both flavours with the same lines. Values between
operators are float32; only products are computed in the type of the weights (f16, bf16, f32). What stays float32, and why:

* the residual stream: Gemma's grows beyond what f16 holds, and 26 sums in bf16 lose what one layer adds;
* norms, soft-caps and softmax, as in the official code: they are sums and exponentials;
* attention scores: e^x turns their rounding into a factor, 6 % for a score of 20 in bf16;
* the picture's and the points' first layers: 8-bit pixels and sin(2^7 x) have more digits than bf16, and these products are small.

Rounded to 16 bits are: what goes into a product and what comes out of it, probabilities, keys and values in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto

from egogrid_export.graph import ONNX_TYPES, GraphBuilder

# ONNX Runtime takes a kernel only for the very version of an operator that it was written for. This is the last version of which CUDA has
# all that is used here: Equal of 19 and ReduceMax of 20 would run on the CPU. Gelu, of 20, is written out.
OPSET, IR_VERSION = 18, 8
# Score of a key that a query does not see: its exponential is 0, and no infinity is involved.
UNSEEN = np.float32(-1e30)


@dataclass
class StaticGraph(GraphBuilder):
    """`GraphBuilder`'s methods in standard operators. Inputs and results are float32 unless a method says otherwise.

    `exact`: products are float32 too, whatever type the weights have.
    """

    flavour: str = "static"
    exact: bool = False
    opsets: tuple[tuple[str, int], ...] = (("", OPSET),)
    ir_version: int = IR_VERSION
    _typed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch > 1:
            self.flavour = "batched"

    @property
    def dtype(self) -> str:
        """Type of products and of the cache."""
        return "f32" if self.exact else self.weights.precision.products

    def input(self, name: str, dtype: str, shape: list[int | str]) -> str:
        return super().input(name, dtype, _fixed(name, shape))

    def output(self, name: str, dtype: str, shape: list[int | str]) -> str:
        return super().output(name, dtype, _fixed(name, shape))

    def op(self, kind: str, inputs: list[str], out: str | list[str] | None = None, domain: str = "", **attributes: Any) -> str:
        if domain:
            raise AssertionError(f"{domain}.{kind} in a static graph")
        if kind == "Gelu":
            return self._gelu(inputs[0], **attributes)
        return super().op(kind, inputs, out, **attributes)

    def narrow(self, x: str) -> str:
        """A float32 value in the type of products."""
        if self.dtype == "f32":
            return x
        if x not in self._typed:
            self._typed[x] = self.op("Cast", [x], to=ONNX_TYPES[self.dtype])
        return self._typed[x]

    def widen(self, x: str, out: str | None = None) -> str:
        """The result of a product in float32. Narrowed again it is what it was."""
        if self.dtype == "f32":
            return x if out is None else self.op("Identity", [x], out=out)
        wide = self.op("Cast", [x], out=out, to=TensorProto.FLOAT)
        self._typed[wide] = x
        return wide

    def product(self, x: str, name: str, out: str | None = None) -> str:
        found, scaled = self.op("MatMul", [self.narrow(x), self._factor(name)]), self._dense(name).scale != 1.0
        found = self.widen(found, None if scaled else out)
        return self._scaled(name, found, out) if scaled else found

    def affine(self, x: str, at: str, bias: str = "bias", exact: bool = False) -> str:
        if exact:
            found = self._scaled(f"{at}.weight", self.op("MatMul", [x, self.weight_f32(f"{at}.weight")]))
        else:
            found = self.product(x, f"{at}.weight")
        return self.op("Add", [found, self.weight(f"{at}.{bias}")])

    def product_by_rows(self, x: str, table: str, out: str | None = None) -> str:
        found, scaled = self.op("Gemm", [self.narrow(x), self._factor(table)], transB=1), self._dense(table).scale != 1.0
        found = self.widen(found, None if scaled else out)
        return self._scaled(table, found, out) if scaled else found

    def rms_norm(self, x: str, name: str, eps: float) -> str:
        """In the parts that ONNX Runtime knows as one: the operator itself came with opset 23."""
        squares = self.op("Pow", [x, self.constant("two", np.float32(2))])
        mean = self.op("ReduceMean", [squares, self.integers(-1)], keepdims=1)
        root = self.op("Sqrt", [self.op("Add", [mean, self.constant(f"eps_{eps:g}", np.float32(eps))])])
        return self.op("Mul", [self.op("Div", [x, root]), self.weight(name)])

    def attend(self, scores: str, values: str, seen: str | None) -> str:
        """Softmax over the last axis of float32 `scores`, then times `values` (in the type of products): in that type.

        `seen`: bool, broadcast to the scores; None: every key is.
        """
        if seen is not None:
            scores = self.op("Where", [seen, scores, self.constant("unseen", UNSEEN)])
        return self.op("MatMul", [self.narrow(self.op("Softmax", [scores], axis=-1)), values])

    def by_observation(self, values: str) -> str:
        """`[batch]` or `[batch, n]`, one row for each observation, to what broadcasts over its heads and rows: `[batch, 1, 1, n]`."""
        return values if self.batch == 1 else self.op("Reshape", [values, self.integers(self.batch, 1, 1, -1)])

    def row_at(self, x: str, places: str, axis: int) -> str:
        """Of every observation the one row along `axis` (1, or 2 behind heads) that `places` `[batch]` says; the axis stays."""
        if self.batch == 1:
            return self.op("Gather", [x, places], axis=axis)
        if axis == 2:
            rows = self.row_at(self.op("Transpose", [x], perm=[0, 2, 1, 3]), places, 1)
            return self.op("Transpose", [rows], perm=[0, 2, 1, 3])
        return self.op("GatherND", [x, self.op("Reshape", [places, self.integers(self.batch, 1, 1)])], batch_dims=1)

    def self_attention(self, normed: str, at: str, heads: int, tokens: int, width: int, bias: str = "") -> str:
        """Of a vision tower, see `attention.self_attention`; of a batch `[batch, tokens, width]`."""
        head_dim = width // heads
        parts = [f"{at}.{name}" for name in ("queries", "keys", "values")]
        if self.batch == 1:
            merged = self.op("Reshape", [self.affine(normed, at), self.integers(tokens, 3, heads, head_dim)])
            by_part = self.op("Transpose", [merged], perm=[1, 2, 0, 3])
            self.op("Split", [by_part, self.integers(1, 1, 1)], out=parts, axis=0)
            together = (tokens, width)
        else:
            merged = self.op("Reshape", [self.affine(normed, at), self.integers(self.batch, tokens, 3 * heads, head_dim)])
            by_head = self.op("Transpose", [merged], perm=[0, 2, 1, 3])
            self.op("Split", [by_head, self.integers(heads, heads, heads)], out=parts, axis=1)
            together = (self.batch, tokens, width)
        q = self.op("Mul", [parts[0], self.constant(f"{at}.scale", np.float32(head_dim**-0.5))])
        scores = self.op("MatMul", [q, self.op("Transpose", [parts[1]], perm=[0, 1, 3, 2])])
        if bias:
            scores = self.op("Add", [scores, bias])
        mixed = self.attend(scores, self.narrow(parts[2]), None)
        rows = self.op("Transpose", [mixed], perm=[0, 2, 1, 3])
        return self.widen(self.op("Reshape", [rows, self.integers(*together)]))

    def _factor(self, name: str) -> str:
        return self.weight_f32(name) if self.exact else self.weight(name)

    def _gelu(self, x: str, approximate: str = "none") -> str:
        """In the parts that ONNX Runtime knows as one."""
        one, half = self.constant("one_f32", np.float32(1)), self.constant("half_f32", np.float32(0.5))
        if approximate == "tanh":
            cube = self.op("Mul", [self.op("Pow", [x, self.constant("three", np.float32(3))]), self.constant("gelu_cubic", np.float32(0.044715))])
            inner = self.op("Mul", [self.op("Add", [x, cube]), self.constant("gelu_tanh_scale", np.float32((2 / np.pi) ** 0.5))])
            return self.op("Mul", [self.op("Mul", [x, half]), self.op("Add", [self.op("Tanh", [inner]), one])])
        part = self.op("Erf", [self.op("Div", [x, self.constant("root_two", np.float32(2**0.5))])])
        return self.op("Mul", [self.op("Mul", [x, self.op("Add", [part, one])]), half])


def _fixed(name: str, shape: list[int | str]) -> list[int | str]:
    if not all(isinstance(size, int) for size in shape):
        raise AssertionError(f"{name} of a static graph has shape {shape}")
    return shape
