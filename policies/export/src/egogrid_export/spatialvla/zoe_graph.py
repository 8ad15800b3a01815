"""The graph `depth.onnx`: picture to metric depth, both heads and the choice between them inside. Contract: `policies/BUNDLE.md`.

From: packed tensors in `weights.bin`. Maps are `[1, channels, height, width]`, tokens `[tokens, width]`. The two bicubic resizings, whose
sizes are fixed, are products with fixed matrices; Resize has the bilinear ones, because ONNX Runtime keeps them in the convolutions' own
layout. A 1x1 convolution is done before the upsampling that it follows in the original: both are linear, and it is a quarter of the work.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.attention import self_attention
from egogrid_export.graph import GraphBuilder, WeightsFile
from egogrid_export.spatialvla.zoe_config import (
    ATTRACTOR_ALPHA,
    INPUT_PX,
    NORM_EPS,
    PROBABILITY_EPS,
    ROUTER_LAYERS_RUN,
    ROUTER_WIDTH,
    ZoeConfig,
)
from egogrid_export.static_graph import StaticGraph


def build_depth(config: ZoeConfig, image_px: int, weights: WeightsFile) -> GraphBuilder:
    """`depth_m`, and as further outputs the stages by which a check can name what differs."""
    return _Builder(config, image_px, GraphBuilder("depth", weights)).build()


def build_static_depth(config: ZoeConfig, image_px: int, weights: WeightsFile) -> GraphBuilder:
    """The second flavour. Its products stay float32: bins and attractors, and sin(2^7 x) after them, multiply rounding by thousands."""
    return _Builder(config, image_px, StaticGraph("depth", weights, exact=True)).build()


class _Builder:
    def __init__(self, config: ZoeConfig, image_px: int, graph: GraphBuilder) -> None:
        self._config, self._image_px, self._graph = config, image_px, graph
        self._head: str | None = None

    def build(self) -> GraphBuilder:
        graph, config, backbone = self._graph, self._config, self._config.backbone
        pixels = graph.input("pixel_values", "f32", [1, 3, self._image_px, self._image_px])
        # In the order of computing: a check names the first that differs.
        graph.output("zoe_pixel_values", "f32", [1, 3, INPUT_PX, INPUT_PX])
        graph.output(f"zoe_backbone_{len(backbone.taps)}", "f32", [1, backbone.tokens, backbone.width])
        if config.router:
            graph.output("zoe_domain_logits", "f32", [1, 2])
        graph.output("zoe_predicted_depth", "f32", [1, config.output_side, config.output_side])
        graph.output("depth_m", "f32", [1, self._image_px, self._image_px])

        half = graph.constant("half", np.float32(0.5))
        centered = graph.op("Sub", [self._resized(pixels, "into"), half])
        taps = self._backbone(graph.op("Div", [centered, half], out="zoe_pixel_values"))
        graph.op("Reshape", [taps[-1], graph.integers(1, backbone.tokens, -1)], out=f"zoe_backbone_{len(taps)}")
        features = [self._feature(stage, tap) for stage, tap in enumerate(taps)]
        fused = self._fused(features)
        depth = self._metric_depth(self._relative(fused[-1]), features[-1], fused)
        graph.op("Reshape", [depth, graph.integers(1, config.output_side, -1)], out="zoe_predicted_depth")
        graph.op("Reshape", [self._resized(depth, "back"), graph.integers(1, self._image_px, -1)], out="depth_m")
        return graph

    def _resized(self, maps: str, name: str) -> str:
        """`[1, channels, side, side]` to another side, by fixed matrices; the padding and its removal are in them."""
        graph = self._graph
        tall = graph.op("MatMul", [graph.weight(f"zoe.{name}.rows"), maps])
        return graph.op("MatMul", [tall, graph.weight(f"zoe.{name}.columns")])

    # ---- backbone

    def _backbone(self, pixels: str) -> list[str]:
        graph, backbone = self._graph, self._config.backbone
        size, grid = backbone.patch_size_px, backbone.grid
        if grid * size != INPUT_PX:
            ends = [graph.integers(0, 0), graph.integers(grid * size, grid * size), graph.integers(2, 3)]
            pixels = graph.op("Slice", [pixels, *ends])
        cut = graph.op("Reshape", [pixels, graph.integers(3, grid, size, grid, size)])
        rows = graph.op("Reshape", [graph.op("Transpose", [cut], perm=[1, 3, 0, 2, 4]), graph.integers(grid * grid, -1)])
        x = graph.op("Concat", [graph.weight("zoe.cls"), graph.affine(rows, "zoe.patch")], axis=0)
        places = self._bias_places() if backbone.layer_bias or backbone.shared_bias else None
        taps = [x] if 0 in backbone.taps else []
        for layer in range(max(backbone.taps)):
            x = self._layer(x, layer, places)
            if layer + 1 in backbone.taps:
                taps.append(x)
        return taps

    def _layer(self, x: str, layer: int, places: str | None) -> str:
        graph, backbone, at = self._graph, self._config.backbone, f"zoe.{layer}"
        bias = ""
        if places is not None:
            flat = graph.op("Gather", [graph.weight(f"{at}.bias_table"), places], axis=1)
            bias = graph.op("Reshape", [flat, graph.integers(1, backbone.heads, backbone.tokens, backbone.tokens)])
        normed = graph.layer_norm(x, f"{at}.norm1", backbone.norm_eps)
        mixed = self_attention(graph, normed, f"{at}.qkv", backbone.heads, backbone.tokens, backbone.width, bias)
        x = graph.op("Add", [x, self._scaled(graph.affine(mixed, f"{at}.out"), f"{at}.scale1")])
        hidden = graph.affine(graph.layer_norm(x, f"{at}.norm2", backbone.norm_eps), f"{at}.fc1")
        hidden = graph.affine(graph.op("Gelu", [hidden]), f"{at}.fc2")
        return graph.op("Add", [x, self._scaled(hidden, f"{at}.scale2")])

    def _scaled(self, x: str, name: str) -> str:
        return self._graph.op("Mul", [x, self._graph.weight(name)]) if self._config.backbone.layer_scale else x

    def _bias_places(self) -> str:
        """Column of the bias table for each pair of tokens, `[tokens * tokens]`. ONNX Runtime computes it once, when it loads."""
        graph, grid = self._graph, self._config.backbone.grid
        patch, last = np.arange(grid * grid), (2 * grid - 1) ** 2 + 2
        code = patch // grid * (2 * grid - 1) + patch % grid
        codes = graph.constant("patch_codes", code[:, None].astype(np.int64))
        distance = graph.op("Sub", [codes, graph.op("Reshape", [codes, graph.integers(1, -1)])])
        middle = graph.op("Add", [distance, graph.integers((grid - 1) * (2 * grid - 1) + grid - 1)])
        column = graph.constant("cls_column", np.full((grid * grid, 1), last - 1, dtype=np.int64))
        row = graph.constant("cls_row", np.array([[last, *[last - 2] * (grid * grid)]], dtype=np.int64))
        whole = graph.op("Concat", [row, graph.op("Concat", [column, middle], axis=1)], axis=0)
        return graph.op("Reshape", [whole, graph.integers(-1)])

    # ---- neck and relative head

    def _feature(self, stage: int, tokens: str) -> str:
        graph, config = self._graph, self._config
        grid, factor, channels = config.backbone.grid, config.factors[stage], config.neck[stage]
        cls = graph.op("Slice", [tokens, graph.integers(0), graph.integers(1), graph.integers(0)])
        patches = graph.op("Slice", [tokens, graph.integers(1), graph.integers(config.backbone.tokens), graph.integers(0)])
        mixed = graph.product(patches, f"zoe.readout.{stage}.patches")
        hidden = graph.op("Gelu", [graph.op("Add", [mixed, graph.affine(cls, f"zoe.readout.{stage}.cls")])])
        rows = graph.affine(hidden, f"zoe.projection.{stage}")
        if factor > 1:
            size, side = int(factor), config.stage_sides[stage]
            squares = graph.op("Reshape", [graph.affine(rows, f"zoe.resize.{stage}"), graph.integers(grid, grid, channels, size, size)])
            ordered = graph.op("Transpose", [squares], perm=[2, 0, 3, 1, 4])
            return self._conv(graph.op("Reshape", [ordered, graph.integers(1, channels, side, side)]), f"zoe.conv.{stage}", bias=False)
        maps = graph.op("Reshape", [graph.op("Transpose", [rows], perm=[1, 0]), graph.integers(1, channels, grid, grid)])
        if factor < 1:
            maps = self._conv(maps, f"zoe.resize.{stage}", stride=int(1 / factor))
        return self._conv(maps, f"zoe.conv.{stage}", bias=False)

    def _fused(self, features: list[str]) -> list[str]:
        """Coarsest first."""
        graph, config = self._graph, self._config
        fused: list[str] = []
        for layer, (feature, side) in enumerate(zip(reversed(features), reversed(config.stage_sides), strict=True)):
            at, hidden = f"zoe.fusion.{layer}", feature
            if fused:
                if side != config.fused_sides[layer - 1]:
                    feature = self._bilinear(feature, config.fusion_width, config.fused_sides[layer - 1], "half_pixel")
                hidden = graph.op("Add", [fused[-1], self._residual(feature, f"{at}.residual_layer1")])
            hidden = self._conv(self._residual(hidden, f"{at}.residual_layer2"), f"{at}.projection", size=1)
            fused.append(self._bilinear(hidden, config.fusion_width, config.fused_sides[layer]))
        return fused

    def _residual(self, x: str, at: str) -> str:
        graph, bias = self._graph, self._config.fusion_bias
        hidden = self._conv(graph.op("Relu", [x]), f"{at}.1", bias=bias)
        return graph.op("Add", [self._conv(graph.op("Relu", [hidden]), f"{at}.2", bias=bias), x])

    def _relative(self, fused: str) -> str:
        graph, config = self._graph, self._config
        hidden = self._bilinear(self._conv(fused, "zoe.relative.conv1"), config.fusion_width // 2, config.output_side)
        features = graph.op("Relu", [self._conv(hidden, "zoe.relative.conv2")])
        if config.router:
            return features
        relative = graph.op("Relu", [self._conv(features, "zoe.relative.conv3", size=1)])
        return graph.op("Concat", [features, relative], axis=1)

    # ---- metric head

    def _metric_depth(self, relative: str, bottleneck: str, fused: list[str]) -> str:
        """`[1, 1, side, side]` metres."""
        graph, config = self._graph, self._config
        x = self._conv(bottleneck, "zoe.metric.conv2", size=1)
        if config.router:
            self._head = graph.op("ArgMax", [self._domain_logits(x)], axis=1, keepdims=0)
        side = config.stage_sides[-1]
        bins = max(head.bins for head in config.chosen_from)
        flat = graph.op("Reshape", [x, graph.integers(1, config.fusion_width, -1)])
        hidden = graph.op("Relu", [self._chosen_affine(flat, "zoe.seed.conv1")])
        centers = graph.op("Softplus", [self._chosen_affine(hidden, "zoe.seed.conv2")])
        centers = graph.op("Reshape", [centers, graph.integers(1, bins, side, side)])
        embedding = self._projected(x, "seed")
        for level in range(config.levels):
            projected, side = self._projected(fused[level], str(level)), config.fused_sides[level]
            wide = graph.op("Add", [projected, self._bilinear(embedding, config.embedding_width, side)])
            centers = self._attracted(wide, self._bilinear(centers, bins, side), level, bins)
            embedding = projected
        side = config.output_side
        return self._mean_center(relative, embedding, self._bilinear(centers, bins, side), bins)

    def _domain_logits(self, x: str) -> str:
        graph, config = self._graph, self._config
        places = config.stage_sides[-1] ** 2
        rows = graph.op("Transpose", [graph.op("Reshape", [x, graph.integers(config.fusion_width, places)])], perm=[1, 0])
        zeros = graph.constant("summary_token", np.zeros((1, ROUTER_WIDTH), dtype=np.float32))
        tokens = graph.op("Concat", [zeros, graph.affine(rows, "zoe.router.embedding")], axis=0)
        tokens = graph.op("Add", [tokens, graph.weight("zoe.router.positions")])
        for layer in range(ROUTER_LAYERS_RUN):
            at = f"zoe.router.{layer}"
            mixed = self_attention(graph, tokens, f"{at}.qkv", config.router.heads, places + 1, ROUTER_WIDTH)
            tokens = graph.layer_norm(graph.op("Add", [tokens, graph.affine(mixed, f"{at}.out")]), f"{at}.norm1", NORM_EPS)
            hidden = graph.affine(graph.op("Relu", [graph.affine(tokens, f"{at}.fc1")]), f"{at}.fc2")
            tokens = graph.layer_norm(graph.op("Add", [tokens, hidden]), f"{at}.norm2", NORM_EPS)
        summary = graph.op("Slice", [tokens, graph.integers(0), graph.integers(1), graph.integers(0)])
        hidden = graph.op("Relu", [graph.affine(summary, "zoe.router.classifier1")])
        return graph.op("Identity", [graph.affine(hidden, "zoe.router.classifier2")], out="zoe_domain_logits")

    def _projected(self, x: str, name: str) -> str:
        hidden = self._graph.op("Relu", [self._conv(x, f"zoe.projector.{name}.conv1", size=1)])
        return self._conv(hidden, f"zoe.projector.{name}.conv2", size=1)

    def _attracted(self, wide: str, centers: str, level: int, bins: int) -> str:
        """Bin centres moved by the mean (or sum) over attractors of d / (1 + 300 d^2), d being the way to the attractor."""
        graph, config = self._graph, self._config
        side, count, at = config.fused_sides[level], config.attractors[level], f"zoe.attractors.{level}"
        flat = graph.op("Reshape", [wide, graph.integers(1, config.embedding_width, side * side)])
        hidden = graph.op("Relu", [self._chosen_affine(flat, f"{at}.conv1")])
        attractors = graph.op("Softplus", [self._chosen_affine(hidden, f"{at}.conv2")])
        names = [f"{at}.{number}" for number in range(count)]
        if count > 1:
            graph.op("Split", [attractors], out=names, axis=1, num_outputs=count)
        else:
            names = [attractors]
        rows = graph.op("Reshape", [centers, graph.integers(1, bins, side * side)])
        alpha, one = graph.constant("attractor_alpha", np.float32(ATTRACTOR_ALPHA)), graph.constant("one", np.float32(1))
        moved = None
        for name in names:
            distance = graph.op("Sub", [name, rows])
            square = graph.op("Mul", [graph.op("Mul", [distance, distance]), alpha])
            step = graph.op("Div", [distance, graph.op("Add", [square, one])])
            moved = step if moved is None else graph.op("Add", [moved, step])
        if config.attractor_mean and count > 1:
            moved = graph.op("Div", [moved, graph.constant(f"count_{count}", np.float32(count))])
        return graph.op("Reshape", [graph.op("Add", [rows, moved]), graph.integers(1, bins, side, side)])

    def _mean_center(self, relative: str, embedding: str, centers: str, bins: int) -> str:
        """Mean of the bin centres, weighted with a binomial distribution that a temperature sharpens: `[1, 1, side, side]`."""
        graph, config = self._graph, self._config
        side, coarse = config.output_side, config.fused_sides[config.levels - 1]
        of_embedding = graph.op("Reshape", [embedding, graph.integers(1, config.embedding_width, coarse * coarse)])
        of_embedding = graph.op("MatMul", [self._chosen("zoe.binomial.mlp1.rest"), of_embedding])
        of_embedding = graph.op("Reshape", [of_embedding, graph.integers(1, config.binomial_width, coarse, coarse)])
        of_embedding = self._bilinear(of_embedding, config.binomial_width, side)
        of_embedding = graph.op("Reshape", [of_embedding, graph.integers(1, config.binomial_width, -1)])
        flat = graph.op("Reshape", [relative, graph.integers(1, config.binomial_inputs, side * side)])
        hidden = graph.op("Gelu", [graph.op("Add", [self._chosen_affine(flat, "zoe.binomial.mlp1"), of_embedding])])
        ones = graph.op("Softplus", [self._chosen_affine(hidden, "zoe.binomial.mlp2")])
        ones = graph.op("Add", [ones, graph.constant("probability_eps", np.float32(PROBABILITY_EPS))])
        parts = [f"zoe.binomial.part{number}" for number in range(4)]
        graph.op("Split", [ones], out=parts, axis=1, num_outputs=4)
        probability, heat = (graph.op("Div", [a, graph.op("Add", [a, b])]) for a, b in (parts[:2], parts[2:]))
        coldest, hottest = config.temperatures
        span = graph.constant("temperature_span", np.float32(hottest - coldest))
        low = graph.constant("temperature_min", np.float32(coldest))
        temperature = graph.op("Add", [graph.op("Mul", [heat, span]), low])

        least, most = graph.constant("probability_min", np.float32(PROBABILITY_EPS)), graph.constant("one", np.float32(1))
        yes = graph.op("Log", [graph.op("Clip", [probability, least, most])])
        no = graph.op("Log", [graph.op("Clip", [graph.op("Sub", [most, probability]), least, most])])
        parts = [graph.op("Div", [part, temperature]) for part in (most, yes, no)]
        logits = graph.op("MatMul", [self._chosen("zoe.binomial.rows"), graph.op("Concat", parts, axis=1)])
        axis = graph.integers(1)
        weights = graph.op("Exp", [graph.op("Sub", [logits, graph.op("ReduceMax", [logits, axis], keepdims=1)])])
        weighted = graph.op("Mul", [weights, graph.op("Reshape", [centers, graph.integers(1, bins, side * side)])])
        # A product with ones: ONNX Runtime's ReduceSum over the slower axis takes several times as long.
        row = graph.constant("every_bin", np.ones((1, bins), dtype=np.float32))
        sums = (graph.op("MatMul", [row, values]) for values in (weighted, weights))
        return graph.op("Reshape", [graph.op("Div", list(sums)), graph.integers(1, 1, side, side)])

    # ---- layers

    def _chosen(self, name: str) -> str:
        """The chosen head's row of a stacked tensor: `[1, outputs, inputs]`."""
        stacked = self._graph.weight(name)
        return stacked if self._head is None else self._graph.op("Gather", [stacked, self._head], axis=0)

    def _chosen_affine(self, x: str, at: str) -> str:
        """A 1x1 convolution of the chosen head on `[1, inputs, pixels]`."""
        product = self._graph.op("MatMul", [self._chosen(f"{at}.weight"), x])
        return self._graph.op("Add", [product, self._chosen(f"{at}.bias")])

    def _conv(self, x: str, at: str, size: int = 3, stride: int = 1, bias: bool = True) -> str:
        inputs = [x, self._graph.weight(f"{at}.weight"), *([self._graph.weight(f"{at}.bias")] if bias else [])]
        return self._graph.op("Conv", inputs, kernel_shape=[size] * 2, pads=[size // 2] * 4, strides=[stride] * 2)

    def _bilinear(self, x: str, channels: int, side: int, positions: str = "align_corners") -> str:
        sizes = self._graph.integers(1, channels, side, side)
        return self._graph.op("Resize", [x, "", "", sizes], mode="linear", coordinate_transformation_mode=positions)


