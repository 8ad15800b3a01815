"""The three graphs of a SpatialVLA bundle, in both flavours: vision, prefill, decode. Contract: `policies/BUNDLE.md`.

From: packed tensors in `weights.bin`. To: `vision.onnx`, `prefill.onnx`, `decode.onnx`. Operators were chosen by measuring ONNX Runtime
1.32 on the CPU: SkipLayerNormalization takes several times as long as Add and LayerNormalization, and ONNX Attention with a soft-cap up
to ten times as long as its parts, so the parts stand here. GroupQueryAttention is what updates a cache in place.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.attention import AttentionShape, CacheShape, self_attention
from egogrid_export.graph import GraphBuilder, WeightsFile
from egogrid_export.language import Language
from egogrid_export.spatialvla.config import ModelConfig
from egogrid_export.spatialvla.golden import TEXT_TOKENS_MAX

POSITION_NORM_EPS = 1e-5


def language(config: ModelConfig, cache: CacheShape) -> Language:
    text = config.text
    return Language(
        attention=AttentionShape(text.heads, text.kv_heads, cache.head_dim, text.attention_scale, text.attention_softcap),
        cache=cache,
        width=text.width,
        vocabulary=text.vocabulary,
        norm_eps=text.norm_eps,
        image_tokens=config.vision.patches,
        text_tokens_max=TEXT_TOKENS_MAX,
        embeddings="text.embeddings_scaled",
        bos_first=False,
        causal=False,
        image_scale=text.width**0.5,
        layer_tail=lambda graph, layer, mixed, x: _layer_tail(graph, config, layer, mixed, x),
        head=lambda graph, normed, logits: _head(graph, config, normed, logits),
    )


def build_vision(config: ModelConfig, weights: WeightsFile, kind: type[GraphBuilder] = GraphBuilder, batch: int = 1) -> GraphBuilder:
    """Picture and encoded points to image features, with both halves of the sum as further outputs. `kind`: the flavour."""
    vision, graph = config.vision, kind("vision", weights, batch=batch)
    size, side, patches, width = vision.patch_size_px, vision.grid, vision.patches, vision.width
    pixels = graph.input("pixel_values", "f32", [batch, 3, vision.image_size_px, vision.image_size_px])
    encoding = graph.input("freq_encoding", "f32", [batch, patches, config.ego3d.encoding_width])
    features = graph.output("image_features", "f32", [batch, patches, config.text.width])
    siglip = graph.output("siglip_last_hidden", "f32", [batch, patches, width])
    position = graph.output("pos_embed_3d", "f32", [batch, patches, width])

    # Of one observation rows are those of a matrix, which is what the CPU's Gemm takes.
    many, front = ([batch], [0]) if batch > 1 else ([], [])
    cut = graph.op("Reshape", [pixels, graph.integers(*many, 3, side, size, side, size)])
    by_patch = graph.op("Transpose", [cut], perm=front + [len(front) + axis for axis in (1, 3, 0, 2, 4)])
    rows = graph.op("Reshape", [by_patch, graph.integers(*many, patches, -1)])
    x = graph.affine(rows, "vision.patch", "position", exact=True)
    for layer in range(vision.layers):
        at = f"vision.{layer}"
        normed = graph.layer_norm(x, f"{at}.norm1", vision.norm_eps)
        attended = graph.affine(self_attention(graph, normed, f"{at}.qkv", vision.heads, patches, width), f"{at}.out")
        x = graph.op("Add", [x, attended])
        hidden = graph.affine(graph.layer_norm(x, f"{at}.norm2", vision.norm_eps), f"{at}.fc1")
        x = graph.op("Add", [x, graph.affine(graph.op("Gelu", [hidden], approximate="tanh"), f"{at}.fc2")])
    x = graph.layer_norm(x, "vision.norm", vision.norm_eps)

    points = graph.op("Reshape", [encoding, graph.integers(*many, patches, -1)])
    hidden = graph.layer_norm(graph.affine(points, "ego3d.0", exact=True), "ego3d.1", POSITION_NORM_EPS)
    embedded = graph.affine(graph.op("Relu", [hidden]), "ego3d.3", exact=True)
    projected = graph.affine(graph.op("Add", [x, embedded]), "projector", exact=True)
    for value, name in ((projected, features), (x, siglip), (embedded, position)):
        graph.op("Reshape", [value, graph.integers(batch, patches, -1)], out=name)
    return graph


def _layer_tail(graph: GraphBuilder, config: ModelConfig, layer: int, mixed: str, x: str) -> tuple[str, str]:
    """From mixed heads to the end of the layer: (input of what follows, already normed; residual stream)."""
    text, at = config.text, f"text.{layer}"
    attended = graph.product(mixed, f"{at}.o")
    x = graph.op("Add", [x, graph.rms_norm(attended, f"{at}.norm_attended", text.norm_eps)])
    normed = graph.rms_norm(x, f"{at}.norm_mlp_in", text.norm_eps)
    gate = graph.op("Gelu", [graph.product(normed, f"{at}.gate")], approximate="tanh")
    up = graph.product(normed, f"{at}.up")
    down = graph.product(graph.op("Mul", [gate, up]), f"{at}.down")
    x = graph.op("Add", [x, graph.rms_norm(down, f"{at}.norm_mlp_out", text.norm_eps)])
    following = "text.norm" if layer + 1 == text.layers else f"text.{layer + 1}.norm_in"
    return graph.rms_norm(x, following, text.norm_eps), x


def _head(graph: GraphBuilder, config: ModelConfig, normed: str, logits: str) -> None:
    """`normed` is already divided by the soft-cap, see `pack`."""
    cap = config.text.final_softcap
    row = graph.op("Reshape", [normed, graph.integers(graph.batch, -1)])
    raw = graph.product_by_rows(row, "text.head", out=logits if cap is None else None)
    if cap is not None:
        graph.op("Mul", [graph.op("Tanh", [raw]), graph.constant("final_softcap", np.float32(cap))], out=logits)
