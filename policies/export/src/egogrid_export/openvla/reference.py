"""The whole network in plain numpy, float32: what the written graphs are checked against.

From: `pixel_values`, text ids. To: every stage, greedy token ids and the logits of each step. It reads the checkpoint itself, one layer
at a time, and shares no code with the graphs. Source: timm's VisionTransformer, transformers' Llama and the official OpenVLA model;
checked stage by stage against golden data of the official code in the tests.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.network import Generation, Network, attention, gelu_erf, greedy, rotated, silu
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.tensor_names import EMBEDDINGS, HEAD, PROJECTOR, TEXT
from egogrid_export.openvla.towers import TowerConfig

Past = list[tuple[np.ndarray, np.ndarray]]


class Reference(Network):
    """One checkpoint's network."""

    def __init__(self, checkpoint: Checkpoint, config: ModelConfig) -> None:
        super().__init__(checkpoint)
        self._config = config

    # ---- vision

    def patch_features(self, pixel_values: np.ndarray) -> np.ndarray:
        """`[1, 3 * towers, H, W]` to the patches of all towers, joined: `[1, P, V]`."""
        towers = self._config.towers
        pictures = np.split(pixel_values[0], len(towers))
        return np.concatenate([self.tower(tower, picture) for tower, picture in zip(towers, pictures, strict=True)], axis=-1)[None]

    def tower(self, tower: TowerConfig, picture: np.ndarray) -> np.ndarray:
        """`[3, H, W]` to the patch tokens after the last block that counts, `[P, width]`; no final norm."""
        x = self.tower_embeddings(tower, picture)
        for layer in range(tower.blocks):
            x = self.tower_block(tower, layer, x)
        return x[tower.prefix_tokens :]

    def tower_embeddings(self, tower: TowerConfig, picture: np.ndarray) -> np.ndarray:
        """What the first block gets: class token, registers, patches; positions added to the patches or to all of them."""
        at, size, grid = tower.prefix, tower.patch_size_px, tower.grid
        cut = picture[:, : grid * size, : grid * size].reshape(3, grid, size, grid, size)
        patches = cut.transpose(1, 3, 0, 2, 4).reshape(tower.patches, -1)
        kernel = self.weight(f"{at}.patch_embed.proj.weight").reshape(tower.width, -1)
        x = patches @ kernel.T + self.weight(f"{at}.patch_embed.proj.bias")
        positions = self.weight(f"{at}.pos_embed")[0]
        tokens = [f"{at}.cls_token"] * tower.class_token + [f"{at}.reg_token"] * bool(tower.registers)
        first = [self.weight(name)[0] for name in tokens]
        if tower.positions_cover_prefix:
            return np.concatenate([*first, x]) + positions
        return np.concatenate([*first, x + positions])

    def tower_block(self, tower: TowerConfig, layer: int, x: np.ndarray) -> np.ndarray:
        at = f"{tower.prefix}.blocks.{layer}"
        qkv = self.linear(self.layer_norm(x, f"{at}.norm1", tower.norm_eps), f"{at}.attn.qkv")
        q, k, v = qkv.reshape(len(x), 3, tower.heads, -1).transpose(1, 2, 0, 3)
        mixed = attention(q, k, v, q.shape[-1] ** -0.5)
        x = x + self._layer_scaled(tower, self.linear(mixed, f"{at}.attn.proj"), f"{at}.ls1")
        hidden = gelu_erf(self.linear(self.layer_norm(x, f"{at}.norm2", tower.norm_eps), f"{at}.mlp.fc1"))
        return x + self._layer_scaled(tower, self.linear(hidden, f"{at}.mlp.fc2"), f"{at}.ls2")

    def _layer_scaled(self, tower: TowerConfig, x: np.ndarray, at: str) -> np.ndarray:
        return x * self.weight(f"{at}.scale_factor") if tower.layer_scale else x

    def image_features(self, patch_features: np.ndarray) -> np.ndarray:
        """`[1, P, V]` through the projector: `[1, P, D]`."""
        x = patch_features
        for index, (name, _, _) in enumerate(self._config.projector):
            x = self.linear(gelu_erf(x) if index else x, f"{PROJECTOR}.{name}")
        return x

    # ---- language

    def generate(self, image_features: np.ndarray, text_ids: np.ndarray, count: int) -> Generation:
        """Greedy decoding of up to `count` tokens after the prompt; eos ends it and is included."""
        past: Past = []
        logits = self.forward(self.sequence(image_features, text_ids), 0, past)

        def step(token_id: int) -> np.ndarray:
            return self.forward(self.embed(np.array([token_id])), past[0][0].shape[1], past)

        return greedy(logits, step, self._config.eos_id, count)

    def sequence(self, image_features: np.ndarray, text_ids: np.ndarray) -> np.ndarray:
        """`<bos>`, all patches, the rest of the prompt: `[n, D]`."""
        words = self.embed(text_ids)
        return np.concatenate([words[:1], image_features[0], words[1:]])

    def embed(self, ids: np.ndarray) -> np.ndarray:
        return self._checkpoint.rows(EMBEDDINGS, ids)

    def forward(self, embeddings: np.ndarray, position: int, past: Past) -> np.ndarray:
        """Logits `[vocabulary]` after the last of `embeddings` `[n, D]`, which follow the tokens in `past`; causal."""
        text, x = self._config.text, embeddings
        for layer in range(text.layers):
            x = self.text_layer(layer, x, position, past)
        normed = self.rms_norm(x[-1], f"{TEXT}.norm.weight", text.norm_eps)
        return self.product_by_rows(normed, EMBEDDINGS if text.tied_head else HEAD)

    def text_layer(self, layer: int, x: np.ndarray, position: int, past: Past) -> np.ndarray:
        at, eps = f"{TEXT}.layers.{layer}", self._config.text.norm_eps
        x = x + self._text_attention(self.rms_norm(x, f"{at}.input_layernorm.weight", eps), at, layer, position, past)
        hidden = self.rms_norm(x, f"{at}.post_attention_layernorm.weight", eps)
        gate = silu(self.product(hidden, f"{at}.mlp.gate_proj.weight"))
        return x + self.product(gate * self.product(hidden, f"{at}.mlp.up_proj.weight"), f"{at}.mlp.down_proj.weight")

    def _text_attention(self, x: np.ndarray, at: str, layer: int, position: int, past: Past) -> np.ndarray:
        text = self._config.text
        q, k, v = (self.product(x, f"{at}.self_attn.{name}_proj.weight") for name in "qkv")
        q, k, v = (heads.reshape(len(x), -1, text.head_dim).swapaxes(0, 1) for heads in (q, k, v))
        q, k = (rotated(heads, position, text.rope_theta) for heads in (q, k))
        if layer < len(past):
            k, v = (np.concatenate([old, new], axis=1) for old, new in zip(past[layer], (k, v), strict=True))
            past[layer] = (k, v)
        else:
            past.append((k, v))
        mixed = attention(q, k, v, text.attention_scale, causal=True)
        return self.product(mixed, f"{at}.self_attn.o_proj.weight")
