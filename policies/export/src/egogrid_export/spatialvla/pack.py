"""Checkpoint tensors to the layout that the graphs multiply with: transposed, merged, constants folded in. float32.

From: a checkpoint, whose every tensor is checked first. To: `weights.bin`, one tensor at a time.
Folded in, each exactly or to one rounding: SigLIP's (x - 0.5) / 0.5, the division by sqrt(D) after the projector, Gemma's embedding
scale sqrt(D), 1 + w of its norms, 1 / soft-cap of the logits, and zeros that widen head_dim to what the decode kernel accepts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from egogrid_export.attention import pack_rotary, padded_heads
from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError
from egogrid_export.graph import WeightsFile
from egogrid_export.progress import Progress
from egogrid_export.spatialvla.config import ModelConfig
from egogrid_export.spatialvla.tensor_names import EMBEDDINGS, HEAD, POSITION_HEAD, PROJECTOR, SPATIAL, TEXT, TOWER

def check_shapes(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Every tensor that the graphs need is there and has the shape that the configuration says."""
    vision, text = config.vision, config.text
    width, mlp = vision.width, vision.mlp_width
    expect = checkpoint.expect
    expect(f"{TOWER}.embeddings.patch_embedding.weight", (width, 3, vision.patch_size_px, vision.patch_size_px))
    expect(f"{TOWER}.embeddings.patch_embedding.bias", (width,))
    expect(f"{TOWER}.embeddings.position_embedding.weight", (vision.patches, width))
    linears = {f"{TOWER}.post_layernorm": (width,)}
    for layer in range(vision.layers):
        at = f"{TOWER}.encoder.layers.{layer}"
        linears |= {f"{at}.layer_norm{number}": (width,) for number in (1, 2)}
        linears |= {f"{at}.self_attn.{name}_proj": (width, width) for name in ("q", "k", "v", "out")}
        linears |= {f"{at}.mlp.fc1": (mlp, width), f"{at}.mlp.fc2": (width, mlp)}
    linears[f"{POSITION_HEAD}.0"] = (width, config.ego3d.encoding_width)
    linears[f"{POSITION_HEAD}.1"] = (width,)
    linears[f"{POSITION_HEAD}.3"] = (width, width)
    if config.without_ego3d:
        for part in ("weight", "bias"):
            name = f"{POSITION_HEAD}.3.{part}"
            if checkpoint.tensor(name).any():
                raise CheckpointError(
                    f"{name} is not zero, and config.json has ablation_ego3d = false",
                    "zeros: the released graph adds what comes out of it",
                    "save the checkpoint again with this release's egogrid_train",
                )
    linears[PROJECTOR] = (text.width, width)
    for name, shape in linears.items():
        expect(f"{name}.weight", shape)
        expect(f"{name}.bias", shape[:1])
    _check_text_shapes(checkpoint, config)


def _check_text_shapes(checkpoint: Checkpoint, config: ModelConfig) -> None:
    text = config.text
    expect = checkpoint.expect
    table = (text.vocabulary, text.width)
    expect(EMBEDDINGS, table)
    if not text.tied_head:
        expect(HEAD, table)
    if config.use_spatial_tokens:
        expect(SPATIAL, (config.spatial_tokens, text.width))
    expect(f"{TEXT}.norm.weight", (text.width,))
    shapes = {
        "self_attn.q_proj": (text.heads * text.head_dim, text.width),
        "self_attn.k_proj": (text.kv_heads * text.head_dim, text.width),
        "self_attn.v_proj": (text.kv_heads * text.head_dim, text.width),
        "self_attn.o_proj": (text.width, text.heads * text.head_dim),
        "mlp.gate_proj": (text.mlp_width, text.width),
        "mlp.up_proj": (text.mlp_width, text.width),
        "mlp.down_proj": (text.width, text.mlp_width),
    }
    norms = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
    shapes |= {norm: (text.width,) for norm in norms}
    for layer in range(text.layers):
        for name, shape in shapes.items():
            expect(f"{TEXT}.layers.{layer}.{name}.weight", shape)


def pack(checkpoint: Checkpoint, config: ModelConfig, weights: WeightsFile, capacity: int, progress: Progress) -> None:
    """Writes all packed tensors. `capacity`: positions that the rotary tables must cover."""
    for layer in progress.over(range(config.vision.layers), "pack vision layers"):
        _pack_vision_layer(checkpoint, weights, layer)
    _pack_vision_ends(checkpoint, config, weights)
    for layer in progress.over(range(config.text.layers), "pack text layers"):
        _pack_text_layer(checkpoint, config, weights, layer)
    _pack_text_ends(checkpoint, config, weights, capacity)


def _pack_vision_layer(checkpoint: Checkpoint, weights: WeightsFile, layer: int) -> None:
    source, target = f"{TOWER}.encoder.layers.{layer}", f"vision.{layer}"
    for norm, name in (("layer_norm1", "norm1"), ("layer_norm2", "norm2")):
        _copy_pair(checkpoint, weights, f"{source}.{norm}", f"{target}.{name}")
    parts = [f"{source}.self_attn.{name}_proj" for name in "qkv"]
    weights.add_matrix(f"{target}.qkv.weight", np.concatenate([checkpoint.tensor(f"{at}.weight") for at in parts]).T)
    weights.add(f"{target}.qkv.bias", np.concatenate([checkpoint.tensor(f"{at}.bias") for at in parts]))
    for linear, name in (("self_attn.out_proj", "out"), ("mlp.fc1", "fc1"), ("mlp.fc2", "fc2")):
        _copy_linear(checkpoint, weights, f"{source}.{linear}", f"{target}.{name}")


