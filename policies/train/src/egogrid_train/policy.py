"""A checkpoint directory as a policy in Python, for validation and DAgger.

From: `vision_input` of several environments at once. To: 12 tokens each, decoded to `[4, 4]` physical actions.
Free argmax over the whole vocabulary, no sampling; a token of the wrong kind is an error, as in the Rust runtime.
"""

from pathlib import Path

import numpy as np
import torch
from egogrid_metaworld import NEAR_CAMERA, instruction
from egogrid_metaworld.env import STEP_M_MAX
from egogrid_train import checkpoint
from egogrid_train.episodes import CHUNK, NATIVE_PX
from egogrid_train.grid import CELLS, ROTATION_CELLS
from egogrid_train.text import prompt_ids
from egogrid_train.vision_input import View, points_m

RESCALE = 0.00392156862745098
SLOTS = ((0, CELLS), (CELLS, CELLS + ROTATION_CELLS), (CELLS + ROTATION_CELLS, CELLS + ROTATION_CELLS + 2))


class WrongToken(RuntimeError):
    """The model left its slots; nothing may be guessed from it."""


class TorchPolicy:
    """Greedy decoding with a cache."""

    def __init__(self, directory: Path) -> None:
        self.model, self.ego3d, self.grid = checkpoint.load(directory)
        self.model.eval()
        config = self.model.config
        self.view = View(config.image_px, config.patch_px, config.reso)
        self._prompts: dict[str, list[int]] = {}

    def normalized_points(self, depth_m: np.ndarray) -> torch.Tensor:
        frame = NEAR_CAMERA.base_from_camera() if self.ego3d.frame == "base" else np.eye(4)
        k, native_px = NEAR_CAMERA.intrinsics_px(NATIVE_PX), (NATIVE_PX, NATIVE_PX)
        points = points_m(depth_m, k, native_px, self.view.size_px, frame, self.view.reso)
        return torch.from_numpy(self.ego3d.normalized(points))

    @torch.inference_mode()
    def tokens(self, tasks: list[str], rgb: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
        """`[batch]` tasks, u8 `[batch, h, w, 3]`, f32 `[batch, cells, cells]` to vocabulary ids `[batch, 12]`."""
        model, config = self.model, self.model.config
        table = model.language_model["model"]["embed_tokens"].weight
        for task in tasks:
            if task not in self._prompts:
                self._prompts[task] = prompt_ids(instruction(task), 0)
        texts = [self._prompts[task] for task in tasks]
        longest = max(len(text) for text in texts)
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
        lengths = torch.tensor([config.patches + len(text) for text in texts])
        pixels = torch.from_numpy((rgb.transpose(0, 3, 1, 2) * RESCALE).astype(np.float32))
        images = model.image_features((pixels - 0.5) / 0.5, self.normalized_points(depth_m))
        x = torch.cat([images, table[ids]], 1)
        prompt = x.shape[1]
        unseen = torch.where(torch.arange(prompt)[None] < lengths[:, None], 0.0, -1e9)[:, None, None]
        caches: list[list] = [[] for _ in range(config.layers)]
        states = model.decode_states(x, torch.arange(prompt)[None].expand(len(tasks), -1), unseen, caches)
        last = states[torch.arange(len(tasks)), lengths - 1]
        out = []
        for step in range(3 * CHUNK):
            out.append(model.language_model["lm_head"](last).argmax(-1))
            if step + 1 < 3 * CHUNK:
                action = (out[-1] - config.action_begin).clamp(min=0)  # rows of wrong tokens are refused afterwards
                embeds = model.spatial_embed_tokens.weight[action][:, None]
                mask = torch.cat([unseen, torch.zeros(len(tasks), 1, 1, step + 1)], -1)
                last = model.decode_states(embeds, (lengths + step)[:, None], mask, caches)[:, 0]
        return torch.stack(out, 1).numpy()

    def actions(self, tokens: np.ndarray) -> np.ndarray:
        """Ids `[batch, 12]` to f64 `[batch, 4, 4]`: metres and gripper opening."""
        action = (tokens - self.model.config.action_begin).reshape(len(tokens), CHUNK, 3)
        for slot, (first, end) in enumerate(SLOTS):
            if not ((action[..., slot] >= first) & (action[..., slot] < end)).all():
                raise WrongToken(f"slot {slot} holds actions {action[..., slot].tolist()}, expected {first}..{end - 1}")
        move_m = self.grid.points[action[..., 0]] * STEP_M_MAX
        return np.concatenate([move_m, (action[..., 2:] - SLOTS[2][0]).astype(float)], axis=-1)
