"""The three graphs of a SpatialVLA bundle: vision, prefill, decode. Contract: `policies/BUNDLE.md`.

From: packed tensors in `weights.bin`. To: `vision.onnx`, `prefill.onnx`, `decode.onnx`. Operators were chosen by measuring ONNX Runtime
1.32 on the CPU: SkipLayerNormalization takes several times as long as Add and LayerNormalization, and ONNX Attention with a soft-cap up
to ten times as long as its parts, so the parts stand here. GroupQueryAttention is what updates a cache in place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egogrid_export.graph import MICROSOFT, GraphBuilder, WeightsFile
from egogrid_export.spatialvla.config import ModelConfig

POSITION_NORM_EPS = 1e-5


@dataclass(frozen=True)
class CacheShape:
    """Key and value buffers of one layer are `[1, kv_heads, capacity, head_dim]`."""

    layers: int
    kv_heads: int
    head_dim: int
    capacity: int

    @property
    def dims(self) -> list[int | str]:
        return [1, self.kv_heads, self.capacity, self.head_dim]


def build_vision(config: ModelConfig, weights: WeightsFile) -> GraphBuilder:
    """Picture and encoded points to image features, with both halves of the sum as further outputs."""
    vision, graph = config.vision, GraphBuilder("vision", weights)
    size, side, patches, width = vision.patch_size_px, vision.grid, vision.patches, vision.width
    pixels = graph.input("pixel_values", "f32", [1, 3, vision.image_size_px, vision.image_size_px])
    encoding = graph.input("freq_encoding", "f32", [1, patches, config.ego3d.encoding_width])
    features = graph.output("image_features", "f32", [1, patches, config.text.width])
    siglip = graph.output("siglip_last_hidden", "f32", [1, patches, width])
    position = graph.output("pos_embed_3d", "f32", [1, patches, width])

    cut = graph.op("Reshape", [pixels, graph.integers(3, side, size, side, size)])
    rows = graph.op("Reshape", [graph.op("Transpose", [cut], perm=[1, 3, 0, 2, 4]), graph.integers(patches, -1)])
    x = graph.op("Gemm", [rows, graph.weight("vision.patch.weight"), graph.weight("vision.patch.position")])
    for layer in range(vision.layers):
        at = f"vision.{layer}"
        normed = graph.op("Reshape", [_layer_norm(graph, x, f"{at}.norm1", vision.norm_eps), graph.integers(1, patches, width)])
        qkv = [graph.weight(f"{at}.qkv.weight"), graph.weight(f"{at}.qkv.bias")]
        mixed = graph.op("Attention", [normed, *qkv], domain=MICROSOFT, num_heads=vision.heads)
        attended = _linear(graph, graph.op("Reshape", [mixed, graph.integers(patches, width)]), f"{at}.out")
        x = graph.op("Add", [x, attended])
        hidden = _linear(graph, _layer_norm(graph, x, f"{at}.norm2", vision.norm_eps), f"{at}.fc1")
        x = graph.op("Add", [x, _linear(graph, graph.op("Gelu", [hidden], approximate="tanh"), f"{at}.fc2")])
    x = _layer_norm(graph, x, "vision.norm", vision.norm_eps)

    points = graph.op("Reshape", [encoding, graph.integers(patches, -1)])
    hidden = _layer_norm(graph, _linear(graph, points, "ego3d.0"), "ego3d.1", POSITION_NORM_EPS)
    embedded = _linear(graph, graph.op("Relu", [hidden]), "ego3d.3")
    projected = _linear(graph, graph.op("Add", [x, embedded]), "projector")
    for value, name in ((projected, features), (x, siglip), (embedded, position)):
        graph.op("Reshape", [value, graph.integers(1, patches, -1)], out=name)
    return graph


def build_prefill(config: ModelConfig, weights: WeightsFile, cache: CacheShape) -> GraphBuilder:
    """Image features and text ids to the logits after the prompt and a filled cache. All of the prompt sees all of it."""
    text, patches = config.text, config.vision.patches
    graph = GraphBuilder("prefill", weights)
    image = graph.input("image_features", "f32", [1, patches, text.width])
    ids = graph.input("text_ids", "i64", [1, "text_tokens"])
    logits = graph.output("logits", "f32", [1, text.vocabulary])

    scale = graph.constant("embedding_scale", np.float32(text.width**0.5))
    words = graph.op("Gather", [graph.weight("text.embeddings_scaled"), ids])
    x = graph.op("Concat", [graph.op("Mul", [image, scale]), words], axis=1)
    zeros = _unused_rows(graph, words, cache, patches)
    normed = _rms_norm(graph, x, "text.0.norm_in", text.norm_eps)
    for layer in range(text.layers):
        q, keys, values = _rotated_heads(graph, config, cache, layer, normed)
        for part, rows in (("key", keys), ("value", values)):
            present = graph.output(f"present.{layer}.{part}", "f32", cache.dims)
            graph.op("Concat", [rows, zeros], out=present, axis=2)
        if layer + 1 == text.layers:
            # Only the last token's logits are asked for: from here on it is the only row.
            q, x = graph.op("Gather", [q, graph.integers(-1)], axis=2), graph.op("Gather", [x, graph.integers(-1)], axis=1)
        normed, x = _layer_tail(graph, config, layer, _mixed(graph, config, cache, q, keys, values), x)
    _head(graph, config, normed, logits)
    return graph


def build_decode(config: ModelConfig, weights: WeightsFile, cache: CacheShape) -> GraphBuilder:
    """One token to the logits after it; the cache grows by one row in place."""
    text, graph = config.text, GraphBuilder("decode", weights)
    token = graph.input("token_id", "i64", [1, 1])
    seqlens = graph.input("seqlens_k", "i32", [1])
    total = graph.input("total_len", "i32", [])
    logits = graph.output("logits", "f32", [1, text.vocabulary])
    rotary = [graph.weight("text.cos"), graph.weight("text.sin")]

    x = graph.op("Gather", [graph.weight("text.embeddings_scaled"), token])
    normed = _rms_norm(graph, x, "text.0.norm_in", text.norm_eps)
    for layer in range(text.layers):
        past = [graph.input(f"past.{layer}.{part}", "f32", cache.dims) for part in ("key", "value")]
        present = [graph.output(f"present.{layer}.{part}", "f32", cache.dims) for part in ("key", "value")]
        qkv = graph.op("MatMul", [normed, graph.weight(f"text.{layer}.qkv")])
        mixed = graph.op(
            "GroupQueryAttention",
            [qkv, "", "", *past, seqlens, total, *rotary],
            out=[f"text.{layer}.mixed", *present],
            domain=MICROSOFT,
            num_heads=text.heads,
            kv_num_heads=text.kv_heads,
            do_rotary=1,
            scale=text.attention_scale,
            softcap=text.attention_softcap or 0.0,
        )
        normed, x = _layer_tail(graph, config, layer, mixed, x)
    _head(graph, config, normed, logits)
    return graph


def _rotated_heads(graph: GraphBuilder, config: ModelConfig, cache: CacheShape, layer: int, normed: str) -> tuple[str, str, str]:
    """Queries, keys, values as `[1, heads, n, head_dim]`; queries and keys with their rotary positions."""
    heads, kv_heads = config.text.heads, config.text.kv_heads
    merged = graph.op("MatMul", [normed, graph.weight(f"text.{layer}.qkv")])
    merged = graph.op("Reshape", [merged, graph.integers(1, -1, heads + 2 * kv_heads, cache.head_dim)])
    by_head = graph.op("Transpose", [merged], perm=[0, 2, 1, 3])
    names = [f"text.{layer}.{name}" for name in ("unrotated", "values", "queries", "keys")]
    graph.op("Split", [by_head, graph.integers(heads + kv_heads, kv_heads)], out=names[:2], axis=1)
    tables = [graph.integers(0), graph.weight("text.cos"), graph.weight("text.sin")]
    rotated = graph.op("RotaryEmbedding", [names[0], *tables], domain=MICROSOFT)
    graph.op("Split", [rotated, graph.integers(heads, kv_heads)], out=names[2:], axis=1)
    return names[2], names[3], names[1]


def _mixed(graph: GraphBuilder, config: ModelConfig, cache: CacheShape, q: str, keys: str, values: str) -> str:
    """Every query sees every key: `[1, n, heads * head_dim]`. Heads that share keys are stacked, so that keys are not copied."""
    text = config.text
    stacked = graph.op("Reshape", [q, graph.integers(1, text.kv_heads, -1, cache.head_dim)])
    cap = text.attention_softcap
    alpha = text.attention_scale / (cap or 1.0)
    scores = graph.op("FusedMatMul", [stacked, keys], domain=MICROSOFT, transB=1, alpha=alpha)
    if cap is not None:
        scores = graph.op("Mul", [graph.op("Tanh", [scores]), graph.constant("attention_softcap", np.float32(cap))])
    mixed = graph.op("MatMul", [graph.op("Softmax", [scores], axis=-1), values])
    by_head = graph.op("Reshape", [mixed, graph.integers(1, text.heads, -1, cache.head_dim)])
    rows = graph.op("Transpose", [by_head], perm=[0, 2, 1, 3])
    return graph.op("Reshape", [rows, graph.integers(1, -1, text.heads * cache.head_dim)])


def _layer_tail(graph: GraphBuilder, config: ModelConfig, layer: int, mixed: str, x: str) -> tuple[str, str]:
    """From mixed heads to the end of the layer: (input of what follows, already normed; residual stream)."""
    text, at = config.text, f"text.{layer}"
    attended = graph.op("MatMul", [mixed, graph.weight(f"{at}.o")])
    x = graph.op("Add", [x, _rms_norm(graph, attended, f"{at}.norm_attended", text.norm_eps)])
    normed = _rms_norm(graph, x, f"{at}.norm_mlp_in", text.norm_eps)
    gate = graph.op("Gelu", [graph.op("MatMul", [normed, graph.weight(f"{at}.gate")])], approximate="tanh")
    up = graph.op("MatMul", [normed, graph.weight(f"{at}.up")])
    down = graph.op("MatMul", [graph.op("Mul", [gate, up]), graph.weight(f"{at}.down")])
    x = graph.op("Add", [x, _rms_norm(graph, down, f"{at}.norm_mlp_out", text.norm_eps)])
    following = "text.norm" if layer + 1 == text.layers else f"text.{layer + 1}.norm_in"
    return _rms_norm(graph, x, following, text.norm_eps), x


def _head(graph: GraphBuilder, config: ModelConfig, normed: str, logits: str) -> None:
    """`normed` is already divided by the soft-cap, see `pack`."""
    cap = config.text.final_softcap
    row = graph.op("Reshape", [normed, graph.integers(1, -1)])
    raw = graph.op("Gemm", [row, graph.weight("text.head")], out=logits if cap is None else None, transB=1)
    if cap is not None:
        graph.op("Mul", [graph.op("Tanh", [raw]), graph.constant("final_softcap", np.float32(cap))], out=logits)


def _unused_rows(graph: GraphBuilder, words: str, cache: CacheShape, patches: int) -> str:
    """Zeros for the rows of the cache that the prompt leaves free."""
    used = graph.op("Shape", [words], start=1, end=2)
    free = graph.op("Sub", [graph.integers(cache.capacity - patches), used])
    shape = graph.op("Concat", [graph.integers(1, cache.kv_heads), free, graph.integers(cache.head_dim)], axis=0)
    return graph.op("ConstantOfShape", [shape])


def _linear(graph: GraphBuilder, x: str, at: str) -> str:
    """On a matrix `[n, inputs]`."""
    return graph.op("Gemm", [x, graph.weight(f"{at}.weight"), graph.weight(f"{at}.bias")])


def _layer_norm(graph: GraphBuilder, x: str, at: str, eps: float) -> str:
    return graph.op("LayerNormalization", [x, graph.weight(f"{at}.weight"), graph.weight(f"{at}.bias")], epsilon=eps)


def _rms_norm(graph: GraphBuilder, x: str, at: str, eps: float) -> str:
    return graph.op("RMSNormalization", [x, graph.weight(at)], epsilon=eps)
