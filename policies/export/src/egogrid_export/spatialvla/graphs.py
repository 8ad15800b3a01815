"""The three graphs of a SpatialVLA bundle: vision, prefill, decode. Contract: `policies/BUNDLE.md`.

From: packed tensors in `weights.bin`. To: `vision.onnx`, `prefill.onnx`, `decode.onnx`. Node count matters: a decode step of a small
model is mostly per-node overhead, so additions, biases and rotary positions ride along in ONNX Runtime's fused operators.
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
    rows = graph.op("Reshape", [graph.op("Transpose", [cut], perm=[1, 3, 0, 2, 4]), graph.integers(1, patches, -1)])
    x = graph.op("MatMul", [rows, graph.weight("vision.patch.weight")])
    skip, bias = graph.weight("vision.patch.position"), ""
    for layer in range(vision.layers):
        at = f"vision.{layer}"
        normed, x = _add_layer_norm(graph, x, skip, bias, f"{at}.norm1", vision.norm_eps)
        qkv = [graph.weight(f"{at}.qkv.weight"), graph.weight(f"{at}.qkv.bias")]
        mixed = graph.op("Attention", [normed, *qkv], domain=MICROSOFT, num_heads=vision.heads)
        attended = graph.op("MatMul", [mixed, graph.weight(f"{at}.out.weight")])
        normed, x = _add_layer_norm(graph, attended, x, graph.weight(f"{at}.out.bias"), f"{at}.norm2", vision.norm_eps)
        hidden = graph.op("MatMul", [normed, graph.weight(f"{at}.fc1.weight")])
        hidden = graph.op("FastGelu", [hidden, graph.weight(f"{at}.fc1.bias")], domain=MICROSOFT)
        skip, bias = x, graph.weight(f"{at}.fc2.bias")
        x = graph.op("MatMul", [hidden, graph.weight(f"{at}.fc2.weight")])
    _add_layer_norm(graph, x, skip, bias, "vision.norm", vision.norm_eps, out=siglip)

    hidden = _linear(graph, encoding, "ego3d.0")
    norm = [graph.weight("ego3d.1.weight"), graph.weight("ego3d.1.bias")]
    hidden = graph.op("LayerNormalization", [hidden, *norm], epsilon=POSITION_NORM_EPS)
    _linear(graph, graph.op("Relu", [hidden]), "ego3d.3", out=position)
    _linear(graph, graph.op("Add", [siglip, position]), "projector", out=features)
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
    heads = [text.heads * cache.head_dim, *[text.kv_heads * cache.head_dim] * 2]
    split = graph.integers(*heads)
    normed = _rms_norm(graph, x, "text.0.norm_in", text.norm_eps)
    for layer in range(text.layers):
        at = f"text.{layer}"
        q, k, v = f"{at}.q", f"{at}.k", f"{at}.v"
        graph.op("Split", [graph.op("MatMul", [normed, graph.weight(f"{at}.qkv")]), split], out=[q, k, v], axis=2)
        if layer + 1 == text.layers:
            # Only the last token's logits are asked for: from here on it is the only row.
            q, x = _last_row(graph, _rotated(graph, q, text.heads)), _last_row(graph, x)
        else:
            q = _rotated(graph, q, text.heads)
        k = _rotated(graph, k, text.kv_heads)
        _store(graph, cache, layer, "key", k, zeros)
        _store(graph, cache, layer, "value", v, zeros)
        mixed = graph.op(
            "Attention",
            [q, k, v],
            q_num_heads=text.heads,
            kv_num_heads=text.kv_heads,
            scale=text.attention_scale,
            softcap=text.attention_softcap or 0.0,
        )
        normed, x = _layer_tail(graph, config, layer, mixed, x)
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


def _layer_tail(graph: GraphBuilder, config: ModelConfig, layer: int, mixed: str, x: str) -> tuple[str, str]:
    """From mixed heads to the end of the layer: (input of what follows, already normed; residual stream)."""
    text, at = config.text, f"text.{layer}"
    attended = graph.op("MatMul", [mixed, graph.weight(f"{at}.o")])
    attended = _rms_norm(graph, attended, f"{at}.norm_attended", text.norm_eps)
    normed, x = _add_rms_norm(graph, attended, x, f"{at}.norm_mlp_in", text.norm_eps)
    gate = graph.op("Gelu", [graph.op("MatMul", [normed, graph.weight(f"{at}.gate")])], approximate="tanh")
    up = graph.op("MatMul", [normed, graph.weight(f"{at}.up")])
    down = graph.op("MatMul", [graph.op("Mul", [gate, up]), graph.weight(f"{at}.down")])
    down = _rms_norm(graph, down, f"{at}.norm_mlp_out", text.norm_eps)
    following = "text.norm" if layer + 1 == text.layers else f"text.{layer + 1}.norm_in"
    return _add_rms_norm(graph, down, x, following, text.norm_eps)


def _head(graph: GraphBuilder, config: ModelConfig, normed: str, logits: str) -> None:
    """`normed` is already divided by the soft-cap, see `pack`."""
    cap = config.text.final_softcap
    row = graph.op("Reshape", [normed, graph.integers(1, -1)])
    raw = graph.op("Gemm", [row, graph.weight("text.head")], out=logits if cap is None else None, transB=1)
    if cap is not None:
        scale = graph.constant("final_softcap", np.float32(cap))
        graph.op("Mul", [graph.op("Tanh", [raw]), scale], out=logits)


def _rotated(graph: GraphBuilder, x: str, heads: int) -> str:
    offset = graph.integers(0)
    tables = [graph.weight("text.cos"), graph.weight("text.sin")]
    return graph.op("RotaryEmbedding", [x, offset, *tables], domain=MICROSOFT, num_heads=heads)


def _unused_rows(graph: GraphBuilder, words: str, cache: CacheShape, patches: int) -> str:
    """Zeros for the rows of the cache that the prompt leaves free."""
    used = graph.op("Shape", [words], start=1, end=2)
    free = graph.op("Sub", [graph.integers(cache.capacity - patches), used])
    shape = graph.op("Concat", [graph.integers(1, cache.kv_heads), free, graph.integers(cache.head_dim)], axis=0)
    return graph.op("ConstantOfShape", [shape])


def _store(graph: GraphBuilder, cache: CacheShape, layer: int, part: str, x: str, zeros: str) -> None:
    """`[1, n, kv_heads * head_dim]` to the output that is bound to the cache."""
    present = graph.output(f"present.{layer}.{part}", "f32", cache.dims)
    heads = graph.op("Reshape", [x, graph.integers(0, 0, cache.kv_heads, cache.head_dim)])
    rows = graph.op("Transpose", [heads], perm=[0, 2, 1, 3])
    graph.op("Concat", [rows, zeros], out=present, axis=2)


def _last_row(graph: GraphBuilder, x: str) -> str:
    return graph.op("Gather", [x, graph.integers(-1)], axis=1)


def _linear(graph: GraphBuilder, x: str, at: str, out: str | None = None) -> str:
    product = graph.op("MatMul", [x, graph.weight(f"{at}.weight")])
    return graph.op("Add", [product, graph.weight(f"{at}.bias")], out=out)


def _add_layer_norm(graph: GraphBuilder, x: str, skip: str, bias: str, norm: str, eps: float, out: str | None = None) -> tuple[str, str]:
    """(norm of x + skip + bias, the sum itself)."""
    normed = out or f"{norm}.out"
    inputs = [x, skip, graph.weight(f"{norm}.weight"), graph.weight(f"{norm}.bias"), *([bias] if bias else [])]
    outputs = [normed] if out else [normed, "", "", f"{norm}.sum"]
    graph.op("SkipLayerNormalization", inputs, out=outputs, domain=MICROSOFT, epsilon=eps)
    return normed, f"{norm}.sum"


def _rms_norm(graph: GraphBuilder, x: str, norm: str, eps: float) -> str:
    return graph.op("SimplifiedLayerNormalization", [x, graph.weight(norm)], axis=-1, epsilon=eps)


def _add_rms_norm(graph: GraphBuilder, x: str, skip: str, norm: str, eps: float) -> tuple[str, str]:
    """(RMS norm of x + skip, the sum itself)."""
    outputs = [f"{norm}.out", "", "", f"{norm}.sum"]
    graph.op("SkipSimplifiedLayerNormalization", [x, skip, graph.weight(norm)], out=outputs, domain=MICROSOFT, epsilon=eps)
    return outputs[0], outputs[3]
