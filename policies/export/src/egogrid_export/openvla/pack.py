"""Checkpoint tensors to the layout that the graphs multiply with: transposed, merged. float32 or what the precision says.

From: a checkpoint whose tensors were checked. To: `weights.bin`, one tensor at a time. Bias and positions of the patches become one addend,
and heads are widened with zeros to what the decode kernel accepts; LayerScale stays apart, because folded into a matrix of 16 bits it would
push small weights below what they can hold. Blocks that are thrown away, final norms and pooling heads are not written.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.attention import pack_rotary, padded_heads
from egogrid_export.checkpoint import Checkpoint
from egogrid_export.graph import WeightsFile
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.tensor_names import EMBEDDINGS, HEAD, PROJECTOR, TEXT
from egogrid_export.openvla.towers import TowerConfig
from egogrid_export.progress import Progress


def pack(checkpoint: Checkpoint, config: ModelConfig, weights: WeightsFile, capacity: int, progress: Progress) -> None:
    """Writes all packed tensors. `capacity`: positions that the rotary tables must cover."""
    for index, tower in enumerate(config.towers):
        _pack_patches(checkpoint, weights, tower, f"vision.{index}")
        for layer in progress.over(range(tower.blocks), f"pack vision tower {index + 1} of {len(config.towers)}"):
            _pack_block(checkpoint, weights, tower, layer, f"vision.{index}.{layer}")
    for name, _, _ in config.projector:
        _copy_linear(checkpoint, weights, f"{PROJECTOR}.{name}", f"projector.{name}")
    for layer in progress.over(range(config.text.layers), "pack text layers"):
        _pack_text_layer(checkpoint, config, weights, layer)
    _pack_text_ends(checkpoint, config, weights, capacity)


def _pack_patches(checkpoint: Checkpoint, weights: WeightsFile, tower: TowerConfig, target: str) -> None:
    source = tower.prefix
    positions = checkpoint.tensor(f"{source}.pos_embed")[0].astype(np.float64)
    covered = tower.positions - tower.patches
    bias = checkpoint.tensor(f"{source}.patch_embed.proj.bias")
    weights.add_matrix(f"{target}.patch.weight", checkpoint.tensor(f"{source}.patch_embed.proj.weight").reshape(tower.width, -1).T)
    weights.add(f"{target}.patch.position", positions[covered:] + bias)
    names = [f"{source}.cls_token"] * tower.class_token + [f"{source}.reg_token"] * bool(tower.registers)
    if names:
        tokens = np.concatenate([checkpoint.tensor(name)[0] for name in names])
        weights.add(f"{target}.prefix", tokens + positions[:covered] if covered else tokens)


def _pack_block(checkpoint: Checkpoint, weights: WeightsFile, tower: TowerConfig, layer: int, target: str) -> None:
    source = f"{tower.prefix}.blocks.{layer}"
    for norm in ("norm1", "norm2"):
        for part in ("weight", "bias"):
            weights.add(f"{target}.{norm}.{part}", checkpoint.tensor(f"{source}.{norm}.{part}"))
    for linear, name in (("attn.qkv", "qkv"), ("attn.proj", "out"), ("mlp.fc1", "fc1"), ("mlp.fc2", "fc2")):
        _copy_linear(checkpoint, weights, f"{source}.{linear}", f"{target}.{name}")
    if tower.layer_scale:
        for scale in ("ls1", "ls2"):
            weights.add(f"{target}.{scale}", checkpoint.tensor(f"{source}.{scale}.scale_factor"))


def _pack_text_layer(checkpoint: Checkpoint, config: ModelConfig, weights: WeightsFile, layer: int) -> None:
    head_dim = config.text.head_dim
    source, target = f"{TEXT}.layers.{layer}", f"text.{layer}"
    for norm, name in (("input_layernorm", "norm_in"), ("post_attention_layernorm", "norm_mlp")):
        weights.add(f"{target}.{name}", checkpoint.tensor(f"{source}.{norm}.weight"))
    parts = [checkpoint.tensor(f"{source}.self_attn.{name}_proj.weight") for name in "qkv"]
    weights.add_matrix(f"{target}.qkv", np.concatenate([padded_heads(part, head_dim) for part in parts]).T)
    del parts
    weights.add_matrix(f"{target}.o", padded_heads(checkpoint.tensor(f"{source}.self_attn.o_proj.weight").T, head_dim))
    for name in ("gate", "up", "down"):
        weights.add_matrix(f"{target}.{name}", checkpoint.tensor(f"{source}.mlp.{name}_proj.weight").T)


def _pack_text_ends(checkpoint: Checkpoint, config: ModelConfig, weights: WeightsFile, capacity: int) -> None:
    text = config.text
    weights.add("text.norm", checkpoint.tensor(f"{TEXT}.norm.weight"))
    for source, target in ((EMBEDDINGS, "text.embeddings"), (HEAD, "text.head")):
        if target == "text.embeddings" or not text.tied_head:
            weights.add_rows(target, (text.vocabulary, text.width), (rows for _, rows in checkpoint.row_chunks(source)))
    pack_rotary(weights, text.head_dim, text.rope_theta, 0, capacity)


def _copy_linear(checkpoint: Checkpoint, weights: WeightsFile, source: str, target: str) -> None:
    weights.add_matrix(f"{target}.weight", checkpoint.tensor(f"{source}.weight").T)
    weights.add(f"{target}.bias", checkpoint.tensor(f"{source}.bias"))
