"""The depth estimator in plain numpy, float32: what the graph `depth.onnx` is checked against.

From: `pixel_values [1, 3, H, W]` in 0..=1. To: `estimated_depth_m [1, H, W]`, metres along the optical axis, and the stages before it.
Source: the official `process_zoe` and `get_image_features`, transformers' ZoeDepth and BEiT; checked against golden data of the official
code in the tests. Maps are `[channels, height, width]`.
"""

from __future__ import annotations

import math

import numpy as np

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.network import Network, gelu_erf, softmax
from egogrid_export.spatialvla import resampling
from egogrid_export.spatialvla.tensor_names import ZOE, ZOE_BACKBONE, ZOE_FUSION, ZOE_METRIC, ZOE_REASSEMBLE
from egogrid_export.spatialvla.zoe_config import (
    ATTRACTOR_ALPHA,
    BINOMIAL_EPS,
    INPUT_PX,
    NORM_EPS,
    PAD_PX,
    PROBABILITY_EPS,
    ROUTER_LAYERS_RUN,
    ROUTER_WIDTH,
    HeadConfig,
    ZoeConfig,
)

Stages = dict[str, np.ndarray]


class ZoeReference(Network):
    """One checkpoint's estimator."""

    def __init__(self, checkpoint: Checkpoint, config: ZoeConfig) -> None:
        super().__init__(checkpoint)
        self._config = config

    def stages(self, pixel_values: np.ndarray) -> Stages:
        """Every stage that the graph puts out too, and `zoe_backbone_{n}` after tap n (from 1)."""
        pixels = self.input_pixels(pixel_values)
        found: Stages = {"zoe_pixel_values": pixels}
        tokens = self.backbone(pixels)
        found |= {f"zoe_backbone_{number}": tap[None] for number, tap in enumerate(tokens, start=1)}
        fused, bottleneck = self.neck(tokens)
        depth = self.metric_depth(self.relative_features(fused[-1]), bottleneck, fused, found)
        found["zoe_predicted_depth"] = depth[None]
        found["estimated_depth_m"] = self.output_depth(depth, pixel_values.shape[-1])[None]
        # Files hold memory as it lies, and a transposed view lies transposed.
        return {name: np.ascontiguousarray(values) for name, values in found.items()}

    def input_pixels(self, pixel_values: np.ndarray) -> np.ndarray:
        """Padded by reflection, resized, normalized: `[1, 3, 384, 384]`. Values may leave -1..=1."""
        side = pixel_values.shape[-1]
        rows = resampling.bicubic(side + 2 * PAD_PX, INPUT_PX) @ resampling.reflect_padding(side, PAD_PX)
        return (_resized(pixel_values[0], rows) - np.float32(0.5))[None] / np.float32(0.5)

    def output_depth(self, depth: np.ndarray, side: int) -> np.ndarray:
        """Resized to the padded picture, the padding cut off: `[side, side]`."""
        return _resized(depth, resampling.bicubic(len(depth), side + 2 * PAD_PX)[PAD_PX:-PAD_PX])

    # ---- backbone

    def backbone(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Tokens `[1 + patches, width]` at every tap, CLS first."""
        backbone = self._config.backbone
        size, grid = backbone.patch_size_px, backbone.grid
        patches = pixels[0, :, : grid * size, : grid * size].reshape(3, grid, size, grid, size).transpose(1, 3, 0, 2, 4)
        at = f"{ZOE_BACKBONE}.embeddings"
        kernel = self.weight(f"{at}.patch_embeddings.projection.weight").reshape(backbone.width, -1)
        rows = patches.reshape(grid * grid, -1) @ kernel.T + self.weight(f"{at}.patch_embeddings.projection.bias")
        x = np.concatenate([self.weight(f"{at}.cls_token")[0], rows])
        taps = [x] if 0 in backbone.taps else []
        for layer in range(max(backbone.taps)):
            x = self._layer(x, f"{ZOE_BACKBONE}.encoder.layer.{layer}")
            if layer + 1 in backbone.taps:
                taps.append(x)
        return taps

    def _layer(self, x: np.ndarray, at: str) -> np.ndarray:
        backbone = self._config.backbone
        attended = self._self_attention(self.layer_norm(x, f"{at}.layernorm_before", backbone.norm_eps), at)
        x = x + self._scaled(self.linear(attended, f"{at}.attention.output.dense"), f"{at}.lambda_1")
        hidden = gelu_erf(self.linear(self.layer_norm(x, f"{at}.layernorm_after", backbone.norm_eps), f"{at}.intermediate.dense"))
        return x + self._scaled(self.linear(hidden, f"{at}.output.dense"), f"{at}.lambda_2")

    def _scaled(self, x: np.ndarray, name: str) -> np.ndarray:
        return x * self.weight(name) if self._config.backbone.layer_scale else x

    def _self_attention(self, x: np.ndarray, at: str) -> np.ndarray:
        backbone, at = self._config.backbone, f"{at}.attention.attention"
        merged = self.linear(x, f"{at}.query"), self.product(x, f"{at}.key.weight"), self.linear(x, f"{at}.value")
        q, k, v = (part.reshape(len(x), backbone.heads, -1).swapaxes(0, 1) for part in merged)
        scores = q @ k.swapaxes(1, 2) / np.float32(math.sqrt(q.shape[-1]))
        for used, owner in ((backbone.layer_bias, at), (backbone.shared_bias, f"{ZOE_BACKBONE}.encoder")):
            if used:
                scores = scores + self._position_bias(f"{owner}.relative_position_bias.relative_position_bias_table")
        return (softmax(scores) @ v).swapaxes(0, 1).reshape(len(x), -1)

    def _position_bias(self, name: str) -> np.ndarray:
        """`[heads, tokens, tokens]`; the table is for another window where the backbone was trained on another size."""
        backbone = self._config.backbone
        table, window, grid = self.weight(name), 2 * backbone.table_window - 1, backbone.grid
        between = table[:-3].reshape(window, window, -1).transpose(2, 0, 1)
        between = _resized(between, resampling.bilinear(window, 2 * grid - 1, align_corners=False))
        place = np.arange(grid * grid)
        rows, columns = place // grid, place % grid
        by_patch = between[:, rows[:, None] - rows + grid - 1, columns[:, None] - columns + grid - 1]
        bias = np.empty((by_patch.shape[0], grid * grid + 1, grid * grid + 1), dtype=np.float32)
        bias[:, 1:, 1:] = by_patch
        bias[:, 0, :], bias[:, :, 0], bias[:, 0, 0] = table[-3][:, None], table[-2][:, None], table[-1]
        return bias

    # ---- neck and relative head

    def neck(self, taps: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Fused maps, coarsest first, and the bottleneck, which is the coarsest map before it is fused."""
        features = [self.conv(self._reassembled(stage, tap), f"{ZOE}.neck.convs.{stage}", bias=False) for stage, tap in enumerate(taps)]
        fused: list[np.ndarray] = []
        for layer, feature in enumerate(reversed(features)):
            at = f"{ZOE_FUSION}.layers.{layer}"
            hidden = feature
            if fused:
                hidden = fused[-1]
                if feature.shape != hidden.shape:
                    feature = _resized(feature, resampling.bilinear(feature.shape[-1], hidden.shape[-1], align_corners=False))
                hidden = hidden + self._residual(feature, f"{at}.residual_layer1")
            hidden = _upsampled(self._residual(hidden, f"{at}.residual_layer2"), 2 * hidden.shape[-1])
            fused.append(self.pointwise(hidden, f"{at}.projection"))
        return fused, features[-1]

    def _reassembled(self, stage: int, tokens: np.ndarray) -> np.ndarray:
        grid, factor = self._config.backbone.grid, self._config.factors[stage]
        readout = np.concatenate([tokens[1:], np.broadcast_to(tokens[:1], tokens[1:].shape)], axis=1)
        hidden = gelu_erf(self.linear(readout, f"{ZOE_REASSEMBLE}.readout_projects.{stage}.0"))
        at = f"{ZOE_REASSEMBLE}.layers.{stage}"
        hidden = self.pointwise(hidden.T.reshape(-1, grid, grid), f"{at}.projection")
        if factor > 1:
            return self._transposed_conv(hidden, f"{at}.resize")
        return hidden if factor == 1 else self.conv(hidden, f"{at}.resize", stride=int(1 / factor))

    def _transposed_conv(self, x: np.ndarray, at: str) -> np.ndarray:
        """Kernel and stride of one size: every pixel becomes a square."""
        kernel = self.weight(f"{at}.weight")  # [inputs, outputs, size, size]
        squares = np.einsum("ihw,ioab->ohawb", x, kernel, optimize=True)
        size, side = kernel.shape[-1], x.shape[-1]
        return squares.reshape(kernel.shape[1], side * size, side * size) + self.weight(f"{at}.bias")[:, None, None]

    def _residual(self, x: np.ndarray, at: str) -> np.ndarray:
        bias = self._config.fusion_bias
        hidden = self.conv(np.maximum(x, 0), f"{at}.convolution1", bias=bias)
        return self.conv(np.maximum(hidden, 0), f"{at}.convolution2", bias=bias) + x

    def relative_features(self, fused: np.ndarray) -> np.ndarray:
        """`[relative_width, side, side]` at the size of the predicted depth."""
        hidden = _upsampled(self.conv(fused, f"{ZOE}.relative_head.conv1"), 2 * fused.shape[-1])
        return np.maximum(self.conv(hidden, f"{ZOE}.relative_head.conv2"), 0)

    # ---- metric head

    def metric_depth(self, relative: np.ndarray, bottleneck: np.ndarray, fused: list[np.ndarray], found: Stages) -> np.ndarray:
        """`[side, side]` metres. The picture itself chooses between the heads; `zoe_domain_logits` says how."""
        x = self.pointwise(bottleneck, f"{ZOE_METRIC}.conv2")
        head = self._config.heads[0]
        if self._config.router:
            found["zoe_domain_logits"] = self.domain_logits(x)
            head = self.chosen_head(found["zoe_domain_logits"])
        else:
            # A single head also looks at the relative depth.
            relative = np.concatenate([relative, np.maximum(self.pointwise(relative, f"{ZOE}.relative_head.conv3"), 0)])
        centers = softplus(self._mlp(x, self._part("seed_bin_regressor", head)))
        embedding = self._mlp(x, f"{ZOE_METRIC}.seed_projector")
        for level, feature in zip(range(self._config.levels), fused, strict=False):
            projected = self._mlp(feature, f"{ZOE_METRIC}.projectors.{level}")
            centers = self.attracted(projected, centers, embedding, f"{self._part('attractors', head)}.{level}")
            embedding = projected
        side = relative.shape[-1]
        share = self.bin_shares(np.concatenate([relative, _upsampled(embedding, side)]), head)
        return (share * _upsampled(centers, side)).sum(axis=0)

    def chosen_head(self, logits: np.ndarray) -> HeadConfig:
        return self._config.heads[int(np.argmax(logits[0]))]

    def domain_logits(self, x: np.ndarray) -> np.ndarray:
        """`[1, 2]`, one per head."""
        router, at = self._config.router, f"{ZOE_METRIC}.patch_transformer"
        tokens = self.pointwise(x, f"{at}.embedding_convPxP").reshape(ROUTER_WIDTH, -1).T
        tokens = self.with_summary_token(tokens)
        tokens = tokens + router_positions(len(tokens))
        for layer in range(ROUTER_LAYERS_RUN):
            tokens = self._router_layer(tokens, f"{at}.transformer_encoder.{layer}", router.heads)
        hidden = np.maximum(self.linear(tokens[:1], f"{ZOE_METRIC}.mlp_classifier.linear1"), 0)
        return self.linear(hidden, f"{ZOE_METRIC}.mlp_classifier.linear2")

    def with_summary_token(self, tokens: np.ndarray) -> np.ndarray:
        """A vector of zeros in front: what becomes of it is what the classifier sees."""
        return np.concatenate([np.zeros((1, ROUTER_WIDTH), dtype=np.float32), tokens])

    def _router_layer(self, x: np.ndarray, at: str, heads: int) -> np.ndarray:
        q, k, v = (self.linear(x, f"{at}.self_attn.{n}").reshape(len(x), heads, -1).swapaxes(0, 1) for n in ("query", "key", "value"))
        scores = q @ k.swapaxes(1, 2) / np.float32(math.sqrt(q.shape[-1]))
        mixed = (softmax(scores) @ v).swapaxes(0, 1).reshape(len(x), -1)
        x = self.layer_norm(x + self.linear(mixed, f"{at}.self_attn.out_proj"), f"{at}.norm1", NORM_EPS)
        hidden = self.linear(np.maximum(self.linear(x, f"{at}.linear1"), 0), f"{at}.linear2")
        return self.layer_norm(x + hidden, f"{at}.norm2", NORM_EPS)

    def attracted(self, projected: np.ndarray, centers: np.ndarray, embedding: np.ndarray, at: str) -> np.ndarray:
        """Bin centres at the size of `projected`, moved towards this level's attractors."""
        side = projected.shape[-1]
        attractors = softplus(self._mlp(projected + _upsampled(embedding, side), at))
        centers = _upsampled(centers, side)
        moved = np.zeros_like(centers)
        for attractor in attractors:
            distance = attractor - centers
            moved += distance / (1 + np.float32(ATTRACTOR_ALPHA) * distance * distance)
        return centers + (moved / np.float32(len(attractors)) if self._config.attractor_mean else moved)

    def bin_shares(self, features: np.ndarray, head: HeadConfig) -> np.ndarray:
        """`[bins, side, side]`, summing up to 1 over the bins: a binomial distribution sharpened by a temperature."""
        at = self._part("conditional_log_binomial", head)
        hidden = self.pointwise(gelu_erf(self.pointwise(features, f"{at}.mlp.0")), f"{at}.mlp.2")
        ones = softplus(hidden) + np.float32(PROBABILITY_EPS)
        probability, heat = ones[0] / (ones[0] + ones[1]), ones[2] / (ones[2] + ones[3])
        coldest, hottest = self._config.temperatures
        temperature = np.float32(hottest - coldest) * heat + np.float32(coldest)
        yes = np.log(np.clip(probability, np.float32(PROBABILITY_EPS), 1))
        no = np.log(np.clip(1 - probability, np.float32(PROBABILITY_EPS), 1))
        k = np.arange(head.bins, dtype=np.float32)[:, None, None]
        logits = log_binomial(head.bins)[:, None, None] + k * yes + (np.float32(head.bins - 1) - k) * no
        return softmax((logits / temperature).transpose(1, 2, 0)).transpose(2, 0, 1)

    def _part(self, name: str, head: HeadConfig) -> str:
        plural = {"seed_bin_regressor": "s"}.get(name, "") if head.at else ""
        return f"{ZOE_METRIC}.{name}{plural}{head.at}"

    # ---- layers

    def _mlp(self, x: np.ndarray, at: str) -> np.ndarray:
        return self.pointwise(np.maximum(self.pointwise(x, f"{at}.conv1"), 0), f"{at}.conv2")

    def pointwise(self, x: np.ndarray, at: str) -> np.ndarray:
        """A 1x1 convolution."""
        kernel = self.weight(f"{at}.weight")
        found = kernel.reshape(len(kernel), -1) @ x.reshape(len(x), -1)
        return (found + self.weight(f"{at}.bias")[:, None]).reshape(-1, *x.shape[1:])

    def conv(self, x: np.ndarray, at: str, bias: bool = True, stride: int = 1) -> np.ndarray:
        """A 3x3 convolution with a margin of one zero."""
        kernel, side = self.weight(f"{at}.weight"), (x.shape[-1] - 1) // stride + 1
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        found = np.zeros((len(kernel), side * side), dtype=np.float32)
        for row in range(3):
            for column in range(3):
                seen = padded[:, row : row + stride * (side - 1) + 1 : stride, column : column + stride * (side - 1) + 1 : stride]
                found += kernel[:, :, row, column] @ seen.reshape(len(x), -1)
        if bias:
            found += self.weight(f"{at}.bias")[:, None]
        return found.reshape(-1, side, side)


def router_positions(tokens: int) -> np.ndarray:
    """`[tokens, 128]`: all sines, then all cosines."""
    steps = np.arange(0, ROUTER_WIDTH, 2, dtype=np.float32)
    angles = np.arange(tokens, dtype=np.float32)[:, None] * np.exp(steps * np.float32(-math.log(10000.0) / ROUTER_WIDTH))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def log_binomial(bins: int) -> np.ndarray:
    """log(n over k) for k = 0..=n by Stirling's formula, `[bins]`, with the small numbers that the official code adds in float32."""
    eps = np.float32(BINOMIAL_EPS)
    n, k = np.float32(bins - 1) + eps, np.arange(bins, dtype=np.float32) + eps
    return n * np.log(n) - k * np.log(k) - (n - k) * np.log(n - k + eps)


def softplus(x: np.ndarray) -> np.ndarray:
    """As PyTorch's: the identity above 20."""
    return np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))).astype(np.float32)


def _resized(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Both sides of square maps `[..., side, side]`. One large product for each side."""
    for _ in range(2):
        x = (x.reshape(-1, x.shape[-1]) @ rows.T).reshape(*x.shape[:-1], -1).swapaxes(-1, -2)
    return x


def _upsampled(x: np.ndarray, side: int) -> np.ndarray:
    """Bilinear, corners on corners."""
    return x if x.shape[-1] == side else _resized(x, resampling.bilinear(x.shape[-1], side))
