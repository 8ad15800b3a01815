"""The three graphs of an OpenVLA bundle, in both flavours: vision, prefill, decode. Contract: `policies/BUNDLE.md`.

From: packed tensors in `weights.bin`. To: `vision.onnx`, `prefill.onnx`, `decode.onnx`. The mask of the prefill is made inside its graph:
measured on a Llama 2 7B layer with 300 tokens, adding it costs as little as the operators that are causal by themselves.
"""

from __future__ import annotations

from egogrid_export import static_language
from egogrid_export.attention import (
    AttentionShape,
    CacheShape,
    cached_attention,
    causal_mask,
    mixed_heads,
    rotated_heads,
    self_attention,
    unused_rows,
)  # fmt: skip
from egogrid_export.graph import GraphBuilder, WeightsFile
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.towers import TowerConfig
from egogrid_export.static_graph import StaticGraph
from egogrid_export.static_language import Language


def attention_shape(config: ModelConfig, cache: CacheShape) -> AttentionShape:
    text = config.text
    return AttentionShape(text.heads, text.kv_heads, cache.head_dim, text.attention_scale, None)


def static_graphs(config: ModelConfig, weights: WeightsFile, cache: CacheShape, text_tokens_max: int) -> list[GraphBuilder]:
    """The second flavour of all three, see `static_graph.py`."""
    text = config.text
    language = Language(
        attention=attention_shape(config, cache),
        cache=cache,
        width=text.width,
        vocabulary=text.vocabulary,
        norm_eps=text.norm_eps,
        image_tokens=config.patches,
        text_tokens_max=text_tokens_max,
        embeddings="text.embeddings",
        bos_first=True,
        causal=True,
        image_scale=None,
        layer_tail=lambda graph, layer, mixed, x: _layer_tail(graph, config, layer, mixed, x),
        head=lambda graph, normed, logits: _head(graph, config, normed, logits),
    )
    vision = build_vision(config, weights, StaticGraph)
    return [vision, static_language.build_prefill(language, weights), static_language.build_decode(language, weights)]


def build_vision(config: ModelConfig, weights: WeightsFile, kind: type[GraphBuilder] = GraphBuilder) -> GraphBuilder:
    """The picture once per tower to image features, with the joined patches before the projector as a further output. `kind`: the flavour."""
    graph, size, patches = kind("vision", weights), config.image_size_px, config.patches
    pixels = graph.input("pixel_values", "f32", [1, config.channels, size, size])
    features = graph.output("image_features", "f32", [1, patches, config.text.width])
    joined = graph.output("patch_features", "f32", [1, patches, config.patch_width])

    pictures = [f"vision.{index}.picture" for index in range(len(config.towers))]
    graph.op("Split", [pixels], out=pictures, axis=1, num_outputs=len(pictures))
    towers = [_tower(graph, tower, index, picture) for index, (tower, picture) in enumerate(zip(config.towers, pictures, strict=True))]
    x = towers[0] if len(towers) == 1 else graph.op("Concat", towers, axis=1)
    graph.op("Reshape", [x, graph.integers(1, patches, -1)], out=joined)
    for index, (name, _, _) in enumerate(config.projector):
        x = graph.affine(graph.op("Gelu", [x]) if index else x, f"projector.{name}")
    graph.op("Reshape", [x, graph.integers(1, patches, -1)], out=features)
    return graph


def _tower(graph: GraphBuilder, tower: TowerConfig, index: int, picture: str) -> str:
    """`[1, 3, H, W]` to the patch tokens after the last block that counts, `[P, width]`."""
    at, size, grid = f"vision.{index}", tower.patch_size_px, tower.grid
    if grid * size < tower.image_size_px:
        end = graph.integers(grid * size, grid * size)
        picture = graph.op("Slice", [picture, graph.integers(0, 0), end, graph.integers(2, 3)])
    cut = graph.op("Reshape", [picture, graph.integers(3, grid, size, grid, size)])
    rows = graph.op("Reshape", [graph.op("Transpose", [cut], perm=[1, 3, 0, 2, 4]), graph.integers(tower.patches, -1)])
    x = graph.affine(rows, f"{at}.patch", "position", exact=True)
    tokens = tower.patches + tower.prefix_tokens
    if tower.prefix_tokens:
        x = graph.op("Concat", [graph.weight(f"{at}.prefix"), x], axis=0)
    for layer in range(tower.blocks):
        x = _block(graph, tower, f"{at}.{layer}", x, tokens)
    if tower.prefix_tokens:
        x = graph.op("Slice", [x, graph.integers(tower.prefix_tokens), graph.integers(tokens), graph.integers(0)])
    return x


