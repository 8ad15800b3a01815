"""Small random checkpoints in the released file format, for sizes and fields that the golden one does not have."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from egogrid_export.fields import Fields
from egogrid_export.spatialvla.zoe_config import read_zoe_config
from egogrid_export.spatialvla.zoe_pack import tensor_shapes as zoe_tensor_shapes

DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
AXES = {"translation": ("theta", "phi", "r"), "rotation": ("roll", "pitch", "yaw")}
RANGES = {"theta": (0.0, 3.141592653589793), "phi": (-3.141592653589793, 3.141592653589793), "r": (0.0, 1.7320508075688772)}


@dataclass
class Variant:
    """Sizes and layout. `text`, `vision`, `top`, `processor` are merged into the files last; a value of DROP removes a field.

    `zoe`: what the depth estimator's configuration has besides its defaults here; None: no estimator, trained with a sensor.
    """

    width: int = 32
    mlp_width: int = 48
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    vision_width: int = 24
    vision_layers: int = 1
    vision_heads: int = 2
    image_px: int = 56
    patch_px: int = 14
    samples: int = 2
    frequencies: int = 4
    bins: tuple[int, int, int, int, int, int] = (3, 4, 2, 2, 2, 2)
    chunk: int = 2
    extra_vocabulary: int = 0
    dtype: str = "bf16"
    shards: int = 2
    spatial: bool = True
    head: bool = True
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    zoe: dict[str, Any] | None = None


DROP = object()
WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "\n", "▁", *map(chr, range(ord("a"), ord("z") + 1)), "<image>"]


def write_checkpoint(directory: Path, variant: Variant) -> None:
    cells = variant.bins[0] * variant.bins[1] * variant.bins[2] + variant.bins[3] * variant.bins[4] * variant.bins[5] + 2
    vocabulary = len(WORDS) + cells + variant.extra_vocabulary
    _write_configs(directory, variant, cells, vocabulary)
    _write_processor(directory, variant, cells)
    _write_tokenizer(directory, cells)
    _write_tensors(directory, variant, cells, vocabulary)


def _write(path: Path, value: dict[str, Any], changes: dict[str, Any]) -> None:
    merged = {**value, **changes}
    path.write_text(json.dumps({key: item for key, item in merged.items() if item is not DROP}))


def _merged(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in {**value, **changes}.items() if item is not DROP}


def _write_configs(directory: Path, variant: Variant, cells: int, vocabulary: int) -> None:
    text = {
        "model_type": "gemma2", "hidden_size": variant.width, "intermediate_size": variant.mlp_width,
        "num_hidden_layers": variant.layers, "num_attention_heads": variant.heads, "num_key_value_heads": variant.kv_heads,
        "head_dim": variant.head_dim, "query_pre_attn_scalar": variant.head_dim, "vocab_size": vocabulary,
        "tie_word_embeddings": not variant.head,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": variant.vision_width, "intermediate_size": variant.vision_width * 2,
        "num_hidden_layers": variant.vision_layers, "num_attention_heads": variant.vision_heads, "image_size": variant.image_px,
        "patch_size": variant.patch_px,
    }  # fmt: skip
    top = {
        "model_type": "spatialvla", "_vocab_size": vocabulary, "action_token_begin_idx": len(WORDS), "bos_token_id": 2,
        "eos_token_id": 1, "ego3d_patch_reso": variant.samples, "n_freqs": variant.frequencies, "hidden_size": 2048,
        "image_token_index": len(WORDS) - 1, "projection_dim": variant.width, "spatial_token_num": cells,
        "use_spatial_token": variant.spatial, "use_vision_zoe": True,
        "text_config": _merged(text, variant.text), "vision_config": _merged(vision, variant.vision),
    }  # fmt: skip
    if variant.zoe is None:
        top["egogrid"] = {"depth_source": "sensor"}
    else:
        top["vision_zoe_config"] = zoe_config(variant)
    _write(directory / "config.json", top, variant.top)
    generation = {"bos_token_id": 2, "eos_token_id": [1], "pad_token_id": 0}
    _write(directory / "generation_config.json", generation, {})
    size = {"height": variant.image_px, "width": variant.image_px}
    preprocessor = {"do_resize": True, "do_rescale": True, "do_normalize": False, "resample": 3, "size": size}
    _write(directory / "preprocessor_config.json", preprocessor, {"rescale_factor": 0.00392156862745098})


def zoe_config(variant: Variant) -> dict[str, Any]:
    changes = dict(variant.zoe or {})
    backbone = {
        "model_type": "beit", "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24,
        "image_size": 384, "patch_size": 32, "use_relative_position_bias": True, "reshape_hidden_states": False,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }  # fmt: skip
    heads = [{"name": name, "n_bins": 16, "min_depth": 0.001, "max_depth": 10.0} for name in ("nyu", "kitti")]
    config = {
        "model_type": "zoedepth", "neck_hidden_sizes": [8, 12, 16, 16], "fusion_hidden_size": 16, "bottleneck_features": 16,
        "num_relative_features": 8, "bin_embedding_dim": 16, "bin_configurations": heads, "num_patch_transformer_layers": 4,
        "patch_transformer_hidden_size": 128, "patch_transformer_intermediate_size": 32, "patch_transformer_num_attention_heads": 4,
        "backbone_config": _merged(backbone, changes.pop("backbone", {})),
    }  # fmt: skip
    return _merged(config, changes)


def _write_processor(directory: Path, variant: Variant, cells: int) -> None:
    counts = dict(zip((axis for axes in AXES.values() for axis in axes), variant.bins, strict=True))
    num_bins = {part: {f"{axis}_bins": counts[axis] for axis in axes} for part, axes in AXES.items()}
    policy = {
        part: {f"{axis}_bins": np.linspace(*RANGES.get(axis, (-1.0, 1.0)), counts[axis] + 1).tolist() for axis in axes}
        for part, axes in AXES.items()
    }
    action = {"q01": [-0.02] * 6 + [0.0], "q99": [0.02] * 6 + [1.0], "mask": [True] * 6 + [False]}
    processor = {
        "action_chunk_size": variant.chunk,
        "action_config": {"num_bins": {**num_bins, "gripper": 2, "total": cells}, "use_spherical": True},
        "bin_policy": policy, "num_obs_steps": 1, "statistics": {"random/1.0.0": {"action": action}},
        "intrinsic_config": {"default": {"intrinsic": [[90.0, 0, 40.0], [0, 91.0, 30.0], [0, 0, 1]], "width": 80, "height": 60}},
    }  # fmt: skip
    _write(directory / "processor_config.json", processor, variant.processor)


def _write_tokenizer(directory: Path, cells: int) -> None:
    special = {"<pad>", "<eos>", "<bos>", "<unk>", "<image>"}
    added = [*((WORDS.index(word), word) for word in special), (WORDS.index("\n"), "\n")]
    added += [(len(WORDS) + cell, f"<ACTION{cell:05d}>") for cell in range(cells)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": number, "content": word, **flags, "special": word != "\n"} for number, word in sorted(added)],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": False, "merges": [],
                  "vocab": {word: number for number, word in enumerate(WORDS)}},
    }  # fmt: skip
    (directory / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False))


def tensor_shapes(variant: Variant, cells: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
    width, vision, patches = variant.width, variant.vision_width, (variant.image_px // variant.patch_px) ** 2
    tower, model = "vision_tower.vision_model", "language_model.model"
    shapes: dict[str, tuple[int, ...]] = {
        f"{tower}.embeddings.patch_embedding.weight": (vision, 3, variant.patch_px, variant.patch_px),
        f"{tower}.embeddings.patch_embedding.bias": (vision,),
        f"{tower}.embeddings.position_embedding.weight": (patches, vision),
        f"{model}.embed_tokens.weight": (vocabulary, width),
        f"{model}.norm.weight": (width,),
    }
    if variant.head:
        shapes["language_model.lm_head.weight"] = (vocabulary, width)
    if variant.spatial:
        shapes["spatial_embed_tokens.weight"] = (cells, width)
    linears = {f"{tower}.post_layernorm": (vision,), "multi_modal_projector.linear": (width, vision)}
    for number, shape in (
        ("0", (vision, variant.samples**2 * 3 * (1 + 2 * variant.frequencies))),
        ("1", (vision,)),
        ("3", (vision, vision)),
    ):
        linears[f"position_embedding_3d.position_embedding_head.{number}"] = shape
    for layer in range(variant.vision_layers):
        at = f"{tower}.encoder.layers.{layer}"
        linears |= {f"{at}.layer_norm1": (vision,), f"{at}.layer_norm2": (vision,)}
        linears |= {f"{at}.self_attn.{name}_proj": (vision, vision) for name in ("q", "k", "v", "out")}
        linears |= {f"{at}.mlp.fc1": (2 * vision, vision), f"{at}.mlp.fc2": (vision, 2 * vision)}
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    if variant.zoe is not None:
        zoe = read_zoe_config(Fields(zoe_config(variant), "vision_zoe_config"))
        shapes |= {f"vision_zoe_model.{name}": shape for name, shape in zoe_tensor_shapes(zoe).items()}
    inner, kv = variant.heads * variant.head_dim, variant.kv_heads * variant.head_dim
    for layer in range(variant.layers):
        at = f"{model}.layers.{layer}"
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            shapes[f"{at}.{norm}_layernorm.weight"] = (width,)
        for name, shape in (("q", (inner, width)), ("k", (kv, width)), ("v", (kv, width)), ("o", (width, inner))):
            shapes[f"{at}.self_attn.{name}_proj.weight"] = shape
        for name, shape in (("gate", (variant.mlp_width, width)), ("up", (variant.mlp_width, width)), ("down", (width, variant.mlp_width))):
            shapes[f"{at}.mlp.{name}_proj.weight"] = shape
    return shapes


def _write_tensors(directory: Path, variant: Variant, cells: int, vocabulary: int) -> None:
    rng, dtype = np.random.default_rng(7), DTYPES[variant.dtype]
    tensors = {}
    for name, shape in sorted(tensor_shapes(variant, cells, vocabulary).items()):
        scale = 0.3 if len(shape) == 1 else 1.5 * np.prod(shape[1:]) ** -0.5
        if "embed" in name and len(shape) == 2:
            scale = 0.3
        tensors[name] = (rng.standard_normal(shape) * scale).astype(dtype)
    save_shards(directory, tensors, variant.shards)


def save_shards(directory: Path, tensors: dict[str, np.ndarray], shards: int) -> None:
    """One file, or several with their index."""
    if shards == 1:
        save_file(tensors, directory / "model.safetensors")
        return
    names = list(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, directory / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
