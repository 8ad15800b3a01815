"""Small random OpenVLA checkpoints in the released file format, for sizes and fields that the golden one does not have."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from variants import DTYPES, save_shards

DINO = {"patch_size": 14, "embed_dim": 24, "depth": 3, "num_heads": 2, "reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5}
SIGLIP = {"patch_size": 14, "embed_dim": 20, "depth": 2, "num_heads": 2, "mlp_ratio": 3.7362, "class_token": False, "global_pool": "map"}
FINAL_ID = 29871
DROP = object()


@dataclass
class Variant:
    """Sizes and layout. `text`, `top`, `preprocessor` are merged into the files last; a value of DROP removes a field.

    `towers`: arguments of timm's VisionTransformer. `sizes` of the text model: width, MLP, layers, heads, key/value heads.
    """

    towers: list[dict[str, Any]] = field(default_factory=lambda: [DINO, SIGLIP])
    image_px: int = 56
    sizes: tuple[int, int, int, int, int] = (32, 48, 2, 4, 2)
    vocabulary: int = 30080
    padded: int = 64
    bins: int = 256
    tied: bool = False
    strategy: str = "resize-naive"
    dims: dict[str, int] = field(default_factory=lambda: {"random": 7})
    dtype: str = "bf16"
    shards: int = 1
    favoured_id: int | None = None
    text: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    preprocessor: dict[str, Any] = field(default_factory=dict)


def write_checkpoint(directory: Path, variant: Variant) -> None:
    _write_config(directory, variant)
    _write_preprocessor(directory, variant)
    _write_tokenizer(directory)
    _write(directory / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 32000})
    tensors = _tensors(variant)
    save_shards(directory, {name: tensor.astype(DTYPES[variant.dtype]) for name, tensor in tensors.items()}, variant.shards)


def _write(path: Path, value: dict[str, Any], changes: dict[str, Any] | None = None) -> None:
    path.write_text(json.dumps(_merged(value, changes or {})))


def _merged(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in {**value, **changes}.items() if item is not DROP}


def _write_config(directory: Path, variant: Variant) -> None:
    width, mlp_width, layers, heads, kv_heads = variant.sizes
    text = {
        "model_type": "llama", "hidden_size": width, "intermediate_size": mlp_width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": variant.vocabulary, "pad_token_id": 32000,
        "tie_word_embeddings": variant.tied,
    }  # fmt: skip
    fused = len(variant.towers) == 2
    top = {
        "model_type": "openvla", "architectures": ["OpenVLAForActionPrediction"], "use_fused_vision_backbone": fused,
        "vision_backbone_id": "dinosiglip-vit-so-224px" if fused else "siglip-vit-so400m",
        "llm_backbone_id": "llama2-7b-pure" if fused else "vicuna-v15-7b", "image_resize_strategy": variant.strategy,
        "timm_model_ids": [f"vit_random_{index}" for index in range(len(variant.towers))],
        "timm_override_act_layers": [None] * len(variant.towers), "timm_model_args": variant.towers,
        "image_sizes": [variant.image_px] * len(variant.towers), "n_action_bins": variant.bins,
        "pad_to_multiple_of": variant.padded, "text_config": _merged(text, variant.text),
        "norm_stats": {key: _statistics(dims) for key, dims in variant.dims.items()},
    }  # fmt: skip
    _write(directory / "config.json", top, variant.top)


def _statistics(dims: int) -> dict[str, Any]:
    low, high = [-0.02 * (dim + 1) for dim in range(dims)], [0.03 * (dim + 1) for dim in range(dims)]
    numbers = {"mean": low, "std": high, "min": low, "max": high, "q01": low, "q99": high}
    return {"action": {**numbers, "mask": [True] * (dims - 1) + [False]}, "num_transitions": 3, "num_trajectories": 1}


def _write_preprocessor(directory: Path, variant: Variant) -> None:
    size, count = variant.image_px, len(variant.towers)
    stretched = variant.strategy == "resize-naive"
    resize = {"antialias": True, "interpolation": 3, "max_size": None, "size": [size, size] if stretched else size}
    letterbox = variant.strategy == "letterbox"
    content = {
        "image_processor_type": "PrismaticImageProcessor", "image_resize_strategy": variant.strategy,
        "input_sizes": [[3, size, size]] * count, "interpolations": ["bicubic"] * count,
        "means": [[0.4, 0.4, 0.4]] * count, "stds": [[0.3, 0.3, 0.3]] * count,
        "tvf_crop_params": [{"output_size": [size, size]}] * count, "tvf_do_letterbox": letterbox,
        "tvf_letterbox_fill": [127, 127, 127] if letterbox else None,
        "tvf_normalize_params": [{"inplace": False, "mean": [0.5, 0.45, 0.4], "std": [0.25, 0.2, 0.3]}] * count,
        "tvf_resize_params": [resize] * count, "use_fused_vision_backbone": count == 2,
    }  # fmt: skip
    _write(directory / "preprocessor_config.json", content, variant.preprocessor)


def _write_tokenizer(directory: Path) -> None:
    special = ["<unk>", "<s>", "</s>"]
    words = [*special, "\n", *map(chr, range(ord("!"), ord("~") + 1))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    content = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": number, "content": word, **flags} for number, word in enumerate(special)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None, "decoder": None,
        "post_processor": {"type": "TemplateProcessing", "single": template, "pair": template,
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": False, "merges": [],
                  "vocab": {**{word: number for number, word in enumerate(words)}, "▁": FINAL_ID}},
    }  # fmt: skip
    (directory / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False))


def tensor_shapes(variant: Variant) -> dict[str, tuple[int, ...]]:
    """What the official code saves, the parts that it does not use included."""
    shapes: dict[str, tuple[int, ...]] = {}
    for prefix, arguments in zip(("featurizer", "fused_featurizer"), variant.towers, strict=False):
        shapes |= _tower_shapes(f"vision_backbone.{prefix}", arguments, variant.image_px)
    vision, (width, mlp_width, layers, heads, kv_heads) = sum(tower["embed_dim"] for tower in variant.towers), variant.sizes
    sizes = [vision, 4 * vision, width, width] if len(variant.towers) == 2 else [vision, width, width]
    for number, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        shapes |= _linear(f"projector.fc{number}", outputs, inputs)
    model, kv = "language_model.model", width // heads * kv_heads
    shapes |= {f"{model}.embed_tokens.weight": (variant.vocabulary, width), f"{model}.norm.weight": (width,)}
    if not variant.tied:
        shapes["language_model.lm_head.weight"] = (variant.vocabulary, width)
    for layer in range(layers):
        at = f"{model}.layers.{layer}"
        shapes |= {f"{at}.{norm}_layernorm.weight": (width,) for norm in ("input", "post_attention")}
        for name, outputs in (("q", width), ("k", kv), ("v", kv), ("o", width)):
            shapes[f"{at}.self_attn.{name}_proj.weight"] = (outputs, width)
        shapes |= {f"{at}.mlp.{name}_proj.weight": (mlp_width, width) for name in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (width, mlp_width)
    return shapes


def _tower_shapes(at: str, arguments: dict[str, Any], image_px: int) -> dict[str, tuple[int, ...]]:
    width, patch = arguments["embed_dim"], arguments.get("patch_size", 16)
    hidden, patches = int(width * arguments.get("mlp_ratio", 4.0)), (image_px // patch) ** 2
    registers, classes = arguments.get("reg_tokens", 0), int(arguments.get("class_token", True))
    positions = patches if arguments.get("no_embed_class", False) else patches + classes + registers
    shapes: dict[str, tuple[int, ...]] = {
        f"{at}.patch_embed.proj.weight": (width, 3, patch, patch),
        f"{at}.patch_embed.proj.bias": (width,),
    }
    # timm's last norm has another name where tokens are averaged.
    norm = "fc_norm" if arguments.get("global_pool") == "avg" else "norm"
    shapes |= {f"{at}.pos_embed": (1, positions, width)} | _linear_like(f"{at}.{norm}", width)
    if classes:
        shapes[f"{at}.cls_token"] = (1, 1, width)
    if registers:
        shapes[f"{at}.reg_token"] = (1, registers, width)
    for layer in range(arguments["depth"]):
        block = f"{at}.blocks.{layer}"
        shapes |= _linear_like(f"{block}.norm1", width) | _linear_like(f"{block}.norm2", width)
        shapes |= _linear(f"{block}.attn.qkv", 3 * width, width) | _linear(f"{block}.attn.proj", width, width)
        shapes |= _linear(f"{block}.mlp.fc1", hidden, width) | _linear(f"{block}.mlp.fc2", width, hidden)
        if arguments.get("init_values"):
            shapes |= {f"{block}.{scale}.scale_factor": (width,) for scale in ("ls1", "ls2")}
    if arguments.get("global_pool") == "map":
        shapes |= {f"{at}.attn_pool.latent": (1, 1, width)} | _linear(f"{at}.attn_pool.kv", 2 * width, width)
    return shapes


def _linear(at: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{at}.weight": (outputs, inputs), f"{at}.bias": (outputs,)}


def _linear_like(at: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{at}.weight": (width,), f"{at}.bias": (width,)}


def _tensors(variant: Variant) -> dict[str, np.ndarray]:
    rng, tensors = np.random.default_rng(11), {}
    for name, shape in sorted(tensor_shapes(variant).items()):
        scale = 0.3 if len(shape) == 1 or "embed" in name or "token" in name else 1.5 * float(np.prod(shape[1:])) ** -0.5
        tensors[name] = (rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)).astype(np.float32)
        if "norm" in name and name.endswith("weight"):
            tensors[name] += 1
    # Action ids win, so that generations are whole; or the one id that a test asks for.
    head = tensors["language_model.model.embed_tokens.weight" if variant.tied else "language_model.lm_head.weight"]
    end = variant.vocabulary - variant.padded
    if variant.favoured_id is None:
        head[: end - variant.bins] *= 0.01
        head[end:] *= 0.01
    else:
        head *= 0.01
        head[variant.favoured_id] *= 1000
    return tensors
