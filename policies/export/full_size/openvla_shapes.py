"""Names and shapes of every tensor of a released OpenVLA checkpoint with fused towers (`openvla-7b`): 7,541,237,184 parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Shapes = dict[str, tuple[int, ...]]
# What the released config.json leaves to transformers 4.40's LlamaConfig().
LLAMA = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}


@dataclass(frozen=True)
class Tower:
    """A timm vision transformer at 224 pixels in patches of 14."""

    width: int
    depth: int
    mlp: int
    registers: int
    scaled: bool
    pooled: bool


# The two of `dinosiglip-vit-so-224px`, in channel order.
TOWERS = {
    "featurizer": Tower(1024, 24, 4096, 4, scaled=True, pooled=False),
    "fused_featurizer": Tower(1152, 27, 4304, 0, scaled=False, pooled=True),
}
PATCHES, PATCH_PX = 256, 14


def shapes(config: dict[str, Any]) -> Shapes:
    text = {**LLAMA, **config["text_config"]}
    found = _llama(text["hidden_size"], text["intermediate_size"], text["num_hidden_layers"], text["vocab_size"])
    for name, tower in TOWERS.items():
        found |= _tower(f"vision_backbone.{name}", tower)
    vision, width = sum(tower.width for tower in TOWERS.values()), text["hidden_size"]
    sizes = (vision, 4 * vision, width, width)
    for number in range(3):
        found |= _linear(f"projector.fc{number + 1}", sizes[number + 1], sizes[number])
    return found


def _linear(at: str, outputs: int, inputs: int) -> Shapes:
    return {f"{at}.weight": (outputs, inputs), f"{at}.bias": (outputs,)}


def _norm(at: str, width: int) -> Shapes:
    return {f"{at}.weight": (width,), f"{at}.bias": (width,)}


def _tower(at: str, tower: Tower) -> Shapes:
    width = tower.width
    found: Shapes = {
        f"{at}.pos_embed": (1, PATCHES, width),
        f"{at}.patch_embed.proj.weight": (width, 3, PATCH_PX, PATCH_PX),
        f"{at}.patch_embed.proj.bias": (width,),
        **_norm(f"{at}.norm", width),
    }
    if tower.registers:
        found |= {f"{at}.cls_token": (1, 1, width), f"{at}.reg_token": (1, tower.registers, width)}
    for block in range(tower.depth):
        inner = f"{at}.blocks.{block}"
        found |= _norm(f"{inner}.norm1", width) | _norm(f"{inner}.norm2", width)
        found |= _linear(f"{inner}.attn.qkv", 3 * width, width) | _linear(f"{inner}.attn.proj", width, width)
        found |= _linear(f"{inner}.mlp.fc1", tower.mlp, width) | _linear(f"{inner}.mlp.fc2", width, tower.mlp)
        if tower.scaled:
            found |= {f"{inner}.ls1.scale_factor": (width,), f"{inner}.ls2.scale_factor": (width,)}
    if tower.pooled:
        pool = f"{at}.attn_pool"
        found[f"{pool}.latent"] = (1, 1, width)
        found |= _linear(f"{pool}.q", width, width) | _linear(f"{pool}.kv", 2 * width, width) | _linear(f"{pool}.proj", width, width)
        found |= _norm(f"{pool}.norm", width)
        found |= _linear(f"{pool}.mlp.fc1", tower.mlp, width) | _linear(f"{pool}.mlp.fc2", width, tower.mlp)
    return found


def _llama(width: int, mlp: int, layers: int, vocabulary: int) -> Shapes:
    model = "language_model.model"
    found: Shapes = {
        f"{model}.embed_tokens.weight": (vocabulary, width),
        f"{model}.norm.weight": (width,),
        "language_model.lm_head.weight": (vocabulary, width),
    }
    for layer in range(layers):
        at = f"{model}.layers.{layer}"
        for name in ("q", "k", "v", "o"):
            found[f"{at}.self_attn.{name}_proj.weight"] = (width, width)
        for name, shape in (("gate", (mlp, width)), ("up", (mlp, width)), ("down", (width, mlp))):
            found[f"{at}.mlp.{name}_proj.weight"] = shape
        for norm in ("input", "post_attention"):
            found[f"{at}.{norm}_layernorm.weight"] = (width,)
    return found