def _pack_vision_ends(checkpoint: Checkpoint, config: ModelConfig, weights: WeightsFile) -> None:
    embeddings = f"{TOWER}.embeddings"
    kernel = checkpoint.tensor(f"{embeddings}.patch_embedding.weight").reshape(config.vision.width, -1)
    # (x - 0.5) / 0.5 = 2x - 1: the kernel doubles (exact) and its sum leaves the bias.
    bias = checkpoint.tensor(f"{embeddings}.patch_embedding.bias").astype(np.float64) - kernel.sum(axis=1, dtype=np.float64)
    weights.add_matrix("vision.patch.weight", 2 * kernel.T)
    weights.add("vision.patch.position", checkpoint.tensor(f"{embeddings}.position_embedding.weight") + bias)
    _copy_pair(checkpoint, weights, f"{TOWER}.post_layernorm", "vision.norm")
    _copy_linear(checkpoint, weights, f"{POSITION_HEAD}.0", "ego3d.0")
    _copy_pair(checkpoint, weights, f"{POSITION_HEAD}.1", "ego3d.1")
    _copy_linear(checkpoint, weights, f"{POSITION_HEAD}.3", "ego3d.3")
    scale = config.text.width**-0.5
    weights.add_matrix("projector.weight", checkpoint.tensor(f"{PROJECTOR}.weight").T, scale)
    weights.add("projector.bias", checkpoint.tensor(f"{PROJECTOR}.bias").astype(np.float64) * scale)


def _pack_text_layer(checkpoint: Checkpoint, config: ModelConfig, weights: WeightsFile, layer: int) -> None:
    text = config.text
    source, target = f"{TEXT}.layers.{layer}", f"text.{layer}"
    for norm, name in (
        ("input_layernorm", "norm_in"),
        ("post_attention_layernorm", "norm_attended"),
        ("pre_feedforward_layernorm", "norm_mlp_in"),
        ("post_feedforward_layernorm", "norm_mlp_out"),
    ):
        weights.add(f"{target}.{name}", 1 + checkpoint.tensor(f"{source}.{norm}.weight"))
    q, k, v = (padded_heads(checkpoint.tensor(f"{source}.self_attn.{name}_proj.weight"), text.head_dim) for name in "qkv")
    weights.add_matrix(f"{target}.qkv", np.concatenate([q, k, v]).T)
    del q, k, v
    weights.add_matrix(f"{target}.o", padded_heads(checkpoint.tensor(f"{source}.self_attn.o_proj.weight").T, text.head_dim))
    for name in ("gate", "up", "down"):
        weights.add_matrix(f"{target}.{name}", checkpoint.tensor(f"{source}.mlp.{name}_proj.weight").T)


def _pack_text_ends(checkpoint: Checkpoint, config: ModelConfig, weights: WeightsFile, capacity: int) -> None:
    text = config.text
    norm = 1 + checkpoint.tensor(f"{TEXT}.norm.weight").astype(np.float64)
    weights.add("text.norm", norm / (text.final_softcap or 1.0))
    table = (text.vocabulary, text.width)
    scale = float(np.float32(text.width**0.5))
    weights.add_rows("text.embeddings_scaled", table, _embedding_rows(checkpoint, config), scale)
    head = _embedding_rows(checkpoint, config) if text.tied_head else (rows for _, rows in checkpoint.row_chunks(HEAD))
    weights.add_rows("text.head", table, head)
    # The official positions start at 1.
    pack_rotary(weights, text.head_dim, text.rope_theta, 1, capacity)


def _embedding_rows(checkpoint: Checkpoint, config: ModelConfig) -> Iterator[np.ndarray]:
    """The input table as the official code has it after loading: spatial rows at the action ids and over its last rows."""
    spatial = checkpoint.tensor(SPATIAL) if config.use_spatial_tokens else None
    for first, rows in checkpoint.row_chunks(EMBEDDINGS):
        if spatial is not None:
            for begin in (config.text.vocabulary - len(spatial), config.action_begin_id):
                low, high = max(first, begin), min(first + len(rows), begin + len(spatial))
                if low < high:
                    rows[low - first : high - first] = spatial[low - begin : high - begin]
        yield rows


def _copy_linear(checkpoint: Checkpoint, weights: WeightsFile, source: str, target: str) -> None:
    weights.add_matrix(f"{target}.weight", checkpoint.tensor(f"{source}.weight").T)
    weights.add(f"{target}.bias", checkpoint.tensor(f"{source}.bias"))


def _copy_pair(checkpoint: Checkpoint, weights: WeightsFile, source: str, target: str) -> None:
    for name in ("weight", "bias"):
        weights.add(f"{target}.{name}", checkpoint.tensor(f"{source}.{name}"))
