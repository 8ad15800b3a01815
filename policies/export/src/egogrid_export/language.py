"""Prefill and decode of any family for ONNX Runtime's own operators, and what families differ in. Contract: `policies/BUNDLE.md`.

From: packed tensors in `weights.bin`, and what a family does after attention. To: a prefill graph for prompts of any length that
fills the cache, and a decode graph that updates it in place. The same as static graphs: `static_language.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from egogrid_export.attention import AttentionShape, CacheShape, cached_attention, causal_mask, mixed_heads, rotated_heads, unused_rows
from egogrid_export.graph import GraphBuilder
from egogrid_export.weights import WeightsFile

# (graph, layer, mixed heads `[1, n, heads * head_dim]`, residual) to (what follows, already normed; residual).
LayerTail = Callable[[Any, int, str, str], tuple[str, str]]
# (graph, the last row normed, name of the output).
Head = Callable[[Any, str, str], None]


@dataclass(frozen=True)
class Language:
    """What families differ in. `bos_first`: one text id, then the image, then the others; else the image comes first.

    `causal`: a row of the prompt sees those before it; else it sees the whole prompt. `image_scale`: factor of image features.
    `text_tokens_max`: how many text ids a static prefill takes.
    """

    attention: AttentionShape
    cache: CacheShape
    width: int
    vocabulary: int
    norm_eps: float
    image_tokens: int
    text_tokens_max: int
    embeddings: str
    bos_first: bool
    causal: bool
    image_scale: float | None
    layer_tail: LayerTail
    head: Head

    @property
    def prompt_max(self) -> int:
        return self.image_tokens + self.text_tokens_max


def build_prefill(language: Language, weights: WeightsFile) -> GraphBuilder:
    """Image features and text ids to the logits after the prompt and a filled cache."""
    graph, cache, shape = GraphBuilder("prefill", weights), language.cache, language.attention
    image = graph.input("image_features", "f32", [1, language.image_tokens, language.width])
    ids = graph.input("text_ids", "i64", [1, "text_tokens"])
    logits = graph.output("logits", "f32", [1, language.vocabulary])

    scale = None if language.image_scale is None else graph.constant("embedding_scale", np.float32(language.image_scale))
    words = graph.rows(language.embeddings, ids)
    x = joined(graph, language, image if scale is None else graph.op("Mul", [image, scale]), words)
    mask = causal_mask(graph, shape, x) if language.causal else None
    zeros = unused_rows(graph, words, cache, language.image_tokens)
    normed = graph.rms_norm(x, "text.0.norm_in", language.norm_eps)
    for layer in range(cache.layers):
        q, keys, values = rotated_heads(graph, shape, layer, normed)
        for part, rows in (("key", keys), ("value", values)):
            present = graph.output(f"present.{layer}.{part}", "f32", cache.dims())
            graph.op("Concat", [rows, zeros], out=present, axis=2)
        if layer + 1 == cache.layers:
            # Only the last token's logits are asked for: from here on it is the only row, and it sees every key.
            q, x = graph.op("Gather", [q, graph.integers(-1)], axis=2), graph.op("Gather", [x, graph.integers(-1)], axis=1)
            mask = None
        normed, x = language.layer_tail(graph, layer, mixed_heads(graph, shape, q, keys, values, mask), x)
    language.head(graph, normed, logits)
    return graph


def build_decode(language: Language, weights: WeightsFile) -> GraphBuilder:
    """One token to the logits after it; the cache grows by one row in place."""
    graph, cache, shape = GraphBuilder("decode", weights, few_rows=True), language.cache, language.attention
    token = graph.input("token_id", "i64", [1, 1])
    seqlens = graph.input("seqlens_k", "i32", [1])
    lengths = [seqlens, graph.input("total_len", "i32", [])]
    logits = graph.output("logits", "f32", [1, language.vocabulary])

    x = graph.rows(language.embeddings, token)
    normed = graph.rms_norm(x, "text.0.norm_in", language.norm_eps)
    for layer in range(cache.layers):
        past = [graph.input(f"past.{layer}.{part}", "f32", cache.dims()) for part in ("key", "value")]
        present = [graph.output(f"present.{layer}.{part}", "f32", cache.dims()) for part in ("key", "value")]
        mixed = cached_attention(graph, shape, layer, graph.product(normed, f"text.{layer}.qkv"), past, present, lengths)
        normed, x = language.layer_tail(graph, layer, mixed, x)
    language.head(graph, normed, logits)
    return graph


def joined(graph: GraphBuilder, language: Language, image: str, words: str, words_end: int = 1 << 30) -> str:
    """`[1, n, width]` of the image's rows and embedded text ids, of which there are `words_end` at most, in the family's order."""
    if not language.bos_first:
        return graph.op("Concat", [image, words], axis=1)
    ends = [graph.integers(0), graph.integers(1), graph.integers(words_end)]
    first, others = (graph.op("Slice", [words, *ends[at : at + 2], graph.integers(1)]) for at in (0, 1))
    return graph.op("Concat", [first, image, others], axis=1)
