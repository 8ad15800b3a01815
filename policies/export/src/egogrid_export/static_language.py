"""Prefill and decode of any family as static graphs. Contract: `policies/BUNDLE.md`.

From: packed tensors in `weights.bin`, and what a family does after attention. To: graphs whose prompt is padded to its longest and whose
cache has its full length in every step. That is exact and not only close: a key that is not there gets a score of -1e30, whose weight
after softmax is 0, and the row that is asked for is chosen by its place. Decode writes the new row where the cache ends and reads from one
buffer while it writes to another, which every provider may reorder as it likes.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.attention import rotated_heads
from egogrid_export.graph import GraphBuilder
from egogrid_export.language import Language, joined
from egogrid_export.static_graph import StaticGraph
from egogrid_export.weights import NUMPY_TYPES, WeightsFile

def static_graphs(language: Language, weights: WeightsFile, batch: int = 1) -> list[GraphBuilder]:
    """Of several observations at once where `batch` says so: each has its own prompt length and place in the cache."""
    return [build_prefill(language, weights, batch), build_decode(language, weights, batch)]


def build_prefill(language: Language, weights: WeightsFile, batch: int = 1) -> StaticGraph:
    """`image_features`, `text_ids` filled up with any id, `prompt_tokens`: rows of the prompt that count, image and text."""
    graph, cache = StaticGraph("prefill", weights, batch=batch), language.cache
    image = graph.input("image_features", "f32", [batch, language.image_tokens, language.width])
    ids = graph.input("text_ids", "i64", [batch, language.text_tokens_max])
    count = graph.input("prompt_tokens", "i64", [batch])
    logits = graph.output("logits", "f32", [batch, language.vocabulary])

    if language.image_scale is not None:
        image = graph.op("Mul", [image, graph.constant("image_scale", np.float32(language.image_scale))])
    x = joined(graph, language, image, graph.rows(language.embeddings, ids), language.text_tokens_max)
    last = graph.op("Sub", [count, graph.integers(1)])
    places = _places(graph, "places", language.prompt_max)
    counted = graph.op("Less", [places, graph.by_observation(count)])
    seen = graph.op("LessOrEqual", [places, _query_places(graph, language)]) if language.causal else counted
    tables = [graph.op("Slice", [graph.weight(name), graph.integers(0), graph.integers(language.prompt_max), graph.integers(0)])
              for name in ("text.cos", "text.sin")]  # fmt: skip
    free = (batch, cache.kv_heads, cache.capacity - language.prompt_max, cache.head_dim)
    zeros = graph.constant("free_rows", np.zeros(free, dtype=NUMPY_TYPES[graph.dtype]))
    normed = graph.rms_norm(x, "text.0.norm_in", language.norm_eps)
    for layer in range(cache.layers):
        q, keys, values = _rotated(graph, language, layer, normed, tables)
        narrow = {"key": graph.narrow(keys), "value": graph.narrow(values)}
        for part, rows in narrow.items():
            graph.op("Concat", [rows, zeros], out=graph.output(f"present.{layer}.{part}", graph.dtype, cache.dims(batch)), axis=2)
        if layer + 1 == cache.layers:
            # Only the last token's logits are asked for: from here on it is the only row, and it sees every row that counts.
            q, x, seen = graph.row_at(q, last, 2), graph.row_at(x, last, 1), counted
        normed, x = language.layer_tail(graph, layer, _mixed(graph, language, q, keys, narrow["value"], seen), x)
    language.head(graph, normed, logits)
    return graph


def build_decode(language: Language, weights: WeightsFile, batch: int = 1) -> StaticGraph:
    """`token_id` and `position`, the row of the cache that it takes, to the logits after it and the cache with that row."""
    graph, cache = StaticGraph("decode", weights, few_rows=True, batch=batch), language.cache
    token = graph.input("token_id", "i64", [batch, 1])
    position = graph.input("position", "i64", [batch])
    logits = graph.output("logits", "f32", [batch, language.vocabulary])

    places = _places(graph, "places", cache.capacity)
    place = graph.by_observation(position)
    seen = graph.op("LessOrEqual", [places, place])
    here = graph.op("Reshape", [graph.op("Equal", [places, place]), graph.integers(batch, 1, cache.capacity, 1)])
    tables = [graph.by_observation(graph.op("Gather", [graph.weight(name), position])) for name in ("text.cos", "text.sin")]
    x = graph.rows(language.embeddings, token)
    normed = graph.rms_norm(x, "text.0.norm_in", language.norm_eps)
    for layer in range(cache.layers):
        q, *rows = _rotated(graph, language, layer, normed, tables)
        present = {}
        for part, row in zip(("key", "value"), rows, strict=True):
            past = graph.input(f"past.{layer}.{part}", graph.dtype, cache.dims(batch))
            out = graph.output(f"present.{layer}.{part}", graph.dtype, cache.dims(batch))
            present[part] = graph.op("Where", [here, graph.narrow(row), past], out=out)
        mixed = _mixed(graph, language, q, graph.widen(present["key"]), present["value"], seen)
        normed, x = language.layer_tail(graph, layer, mixed, x)
    language.head(graph, normed, logits)
    return graph


def _places(graph: StaticGraph, name: str, count: int) -> str:
    return graph.constant(name, np.arange(count, dtype=np.int64))


def _query_places(graph: StaticGraph, language: Language) -> str:
    """Of queries that are stacked by the heads that share keys: `[group * prompt, 1]`."""
    group = language.attention.heads // language.attention.kv_heads
    return graph.constant("query_places", np.tile(np.arange(language.prompt_max, dtype=np.int64), group)[:, None])


def _rotated(graph: StaticGraph, language: Language, layer: int, normed: str, tables: list[str]) -> tuple[str, str, str]:
    """`rotated_heads` by standard operators, with `tables` of the cosines and sines of each row, `[n, head_dim / 2]`."""
    half = language.attention.head_dim // 2
    a, b = (f"text.{layer}.{name}" for name in ("first_half", "second_half"))
    cos, sin = tables

    def rotate(heads: str) -> str:
        graph.op("Split", [heads, graph.integers(half, half)], out=[a, b], axis=3)
        first = graph.op("Sub", [graph.op("Mul", [a, cos]), graph.op("Mul", [b, sin])])
        second = graph.op("Add", [graph.op("Mul", [b, cos]), graph.op("Mul", [a, sin])])
        return graph.op("Concat", [first, second], axis=3)

    return rotated_heads(graph, language.attention, layer, normed, rotate)


def _mixed(graph: StaticGraph, language: Language, q: str, keys: str, values: str, seen: str) -> str:
    """`[batch, n, heads * head_dim]` of float32 queries and keys and of values in the type of products. Heads that share keys are stacked."""
    shape, cap = language.attention, language.attention.softcap
    stacked = graph.op("Reshape", [q, graph.integers(graph.batch, shape.kv_heads, -1, shape.head_dim)])
    scaled = graph.op("Mul", [stacked, graph.constant("query_scale", np.float32(shape.scale / (cap or 1.0)))])
    scores = graph.op("MatMul", [scaled, graph.op("Transpose", [keys], perm=[0, 1, 3, 2])])
    if cap is not None:
        scores = graph.op("Mul", [graph.op("Tanh", [scores]), graph.constant("attention_softcap", np.float32(cap))])
    mixed = graph.attend(scores, values, seen)
    by_head = graph.op("Reshape", [mixed, graph.integers(graph.batch, shape.heads, -1, shape.head_dim)])
    rows = graph.op("Transpose", [by_head], perm=[0, 2, 1, 3])
    return graph.widen(graph.op("Reshape", [rows, graph.integers(graph.batch, -1, shape.heads * shape.head_dim)]))
