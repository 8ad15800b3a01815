"""Attention of the language models in graphs: prefill over the whole prompt, decode through a cache that grows in place.

From: the merged projection `text.{layer}.qkv` and rotary tables `text.cos`, `text.sin` (row i = position of token i) in `weights.bin`.
To: nodes. What families differ in is in `AttentionShape` and in the mask. Operators were chosen by measuring ONNX Runtime 1.32 on the CPU:
ONNX Attention with a soft-cap takes up to ten times as long as its parts, and GroupQueryAttention is what updates a cache in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from egogrid_export.graph import MICROSOFT, GraphBuilder, WeightsFile
from egogrid_export.static_graph import StaticGraph

# GroupQueryAttention rotates heads in steps of 16 elements.
HEAD_DIM_STEP = 16


@dataclass(frozen=True)
class CacheShape:
    """Key and value buffers of one layer are `[batch, kv_heads, capacity, head_dim]`."""

    layers: int
    kv_heads: int
    head_dim: int
    capacity: int

    def dims(self, batch: int = 1) -> list[int | str]:
        return [batch, self.kv_heads, self.capacity, self.head_dim]


@dataclass(frozen=True)
class AttentionShape:
    """`head_dim` is that of the cache, see `head_dim_padded`. A soft-cap of None means that there is none."""

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    softcap: float | None


def head_dim_padded(head_dim: int) -> int:
    """Width of a head in the graphs and in the cache."""
    return -(-head_dim // HEAD_DIM_STEP) * HEAD_DIM_STEP


def padded_heads(matrix: np.ndarray, head_dim: int) -> np.ndarray:
    """`[heads * head_dim, D]` with zero rows after each half of each head; rotary positions pair the halves."""
    half, padded_half = head_dim // 2, head_dim_padded(head_dim) // 2
    halves = matrix.reshape(-1, half, matrix.shape[1])
    padded = np.zeros((len(halves), padded_half, matrix.shape[1]), dtype=matrix.dtype)
    padded[:, :half] = halves
    return padded.reshape(-1, matrix.shape[1])


def pack_rotary(weights: WeightsFile, head_dim: int, theta: float, first_position: int, capacity: int) -> None:
    """`text.cos` and `text.sin`, `[capacity, head_dim_padded / 2]`; row i is position `first_position + i`."""
    half, padded_half = head_dim // 2, head_dim_padded(head_dim) // 2
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    inverse = np.float32(1) / np.float32(theta) ** exponents
    angles = np.zeros((capacity, padded_half), dtype=np.float32)
    angles[:, :half] = np.arange(first_position, first_position + capacity, dtype=np.float32)[:, None] * inverse
    weights.add("text.cos", np.cos(angles))
    weights.add("text.sin", np.sin(angles))


def self_attention(graph: GraphBuilder, normed: str, at: str, heads: int, tokens: int, width: int, bias: str = "") -> str:
    """Of a vision tower: `[tokens, width]` to mixed heads `[tokens, width]`, from `{at}.weight` `[width, q|k|v]` and `{at}.bias`.

    `bias`: `[1, heads, tokens, tokens]`, added to the scores where there is one.
    """
    if isinstance(graph, StaticGraph):
        return graph.self_attention(normed, at, heads, tokens, width, bias)
    # Both operators take it as their sixth input.
    scores = ["", "", bias] if bias else []
    if graph.is_quantized(f"{at}.weight"):
        merged = graph.op("Reshape", [graph.affine(normed, at), graph.integers(1, tokens, 3 * width)])
        parts = [f"{at}.{name}" for name in ("queries", "keys", "values")]
        graph.op("Split", [merged], out=parts, axis=2, num_outputs=3)
        mixed = graph.op("MultiHeadAttention", [*parts, *scores], domain=MICROSOFT, num_heads=heads)
    else:
        batched = graph.op("Reshape", [normed, graph.integers(1, tokens, width)])
        qkv = [graph.weight_f32(f"{at}.weight"), graph.weight(f"{at}.bias")]
        mixed = graph.op("Attention", [batched, *qkv, *scores], domain=MICROSOFT, num_heads=heads)
    return graph.op("Reshape", [mixed, graph.integers(tokens, width)])


def rotated_heads(
    graph: GraphBuilder, shape: AttentionShape, layer: int, normed: str, rotate: Callable[[str], str] | None = None
) -> tuple[str, str, str]:
    """Queries, keys, values as `[batch, heads, n, head_dim]`; queries and keys with their rotary positions, which `rotate` gives them."""
    heads, kv_heads = shape.heads, shape.kv_heads
    merged = graph.product(normed, f"text.{layer}.qkv")
    merged = graph.op("Reshape", [merged, graph.integers(graph.batch, -1, heads + 2 * kv_heads, shape.head_dim)])
    by_head = graph.op("Transpose", [merged], perm=[0, 2, 1, 3])
    names = [f"text.{layer}.{name}" for name in ("unrotated", "values", "queries", "keys")]
    graph.op("Split", [by_head, graph.integers(heads + kv_heads, kv_heads)], out=names[:2], axis=1)
    rotated = rotate(names[0]) if rotate else _rotated_from_start(graph, names[0])
    graph.op("Split", [rotated, graph.integers(heads, kv_heads)], out=names[2:], axis=1)
    return names[2], names[3], names[1]


def _rotated_from_start(graph: GraphBuilder, heads: str) -> str:
    """Rows that begin at position 0."""
    tables = [graph.integers(0), graph.weight("text.cos"), graph.weight("text.sin")]
    return graph.op("RotaryEmbedding", [heads, *tables], domain=MICROSOFT)


def causal_mask(graph: GraphBuilder, shape: AttentionShape, rows: str) -> str:
    """For `mixed_heads` over all of `rows` (`[1, n, D]`): 0 where a query sees a key, -inf after it; stacked like the heads."""
    count = graph.op("Squeeze", [graph.op("Shape", [rows], start=1, end=2)])
    places = graph.op("Range", [graph.constant("first_place", np.int64(0)), count, graph.constant("place_step", np.int64(1))])
    sees = graph.op("LessOrEqual", [places, graph.op("Unsqueeze", [places, graph.integers(1)])])
    zero, hidden = graph.constant("seen", np.float32(0)), graph.constant("hidden", np.float32(-np.inf))
    mask = graph.op("Where", [sees, zero, hidden])
    group = shape.heads // shape.kv_heads
    return mask if group == 1 else graph.op("Tile", [mask, graph.integers(group, 1)])


def mixed_heads(graph: GraphBuilder, shape: AttentionShape, q: str, keys: str, values: str, mask: str | None = None) -> str:
    """`[1, n, heads * head_dim]`; every query sees every key but for the `mask`. Heads that share keys are stacked: keys are not copied."""
    stacked = graph.op("Reshape", [q, graph.integers(1, shape.kv_heads, -1, shape.head_dim)])
    cap = shape.softcap
    alpha = shape.scale / (cap or 1.0)
    scores = graph.op("FusedMatMul", [stacked, keys], domain=MICROSOFT, transB=1, alpha=alpha)
    if cap is not None:
        scores = graph.op("Mul", [graph.op("Tanh", [scores]), graph.constant("attention_softcap", np.float32(cap))])
    if mask is not None:
        scores = graph.op("Add", [scores, mask])
    mixed = graph.op("MatMul", [graph.op("Softmax", [scores], axis=-1), values])
    by_head = graph.op("Reshape", [mixed, graph.integers(1, shape.heads, -1, shape.head_dim)])
    rows = graph.op("Transpose", [by_head], perm=[0, 2, 1, 3])
    return graph.op("Reshape", [rows, graph.integers(1, -1, shape.heads * shape.head_dim)])


def cached_attention(
    graph: GraphBuilder, shape: AttentionShape, layer: int, qkv: str, past: list[str], present: list[str], lengths: list[str]
) -> str:
    """Decode: new rows go into the cache where it ends (`lengths` = seqlens_k, total_len), rotated by their position there."""
    return graph.op(
        "GroupQueryAttention",
        [qkv, "", "", *past, *lengths, graph.weight("text.cos"), graph.weight("text.sin")],
        out=[f"text.{layer}.mixed", *present],
        domain=MICROSOFT,
        num_heads=shape.heads,
        kv_num_heads=shape.kv_heads,
        do_rotary=1,
        scale=shape.scale,
        softcap=shape.softcap or 0.0,
    )


def unused_rows(graph: GraphBuilder, words: str, cache: CacheShape, patches: int) -> str:
    """Zeros for the rows of the cache that a prompt of `patches` rows and the `words` (`[1, n, D]`) leaves free."""
    used = graph.op("Shape", [words], start=1, end=2)
    free = graph.op("Sub", [graph.integers(cache.capacity - patches), used])
    shape = graph.op("Concat", [graph.integers(1, cache.kv_heads), free, graph.integers(cache.head_dim)], axis=0)
    return graph.op("ConstantOfShape", [shape])