def _block(graph: GraphBuilder, tower: TowerConfig, at: str, x: str, tokens: int) -> str:
    normed = graph.layer_norm(x, f"{at}.norm1", tower.norm_eps)
    attended = graph.affine(self_attention(graph, normed, f"{at}.qkv", tower.heads, tokens, tower.width), f"{at}.out")
    x = graph.op("Add", [x, _layer_scaled(graph, tower, attended, f"{at}.ls1")])
    hidden = graph.affine(graph.layer_norm(x, f"{at}.norm2", tower.norm_eps), f"{at}.fc1")
    return graph.op("Add", [x, _layer_scaled(graph, tower, graph.affine(graph.op("Gelu", [hidden]), f"{at}.fc2"), f"{at}.ls2")])


def _layer_scaled(graph: GraphBuilder, tower: TowerConfig, x: str, name: str) -> str:
    return graph.op("Mul", [x, graph.weight(name)]) if tower.layer_scale else x


def build_prefill(config: ModelConfig, weights: WeightsFile, cache: CacheShape) -> GraphBuilder:
    """Image features and text ids to the logits after the prompt and a filled cache: bos, patches, the other ids; causal."""
    text, patches = config.text, config.patches
    graph = GraphBuilder("prefill", weights)
    image = graph.input("image_features", "f32", [1, patches, text.width])
    ids = graph.input("text_ids", "i64", [1, "text_tokens"])
    logits = graph.output("logits", "f32", [1, text.vocabulary])

    shape = attention_shape(config, cache)
    words = graph.rows("text.embeddings", ids)
    ends = [graph.integers(0), graph.integers(1), graph.integers(1 << 30)]
    first, others = (graph.op("Slice", [words, *ends[at : at + 2], graph.integers(1)]) for at in (0, 1))
    x = graph.op("Concat", [first, image, others], axis=1)
    mask, zeros = causal_mask(graph, shape, x), unused_rows(graph, words, cache, patches)
    normed = graph.rms_norm(x, "text.0.norm_in", text.norm_eps)
    for layer in range(text.layers):
        q, keys, values = rotated_heads(graph, shape, layer, normed)
        for part, rows in (("key", keys), ("value", values)):
            present = graph.output(f"present.{layer}.{part}", "f32", cache.dims)
            graph.op("Concat", [rows, zeros], out=present, axis=2)
        last = layer + 1 == text.layers
        if last:
            # Only the last token's logits are asked for: from here on it is the only row, and it sees every key.
            q, x = graph.op("Gather", [q, graph.integers(-1)], axis=2), graph.op("Gather", [x, graph.integers(-1)], axis=1)
        mixed = mixed_heads(graph, shape, q, keys, values, None if last else mask)
        normed, x = _layer_tail(graph, config, layer, mixed, x)
    _head(graph, config, normed, logits)
    return graph


def build_decode(config: ModelConfig, weights: WeightsFile, cache: CacheShape) -> GraphBuilder:
    """One token to the logits after it; the cache grows by one row in place."""
    text, graph = config.text, GraphBuilder("decode", weights, few_rows=True)
    token = graph.input("token_id", "i64", [1, 1])
    seqlens = graph.input("seqlens_k", "i32", [1])
    lengths = [seqlens, graph.input("total_len", "i32", [])]
    logits = graph.output("logits", "f32", [1, text.vocabulary])
    shape = attention_shape(config, cache)

    x = graph.rows("text.embeddings", token)
    normed = graph.rms_norm(x, "text.0.norm_in", text.norm_eps)
    for layer in range(text.layers):
        past = [graph.input(f"past.{layer}.{part}", "f32", cache.dims) for part in ("key", "value")]
        present = [graph.output(f"present.{layer}.{part}", "f32", cache.dims) for part in ("key", "value")]
        mixed = cached_attention(graph, shape, layer, graph.product(normed, f"text.{layer}.qkv"), past, present, lengths)
        normed, x = _layer_tail(graph, config, layer, mixed, x)
    _head(graph, config, normed, logits)
    return graph


def _layer_tail(graph: GraphBuilder, config: ModelConfig, layer: int, mixed: str, x: str) -> tuple[str, str]:
    """From mixed heads to the end of the layer: (input of what follows, already normed; residual stream)."""
    text, at = config.text, f"text.{layer}"
    x = graph.op("Add", [x, graph.product(mixed, f"{at}.o")])
    normed = graph.rms_norm(x, f"{at}.norm_mlp", text.norm_eps)
    gate = graph.product(normed, f"{at}.gate")
    gate = graph.op("Mul", [gate, graph.op("Sigmoid", [gate])])
    down = graph.product(graph.op("Mul", [gate, graph.product(normed, f"{at}.up")]), f"{at}.down")
    x = graph.op("Add", [x, down])
    following = "text.norm" if layer + 1 == text.layers else f"text.{layer + 1}.norm_in"
    return graph.rms_norm(x, following, text.norm_eps), x


def _head(graph: GraphBuilder, config: ModelConfig, normed: str, logits: str) -> None:
    row = graph.op("Reshape", [normed, graph.integers(1, -1)])
    graph.product_by_rows(row, "text.embeddings" if config.text.tied_head else "text.head", out=logits)
