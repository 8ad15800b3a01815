"""SpatialVLA in PyTorch, small: SigLIP tower, Ego3D, projector, Gemma2, spatial tokens. Parameter names are the file's.

From: u8 pixels, points and token ids. To: logits of the 13 positions that follow the prompt.
Source: SpatialVLA (arXiv:2501.15830) as released: learned positions, post-norm of the tower before Ego3D is added,
bidirectional prompt, causal suffix, sandwich norms, soft caps 50 and 30, tanh GELU, untied head.
Depth comes as points (a sensor's), so there is no ZoeDepth.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

ATTENTION_CAP, LOGIT_CAP, ROPE_THETA = 50.0, 30.0, 10_000.0


@dataclass(frozen=True)
class ModelConfig:
    """Sizes; everything else is fixed by the format."""

    vocab_size: int
    action_begin: int
    image_token: int
    action_count: int
    image_px: int = 112
    patch_px: int = 14
    vision_width: int = 96
    vision_layers: int = 1
    vision_heads: int = 3
    vision_mlp: int = 256
    width: int = 96
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    mlp: int = 256
    reso: int = 2
    n_freqs: int = 6
    ego3d: bool = True

    @property
    def patches(self) -> int:
        return (self.image_px // self.patch_px) ** 2

    @property
    def ego3d_inputs(self) -> int:
        return 3 * self.reso**2 * (1 + 2 * self.n_freqs)


def frequency_encoding(points: torch.Tensor, n_freqs: int) -> torch.Tensor:
    """`[..., k]` to `[..., k * (1 + 2 n)]`: per number itself, all sines, then all cosines."""
    angles = points[..., None] * 2.0 ** torch.arange(n_freqs, dtype=points.dtype, device=points.device)
    return torch.cat([points[..., None], angles.sin(), angles.cos()], dim=-1).flatten(-2)


class VisionAttention(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.heads = c.vision_heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(c.vision_width, c.vision_width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).softmax(-1)  # faster here than torch's fused kernel
        return self.out_proj((weights.type_as(v) @ v).transpose(1, 2).flatten(-2))


class VisionMlp(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c.vision_width, c.vision_mlp), nn.Linear(c.vision_mlp, c.vision_width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class VisionLayer(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(c.vision_width, eps=1e-6) for _ in range(2))
        self.self_attn, self.mlp = VisionAttention(c), VisionMlp(c)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class VisionModel(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({
            "patch_embedding": nn.Conv2d(3, c.vision_width, c.patch_px, stride=c.patch_px),
            "position_embedding": nn.Embedding(c.patches, c.vision_width),
        })
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(VisionLayer(c) for _ in range(c.vision_layers))})
        self.post_layernorm = nn.LayerNorm(c.vision_width, eps=1e-6)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.embeddings["patch_embedding"](pixels).flatten(2).transpose(1, 2)
        x = x + self.embeddings["position_embedding"].weight
        for layer in self.encoder["layers"]:
            x = layer(x)
        return self.post_layernorm(x)


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.float()
        scale = torch.rsqrt((y * y).mean(-1, keepdim=True) + 1e-6)
        return x * scale.type_as(x) * (1.0 + self.weight).type_as(x)  # under autocast half the time of all-f32


def rotary(positions: torch.Tensor, head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`[batch, length]` to cos and sin `[batch, 1, length, head_dim]`."""
    rates = ROPE_THETA ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = positions[:, None, :, None].float() * rates
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    low, high = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-high, low], dim=-1) * sin).type_as(x)


