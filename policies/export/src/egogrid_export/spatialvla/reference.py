"""The whole network in plain numpy, float32: what the written graphs are checked against.

From: `pixel_values`, `freq_encoding`, text ids. To: every stage, greedy token ids and the logits of each step. It reads the
checkpoint itself, one layer at a time, and shares no code with the graphs. Source: transformers' SigLIP and Gemma2 (eager attention,
with both soft-caps) and the official SpatialVLA model; checked against golden data of the official code in the tests.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.network import Generation, Network, attention, gelu_tanh, greedy, rotated, softcapped
from egogrid_export.spatialvla.config import ModelConfig
from egogrid_export.spatialvla.tensor_names import EMBEDDINGS, HEAD, POSITION_HEAD, PROJECTOR, SPATIAL, TEXT, TOWER

POSITION_NORM_EPS = 1e-5


class Reference(Network):
    """One checkpoint's network."""

    def __init__(self, checkpoint: Checkpoint, config: ModelConfig) -> None:
        super().__init__(checkpoint)
        self._config = config

    # ---- vision

    def siglip(self, pixel_values: np.ndarray) -> np.ndarray:
        """`[1, 3, H, W]` in 0..=1 to the tokens after post_layernorm, `[1, P, V]`."""
        vision = self._config.vision
        size, grid = vision.patch_size_px, vision.grid
        pixels = (pixel_values - np.float32(0.5)) / np.float32(0.5)
        patches = pixels.reshape(3, grid, size, grid, size).transpose(1, 3, 0, 2, 4).reshape(vision.patches, -1)
        kernel = self.weight(f"{TOWER}.embeddings.patch_embedding.weight").reshape(vision.width, -1)
        x = patches @ kernel.T + self.weight(f"{TOWER}.embeddings.patch_embedding.bias")
        x = x + self.weight(f"{TOWER}.embeddings.position_embedding.weight")
        for layer in range(vision.layers):
            at = f"{TOWER}.encoder.layers.{layer}"
            x = x + self._vision_attention(self.layer_norm(x, f"{at}.layer_norm1", vision.norm_eps), f"{at}.self_attn")
            hidden = self.linear(self.layer_norm(x, f"{at}.layer_norm2", vision.norm_eps), f"{at}.mlp.fc1")
            x = x + self.linear(gelu_tanh(hidden), f"{at}.mlp.fc2")
        return self.layer_norm(x, f"{TOWER}.post_layernorm", vision.norm_eps)[None]

    def position_embedding(self, freq_encoding: np.ndarray) -> np.ndarray:
        """`[1, P, F]` to `[1, P, V]`."""
        hidden = self.linear(freq_encoding, f"{POSITION_HEAD}.0")
        hidden = np.maximum(self.layer_norm(hidden, f"{POSITION_HEAD}.1", POSITION_NORM_EPS), 0)
        return self.linear(hidden, f"{POSITION_HEAD}.3")

    def image_features(self, siglip: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Sum of both `[1, P, V]`, projected and divided by sqrt(D): `[1, P, D]`."""
        return self.linear(siglip + position, PROJECTOR) / np.float32(self._config.text.width**0.5)

    def _vision_attention(self, x: np.ndarray, at: str) -> np.ndarray:
        heads = self._config.vision.heads
        q, k, v = (self.linear(x, f"{at}.{name}_proj").reshape(len(x), heads, -1).swapaxes(0, 1) for name in "qkv")
        return self.linear(attention(q, k, v, q.shape[-1] ** -0.5), f"{at}.out_proj")

    # ---- language

    def generate(self, image_features: np.ndarray, text_ids: np.ndarray, count: int) -> Generation:
        """Greedy decoding of up to `count` tokens after the prompt; eos ends it and is included."""
        past: list[tuple[np.ndarray, np.ndarray]] = []
        x = np.concatenate([image_features[0], self.embed(text_ids)])
        logits = self._forward(x, 1, past)

        def step(token_id: int) -> np.ndarray:
            return self._forward(self.embed(np.array([token_id])), 1 + past[0][0].shape[1], past)

        return greedy(logits, step, self._config.eos_id, count)

    def embed(self, ids: np.ndarray) -> np.ndarray:
        """Table rows `[n, D]`; action tokens have their own table, which also overwrites the last rows of the other on load."""
        config = self._config
        rows = self._checkpoint.rows(EMBEDDINGS, ids)
        if config.use_spatial_tokens:
            for first in (config.text.vocabulary - config.spatial_tokens, config.action_begin_id):
                inside = (ids >= first) & (ids < first + config.spatial_tokens)
                if inside.any():
                    rows[inside] = self._checkpoint.rows(SPATIAL, ids[inside] - first)
        return rows

    def _forward(self, embeddings: np.ndarray, position: int, past: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Logits `[vocabulary]` after the last of `embeddings` `[n, D]`; every token sees all of `past` and of this call."""
        text = self._config.text
        x = embeddings * np.float32(text.width**0.5)
        for layer in range(text.layers):
            at = f"{TEXT}.layers.{layer}"
            attended = self._text_attention(self._norm(x, f"{at}.input_layernorm.weight"), at, layer, position, past)
            x = x + self._norm(attended, f"{at}.post_attention_layernorm.weight")
            hidden = self._norm(x, f"{at}.pre_feedforward_layernorm.weight")
            gate = gelu_tanh(self.product(hidden, f"{at}.mlp.gate_proj.weight"))
            hidden = (gate * (self.product(hidden, f"{at}.mlp.up_proj.weight"))) @ self.weight(f"{at}.mlp.down_proj.weight").T
            x = x + self._norm(hidden, f"{at}.post_feedforward_layernorm.weight")
        return self._head(self._norm(x[-1], f"{TEXT}.norm.weight"))

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.rms_norm(x, name, self._config.text.norm_eps, offset=1.0)

    def _text_attention(self, x: np.ndarray, at: str, layer: int, position: int, past: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        text = self._config.text
        q, k, v = (
            (self.product(x, f"{at}.self_attn.{name}_proj.weight")).reshape(len(x), -1, text.head_dim).swapaxes(0, 1) for name in "qkv"
        )
        q, k = (rotated(heads, position, text.rope_theta) for heads in (q, k))
        if layer < len(past):
            k, v = (np.concatenate([old, new], axis=1) for old, new in zip(past[layer], (k, v), strict=True))
            past[layer] = (k, v)
        else:
            past.append((k, v))
        mixed = attention(q, k, v, text.attention_scale, text.attention_softcap)
        return self.product(mixed, f"{at}.self_attn.o_proj.weight")

    def _head(self, x: np.ndarray) -> np.ndarray:
        text = self._config.text
        if text.tied_head:
            ids = np.arange(text.vocabulary)
            logits = np.concatenate([self.embed(part) @ x for part in np.array_split(ids, -(-len(ids) // 4096))])
        else:
            logits = self.product_by_rows(x, HEAD)
        return softcapped(logits, text.final_softcap)
