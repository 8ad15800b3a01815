"""The three graphs of an OpenVLA bundle, in both flavours: vision, prefill, decode. Contract: `policies/BUNDLE.md`.

From: packed tensors in `weights.bin`. To: `vision.onnx`, `prefill.onnx`, `decode.onnx`. The mask of the prefill is made inside its graph:
measured on a Llama 2 7B layer with 300 tokens, adding it costs as little as the operators that are causal by themselves.
"""

from __future__ import annotations

from egogrid_export.attention import AttentionShape, CacheShape, self_attention
from egogrid_export.graph import GraphBuilder, WeightsFile
from egogrid_export.language import Language
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.towers import TowerConfig


def language(config: ModelConfig, cache: CacheShape, text_tokens_max: int) -> Language:
    text = config.text
    return Language(
        attention=AttentionShape(text.heads, text.kv_heads, cache.head_dim, text.attention_scale, None),
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
