"""Writes and reads a checkpoint directory in the released SpatialVLA layout.

From: a trained `SpatialVla`, the grid, the Ego3D settings. To: config.json, processor_config.json,
preprocessor_config.json, generation_config.json, the tokenizer's three files and model.safetensors.
Fields that the released format does not know stand under the key `egogrid`; README.md lists them.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from egogrid_metaworld import NEAR_CAMERA
from egogrid_metaworld.env import CONTROL_HZ, STEP_M_MAX
from egogrid_train import grid as grids
from egogrid_train import text
from egogrid_train.episodes import CHUNK, NATIVE_PX
from egogrid_train.grid import ACTION_TOKENS, BINS, Grid
from egogrid_train.model import ModelConfig, SpatialVla
from safetensors.torch import load_file, save_file



@dataclass(frozen=True)
class Ego3d:
    """How points become numbers: `(p - center) / scale`, `p` in the camera's or the base frame."""

    frame: str = "base"
    center_m: tuple[float, float, float] = (0.0, 0.65, 0.1)
    scale_m: float = 0.5

    def normalized(self, points: np.ndarray) -> np.ndarray:
        """Points `[..., 3 k]` in metres to f32, as they enter the encoding."""
        center = np.tile(self.center_m, points.shape[-1] // 3).astype(np.float32)
        return (points - center) / np.float32(self.scale_m)


def _config(c: ModelConfig, ego3d: Ego3d, steps_executed: int) -> dict:
    return {
        "_vocab_size": c.vocab_size, "action_token_begin_idx": c.action_begin,
        "architectures": ["SpatialVLAForConditionalGeneration"],
        "auto_map": {"AutoConfig": "configuration_spatialvla.SpatialVLAConfig",
                     "AutoModel": "modeling_spatialvla.SpatialVLAForConditionalGeneration"},
        "bos_token_id": 2, "ego3d_patch_reso": c.reso, "eos_token_id": 1, "hidden_size": c.width,
        "image_token_index": c.image_token, "model_type": "spatialvla", "n_freqs": c.n_freqs,
        "num_hidden_layers": c.layers, "pad_token_id": 0, "projection_dim": c.width, "spatial_token_num": c.action_count,
        "text_config": {
            "attn_logit_softcapping": 50.0, "eos_token_id": [1], "final_logit_softcapping": 30.0, "head_dim": c.head_dim,
            "hidden_act": "gelu_pytorch_tanh", "hidden_size": c.width, "intermediate_size": c.mlp,
            "model_type": "gemma2", "num_attention_heads": c.heads, "num_hidden_layers": c.layers,
            "num_image_tokens": c.patches, "num_key_value_heads": c.kv_heads, "query_pre_attn_scalar": c.head_dim,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": c.vocab_size,
        },
        "torch_dtype": "float32", "transformers_version": "4.47.0", "use_spatial_token": True, "use_vision_zoe": False,
        "vision_config": {
            "hidden_size": c.vision_width, "image_size": c.image_px, "intermediate_size": c.vision_mlp,
            "layer_norm_eps": 1e-6, "model_type": "siglip_vision_model", "num_attention_heads": c.vision_heads,
            "num_hidden_layers": c.vision_layers, "num_image_tokens": c.patches, "num_positions": c.patches,
            "patch_size": c.patch_px, "projection_dim": c.width, "vision_use_head": False,
        },
        "egogrid": {
            "ego3d_frame": ego3d.frame, "ego3d_center_m": list(ego3d.center_m), "ego3d_scale_m": ego3d.scale_m,
            "depth_source": "sensor", "control_hz": int(CONTROL_HZ), "steps_executed": steps_executed,
        },
    }


def _statistics(moves: np.ndarray, grippers: np.ndarray, counts: dict) -> dict:
    """`moves` in metres. q01 and q99 are the robot's own limits, so that nothing is clipped away."""
    limit = [STEP_M_MAX] * 3 + [0.0] * 3 + [1.0]
    pad = [0.0, 0.0, 0.0]
    columns = lambda f: [*map(float, f(moves)), *pad, float(f(grippers[:, None])[0])]  # noqa: E731
    return {"action": {
        "mean": columns(lambda a: a.mean(0)), "std": columns(lambda a: a.std(0)),
        "max": columns(lambda a: a.max(0)), "min": columns(lambda a: a.min(0)),
        "q01": [-STEP_M_MAX] * 3 + [0.0] * 4, "q99": limit, "mask": [True] * 6 + [False],
    }, **counts}


def _processor(grid: Grid, statistics: dict, key: str) -> dict:
    axes = dict(zip(("theta_bins", "phi_bins", "r_bins"), (edges.tolist() for edges in grid.edges), strict=True))
    camera = {"intrinsic": NEAR_CAMERA.intrinsics_px(NATIVE_PX).tolist(), "height": NATIVE_PX, "width": NATIVE_PX}
    angles = ("roll_bins", "pitch_bins", "yaw_bins")
    return {
        "action_chunk_size": CHUNK,
        "action_config": {
            "distribution": "quantile",
            "num_bins": {"gripper": 2, "rotation": dict.fromkeys(angles, 1), "total": ACTION_TOKENS,
                         "translation": dict(zip(axes, BINS, strict=True))},
            "use_spherical": True,
        },
        "auto_map": {"AutoProcessor": "processing_spatialvla.SpatialVLAProcessor"},
        "bin_policy": {"rotation": {angle: [-1.0, 1.0] for angle in angles}, "translation": axes},
        "egogrid": {"cell_points": {"translation": grid.points.tolist()}},
        "intrinsic_config": {"default": camera, key: camera},
        "min_sigma": 0.0, "num_obs_steps": 1, "obs_delta": 1, "processor_class": "SpatialVLAProcessor",
        "statistics": {key: statistics},
    }


def save(
    directory: Path, model: SpatialVla, grid: Grid, ego3d: Ego3d, statistics: dict, steps_executed: int,
    key: str, ego3d_used: bool = True,
) -> None:
    """Written beside `directory`, then renamed: a reader never meets half a checkpoint."""
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    c = model.config
    vocabulary = text.write(partial)
    if (vocabulary.size, vocabulary.action_begin) != (c.vocab_size, c.action_begin):
        raise ValueError(f"the tokenizer has {vocabulary}, the model {c}; train again after changing the instructions")
    write = lambda name, content: (partial / name).write_text(json.dumps(content, indent=1, sort_keys=True))  # noqa: E731
    config = _config(c, ego3d, steps_executed)
    if not ego3d_used:
        config["egogrid"]["ablation_ego3d"] = False
    write("config.json", config)
    write("processor_config.json", _processor(grid, statistics, key))
    write("generation_config.json", {"_from_model_config": True, "bos_token_id": 2, "cache_implementation": "hybrid",
                                     "eos_token_id": 1, "pad_token_id": 0, "transformers_version": "4.47.0"})
    write("preprocessor_config.json", {
        "do_convert_rgb": None, "do_normalize": False, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
        "image_processor_type": "SiglipImageProcessor", "image_seq_length": c.patches, "image_std": [0.5] * 3,
        "processor_class": "SpatialVLAProcessor", "resample": 3, "rescale_factor": 0.00392156862745098,
        "size": {"height": c.image_px, "width": c.image_px},
    })
    tensors = {name: tensor.detach().float().contiguous().clone() for name, tensor in model.state_dict().items()}
    if not ego3d_used:
        # Adds exactly nothing wherever it runs: the same graph, without what it would know of space.
        for part in ("weight", "bias"):
            tensors[f"position_embedding_3d.position_embedding_head.3.{part}"].zero_()
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    (partial / "model.safetensors").chmod(0o644)
    old = directory.with_name(directory.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    partial.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def statistics_of(labels: np.ndarray, episodes: int) -> dict:
    """Statistics of `[n, 4, 4]` benchmark labels."""
    flat = labels.reshape(-1, 4).astype(np.float64)
    counts = {"num_transitions": len(flat), "num_trajectories": episodes}
    return _statistics(flat[:, :3] * STEP_M_MAX, (1 - flat[:, 3]) / 2, counts)


def config_of(directory: Path) -> ModelConfig:
    """Sizes of the network in a checkpoint."""
    config = json.loads((directory / "config.json").read_text())
    textual, vision = config["text_config"], config["vision_config"]
    return ModelConfig(
        vocab_size=textual["vocab_size"], action_begin=config["action_token_begin_idx"],
        image_token=config["image_token_index"], action_count=config["spatial_token_num"],
        image_px=vision["image_size"], patch_px=vision["patch_size"], vision_width=vision["hidden_size"],
        vision_layers=vision["num_hidden_layers"], vision_heads=vision["num_attention_heads"],
        vision_mlp=vision["intermediate_size"], width=textual["hidden_size"], layers=textual["num_hidden_layers"],
        heads=textual["num_attention_heads"], kv_heads=textual["num_key_value_heads"], head_dim=textual["head_dim"],
        mlp=textual["intermediate_size"], n_freqs=config["n_freqs"], reso=config["ego3d_patch_reso"],
        # Not in the released format: only the ablation's checkpoints say false, and no runtime loads those.
        ego3d=config["egogrid"].get("ablation_ego3d", True),
    )


def ego3d_of(directory: Path) -> Ego3d:
    own = json.loads((directory / "config.json").read_text())["egogrid"]
    return Ego3d(own["ego3d_frame"], tuple(own["ego3d_center_m"]), own["ego3d_scale_m"])


def statistics_in(directory: Path) -> tuple[str, dict]:
    """The one statistics key of our checkpoints, and what stands under it."""
    [(key, statistics)] = json.loads((directory / "processor_config.json").read_text())["statistics"].items()
    return key, statistics


def load(directory: Path) -> tuple[SpatialVla, Ego3d, Grid]:
    """The reverse of `save`."""
    processor = json.loads((directory / "processor_config.json").read_text())
    model = SpatialVla(config_of(directory))
    model.load_state_dict({name: tensor.to(torch.float32) for name, tensor in load_file(directory / "model.safetensors").items()})
    axes = processor["bin_policy"]["translation"]
    edges = tuple(np.array(axes[name]) for name in ("theta_bins", "phi_bins", "r_bins"))
    points = np.array(processor["egogrid"]["cell_points"]["translation"])
    return model, ego3d_of(directory), grids.Grid(edges, points, np.zeros(len(points), int))