def rows(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """`[batch, length, n]` to its rows `keep` `[batch, kept]`."""
    return x.gather(1, keep[..., None].expand(-1, -1, x.shape[-1]))


class TextAttention(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.heads, c.kv_heads, c.head_dim
        self.q_proj = nn.Linear(c.width, c.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.width, c.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.width, c.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.heads * c.head_dim, c.width, bias=False)

    def forward(self, x, rope, mask, cache=None, keep=None):
        split = lambda y: y.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # noqa: E731
        k, v = rotate(split(self.k_proj(x)), *rope), split(self.v_proj(x))
        if keep is None:
            q = rotate(split(self.q_proj(x)), *rope)
        else:
            q = rotate(split(self.q_proj(rows(x, keep))), *(rows(part[:, 0], keep)[:, None] for part in rope))
            mask = rows(mask[:, 0], keep)[:, None]
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            cache[:] = [k, v]
        group = self.heads // self.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scores = torch.tanh((q * (self.head_dim**-0.5 / ATTENTION_CAP)) @ k.transpose(-1, -2))
        weights = torch.add(mask.type_as(scores), scores, alpha=ATTENTION_CAP).softmax(-1)
        return self.o_proj((weights.type_as(v) @ v).transpose(1, 2).flatten(-2))


class TextMlp(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(c.width, c.mlp, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(c.mlp, c.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))


class TextLayer(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            setattr(self, f"{name}_layernorm", RmsNorm(c.width))
        self.self_attn, self.mlp = TextAttention(c), TextMlp(c)

    def forward(self, x, rope, mask, cache=None, keep=None):
        y = self.self_attn(self.input_layernorm(x), rope, mask, cache, keep)
        x = (x if keep is None else rows(x, keep)) + self.post_attention_layernorm(y)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class SpatialVla(nn.Module):
    """The whole network with the released parameter names."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.config = c
        self.vision_tower = nn.ModuleDict({"vision_model": VisionModel(c)})
        self.position_embedding_3d = nn.ModuleDict({"position_embedding_head": nn.Sequential(
            nn.Linear(c.ego3d_inputs, c.vision_width), nn.LayerNorm(c.vision_width), nn.ReLU(),
            nn.Linear(c.vision_width, c.vision_width),
        )})
        self.multi_modal_projector = nn.ModuleDict({"linear": nn.Linear(c.vision_width, c.width)})
        self.language_model = nn.ModuleDict({
            "model": nn.ModuleDict({
                "embed_tokens": nn.Embedding(c.vocab_size, c.width),
                "layers": nn.ModuleList(TextLayer(c) for _ in range(c.layers)),
                "norm": RmsNorm(c.width),
            }),
            "lm_head": nn.Linear(c.width, c.vocab_size, bias=False),
        })
        self.spatial_embed_tokens = nn.Embedding(c.action_count, c.width)
        nn.init.normal_(self.language_model["model"]["embed_tokens"].weight, std=c.width**-0.5)
        nn.init.normal_(self.language_model["lm_head"].weight, std=0.02)
        nn.init.normal_(self.vision_tower["vision_model"].embeddings["position_embedding"].weight, std=0.02)

    def image_features(self, pixels: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Pixels in [-1, 1] `[batch, 3, h, w]`, normalized points `[batch, patches, 3 reso^2]` to `[batch, patches, width]`.

        Already divided by sqrt(width), as in the file's convention.
        """
        x = self.vision_tower["vision_model"](pixels)
        if self.config.ego3d:
            encoded = frequency_encoding(points.float(), self.config.n_freqs)
            x = x + self.position_embedding_3d["position_embedding_head"](encoded)
        return self.multi_modal_projector["linear"](x) / math.sqrt(self.config.width)

    def decode_states(self, embeds: torch.Tensor, positions: torch.Tensor, mask, caches=None, keep=None) -> torch.Tensor:
        """Unscaled embeddings to normalized hidden states; of the rows `keep` only, where given (the last layer then
        computes no others: half of a training step)."""
        x = embeds * math.sqrt(self.config.width)
        rope = rotary(positions, self.config.head_dim)
        layers = self.language_model["model"]["layers"]
        for index, layer in enumerate(layers):
            last = index + 1 == len(layers)
            x = layer(x, rope, mask, None if caches is None else caches[index], keep if last else None)
        return self.language_model["model"]["norm"](x)


def prefix_mask(prompt_valid: torch.Tensor, suffix: int) -> torch.Tensor:
    """Additive `[batch, 1, L + suffix, L + suffix]`: the prompt sees itself, the suffix is causal, padding is unseen."""
    batch, prompt = prompt_valid.shape
    length = prompt + suffix
    see = torch.zeros(batch, length, length, dtype=torch.bool)
    see[:, :, :prompt] = prompt_valid[:, None, :]
    see[:, prompt:, prompt:] = torch.tril(torch.ones(suffix, suffix, dtype=torch.bool))
    see |= torch.eye(length, dtype=torch.bool)
    return torch.where(see, 0.0, -1e9)[:, None]


def capped(logits: torch.Tensor) -> torch.Tensor:
    return LOGIT_CAP * torch.tanh(logits / LOGIT_CAP)
