"""Names and shapes of the tensors of a released OpenVLA checkpoint, read by the packer, the checks and the numpy reference."""

from __future__ import annotations

import re

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.towers import TowerConfig

TEXT = "language_model.model"
HEAD = "language_model.lm_head.weight"
EMBEDDINGS = f"{TEXT}.embed_tokens.weight"
PROJECTOR = "projector"
# What the official model has too and never reads for its features, or makes itself.
UNUSED = re.compile(r"vision_backbone\.(fused_)?featurizer\.(norm|fc_norm|attn_pool)\..+|.+\.rotary_emb\.inv_freq")


def check_tensors(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Every tensor that the model needs is there in the right shape, and there is none that the configuration does not explain."""
    expected = tensor_shapes(config)
    for name, shape in expected.items():
        checkpoint.expect(name, shape)
    unused = {f"{tower.prefix}.blocks.{tower.depth - 1}." for tower in config.towers}
    for name in checkpoint.names():
        known = name in expected or UNUSED.fullmatch(name) or any(name.startswith(block) for block in unused)
        if not known and not (config.text.tied_head and name == HEAD):
            raise CheckpointError(
                f"tensor {name} is in the checkpoint",
                "only tensors of the model that config.json describes",
                "use the config.json that belongs to these weights; merge adapters, or give them with --lora",
            )


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """All tensors that the graphs are made from."""
    shapes: dict[str, tuple[int, ...]] = {}
    for tower in config.towers:
        shapes |= _tower_shapes(tower)
    for name, outputs, inputs in config.projector:
        shapes |= _linear(f"{PROJECTOR}.{name}", outputs, inputs)
    return shapes | _text_shapes(config)


def _tower_shapes(tower: TowerConfig) -> dict[str, tuple[int, ...]]:
    at, width, patch = tower.prefix, tower.width, tower.patch_size_px
    shapes: dict[str, tuple[int, ...]] = {
        f"{at}.patch_embed.proj.weight": (width, 3, patch, patch),
        f"{at}.patch_embed.proj.bias": (width,),
        f"{at}.pos_embed": (1, tower.positions, width),
    }
    if tower.class_token:
        shapes[f"{at}.cls_token"] = (1, 1, width)
    if tower.registers:
        shapes[f"{at}.reg_token"] = (1, tower.registers, width)
    for layer in range(tower.blocks):
        block = f"{at}.blocks.{layer}"
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}.{norm}.{part}": (width,) for part in ("weight", "bias")}
        shapes |= _linear(f"{block}.attn.qkv", 3 * width, width) | _linear(f"{block}.attn.proj", width, width)
        shapes |= _linear(f"{block}.mlp.fc1", tower.mlp_width, width) | _linear(f"{block}.mlp.fc2", width, tower.mlp_width)
        if tower.layer_scale:
            shapes |= {f"{block}.{scale}.scale_factor": (width,) for scale in ("ls1", "ls2")}
    return shapes


def _text_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    text = config.text
    inner, kv = text.heads * text.head_dim, text.kv_heads * text.head_dim
    shapes: dict[str, tuple[int, ...]] = {EMBEDDINGS: (text.vocabulary, text.width), f"{TEXT}.norm.weight": (text.width,)}
    if not text.tied_head:
        shapes[HEAD] = (text.vocabulary, text.width)
    of_layer = {
        "self_attn.q_proj": (inner, text.width),
        "self_attn.k_proj": (kv, text.width),
        "self_attn.v_proj": (kv, text.width),
        "self_attn.o_proj": (text.width, inner),
        "mlp.gate_proj": (text.mlp_width, text.width),
        "mlp.up_proj": (text.mlp_width, text.width),
        "mlp.down_proj": (text.width, text.mlp_width),
        "input_layernorm": (text.width,),
        "post_attention_layernorm": (text.width,),
    }
    for layer in range(text.layers):
        shapes |= {f"{TEXT}.layers.{layer}.{name}.weight": shape for name, shape in of_layer.items()}
    return shapes


def _linear(at: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{at}.weight": (outputs, inputs), f"{at}.bias": (outputs,)}
