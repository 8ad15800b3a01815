"""The depth estimator's tensors to the layout that its graph multiplies with. float32, except for matrices, which obey the precision.

From: a checkpoint, whose every tensor is checked first. To: `weights.bin`. Weights of the metric heads that the picture chooses between are
stacked, so that the graph picks one row and computes one head; heads of fewer bins get bins that no pixel uses.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.graph import WeightsFile
from egogrid_export.progress import Progress
from egogrid_export.spatialvla import resampling
from egogrid_export.spatialvla.tensor_names import ZOE, ZOE_BACKBONE, ZOE_FUSION, ZOE_METRIC, ZOE_REASSEMBLE
from egogrid_export.spatialvla.zoe_config import INPUT_PX, PAD_PX, ROUTER_LAYERS_RUN, ROUTER_WIDTH, HeadConfig, ZoeConfig
from egogrid_export.spatialvla.zoe_reference import log_binomial, router_positions

# log(0): a bin that a head does not have. Divided by the lowest temperature it is still finite.
NO_BIN = np.float32(-1e30)
# (name in the checkpoint, name in the graph, whether it has a bias)
ATTENTION_PARTS = (("query", True), ("key", False), ("value", True))


def part_name(name: str, head: HeadConfig) -> str:
    """Of a metric head's part in the checkpoint."""
    plural = "s" if head.at and name == "seed_bin_regressor" else ""
    return f"{ZOE_METRIC}.{name}{plural}{head.at}"


def check_zoe_shapes(checkpoint: Checkpoint, config: ZoeConfig) -> None:
    """Every tensor that the graph needs is there and has the shape that the configuration says."""
    for name, shape in tensor_shapes(config).items():
        checkpoint.expect(f"{ZOE}.{name}", shape)


def tensor_shapes(config: ZoeConfig) -> dict[str, tuple[int, ...]]:
    """Names without `vision_zoe_model.`."""
    shapes = _backbone_shapes(config) | _neck_shapes(config) | _metric_shapes(config)
    return {name.removeprefix(f"{ZOE}."): shape for name, shape in shapes.items()}


def _with_bias(linears: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": shape if part == "weight" else shape[:1] for name, shape in linears.items() for part in ("weight", "bias")}


def _backbone_shapes(config: ZoeConfig) -> dict[str, tuple[int, ...]]:
    backbone, at = config.backbone, ZOE_BACKBONE
    width, patch, table = backbone.width, backbone.patch_size_px, (backbone.table_rows, backbone.heads)
    bias_table = "relative_position_bias.relative_position_bias_table"
    shapes = {f"{at}.embeddings.cls_token": (1, 1, width)}
    shapes |= _with_bias({f"{at}.embeddings.patch_embeddings.projection": (width, 3, patch, patch)})
    if backbone.shared_bias:
        shapes[f"{at}.encoder.{bias_table}"] = table
    for layer in range(max(backbone.taps)):
        at = f"{ZOE_BACKBONE}.encoder.layer.{layer}"
        linears = {f"{at}.{norm}": (width,) for norm in ("layernorm_before", "layernorm_after")}
        linears |= {f"{at}.attention.output.dense": (width, width), f"{at}.intermediate.dense": (backbone.mlp_width, width)}
        linears[f"{at}.output.dense"] = (width, backbone.mlp_width)
        linears |= {f"{at}.attention.attention.{part}": (width, width) for part, bias in ATTENTION_PARTS if bias}
        shapes |= _with_bias(linears) | {f"{at}.attention.attention.key.weight": (width, width)}
        if backbone.layer_scale:
            shapes |= {f"{at}.lambda_{number}": (width,) for number in (1, 2)}
        if backbone.layer_bias:
            shapes[f"{at}.attention.attention.{bias_table}"] = table
    return shapes


def _neck_shapes(config: ZoeConfig) -> dict[str, tuple[int, ...]]:
    width, fusion = config.backbone.width, config.fusion_width
    shapes: dict[str, tuple[int, ...]] = {}
    for stage, (channels, factor) in enumerate(zip(config.neck, config.factors, strict=True)):
        at = f"{ZOE_REASSEMBLE}.layers.{stage}"
        linears = {f"{ZOE_REASSEMBLE}.readout_projects.{stage}.0": (width, 2 * width), f"{at}.projection": (channels, width, 1, 1)}
        if factor != 1:
            size = int(factor) if factor > 1 else 3
            linears[f"{at}.resize"] = (channels, channels, size, size)
        shapes |= _with_bias(linears) | {f"{ZOE}.neck.convs.{stage}.weight": (fusion, channels, 3, 3)}
        at = f"{ZOE_FUSION}.layers.{stage}"
        shapes |= _with_bias({f"{at}.projection": (fusion, fusion, 1, 1)})
        for residual in residuals(stage):
            convs = {f"{at}.{residual}.convolution{number}": (fusion, fusion, 3, 3) for number in (1, 2)}
            shapes |= _with_bias(convs) if config.fusion_bias else {f"{name}.weight": shape for name, shape in convs.items()}
    at = f"{ZOE}.relative_head"
    linears = {f"{at}.conv1": (fusion // 2, fusion, 3, 3), f"{at}.conv2": (config.relative_width, fusion // 2, 3, 3)}
    if not config.router:
        linears[f"{at}.conv3"] = (1, config.relative_width, 1, 1)
    return shapes | _with_bias(linears)


def residuals(layer: int) -> tuple[str, ...]:
    """The coarsest map has nothing to add; its first unit is in checkpoints and not used."""
    return ("residual_layer1", "residual_layer2") if layer else ("residual_layer2",)


def _metric_shapes(config: ZoeConfig) -> dict[str, tuple[int, ...]]:
    fusion, embedding, middle = config.fusion_width, config.embedding_width, config.projector_mlp_width

    def mlp(at: str, inputs: int, hidden: int, outputs: int, names: tuple[str, str] = ("conv1", "conv2")) -> dict[str, tuple[int, ...]]:
        return {f"{at}.{names[0]}": (hidden, inputs, 1, 1), f"{at}.{names[1]}": (outputs, hidden, 1, 1)}

    linears: dict[str, tuple[int, ...]] = {f"{ZOE_METRIC}.conv2": (fusion, fusion, 1, 1)}
    linears |= mlp(f"{ZOE_METRIC}.seed_projector", fusion, middle, embedding)
    for level in range(config.levels):
        linears |= mlp(f"{ZOE_METRIC}.projectors.{level}", fusion, middle, embedding)
    for head in config.chosen_from:
        linears |= mlp(part_name("seed_bin_regressor", head), fusion, config.seed_mlp_width, head.bins)
        for level in range(config.levels):
            linears |= mlp(f"{part_name('attractors', head)}.{level}", embedding, embedding, config.attractors[level])
        inputs, at = config.binomial_inputs + embedding, f"{part_name('conditional_log_binomial', head)}.mlp"
        linears |= mlp(at, inputs, config.binomial_width, 4, ("0", "2"))
    return _with_bias(linears) | _router_shapes(config)


def _router_shapes(config: ZoeConfig) -> dict[str, tuple[int, ...]]:
    if not config.router:
        return {}
    width, at = ROUTER_WIDTH, f"{ZOE_METRIC}.patch_transformer"
    linears: dict[str, tuple[int, ...]] = {f"{at}.embedding_convPxP": (width, config.fusion_width, 1, 1)}
    for layer in range(ROUTER_LAYERS_RUN):
        layer_at = f"{at}.transformer_encoder.{layer}"
        linears |= {f"{layer_at}.self_attn.{name}": (width, width) for name in ("query", "key", "value", "out_proj")}
        linears |= {f"{layer_at}.linear1": (config.router.mlp_width, width), f"{layer_at}.linear2": (width, config.router.mlp_width)}
        linears |= {f"{layer_at}.norm{number}": (width,) for number in (1, 2)}
    linears |= {f"{ZOE_METRIC}.mlp_classifier.linear1": (width, width), f"{ZOE_METRIC}.mlp_classifier.linear2": (2, width)}
    return _with_bias(linears)


def pack_zoe(checkpoint: Checkpoint, config: ZoeConfig, image_px: int, weights: WeightsFile, progress: Progress) -> None:
    """Writes all packed tensors. `image_px`: side of `pixel_values`."""
    packer = _Packer(checkpoint, config, weights)
    packer.resampling(image_px)
    packer.embeddings()
    for layer in progress.over(range(max(config.backbone.taps)), "pack layers of the depth estimator"):
        packer.layer(layer)
    packer.neck()
    packer.metric_heads()
    if config.router:
        packer.router()


class _Packer:
    """What the steps of `pack_zoe` share."""

    def __init__(self, checkpoint: Checkpoint, config: ZoeConfig, weights: WeightsFile) -> None:
        self._tensor, self._config, self._weights = checkpoint.tensor, config, weights

    def resampling(self, image_px: int) -> None:
        padded = image_px + 2 * PAD_PX
        into = resampling.bicubic(padded, INPUT_PX) @ resampling.reflect_padding(image_px, PAD_PX)
        back = resampling.bicubic(self._config.output_side, padded)[PAD_PX:-PAD_PX]
        for name, rows in (("into", into), ("back", back)):
            self._weights.add(f"zoe.{name}.rows", rows)
            self._weights.add(f"zoe.{name}.columns", rows.T)

    def embeddings(self) -> None:
        at = f"{ZOE_BACKBONE}.embeddings"
        self._weights.add("zoe.cls", self._tensor(f"{at}.cls_token")[0])
        self._linear(f"{at}.patch_embeddings.projection", "zoe.patch")

    def layer(self, layer: int) -> None:
        backbone, source, target = self._config.backbone, f"{ZOE_BACKBONE}.encoder.layer.{layer}", f"zoe.{layer}"
        for norm, name in (("layernorm_before", "norm1"), ("layernorm_after", "norm2")):
            self._copy(f"{source}.{norm}", f"{target}.{name}")
        self._merged([(f"{source}.attention.attention.{part}", bias) for part, bias in ATTENTION_PARTS], f"{target}.qkv")
        for linear, name in (("attention.output.dense", "out"), ("intermediate.dense", "fc1"), ("output.dense", "fc2")):
            self._linear(f"{source}.{linear}", f"{target}.{name}")
        if backbone.layer_scale:
            for number in (1, 2):
                self._weights.add(f"{target}.scale{number}", self._tensor(f"{source}.lambda_{number}"))
        owners = [(backbone.layer_bias, f"{source}.attention.attention"), (backbone.shared_bias, f"{ZOE_BACKBONE}.encoder")]
        tables = [self._bias_table(owner) for used, owner in owners if used]
        if tables:
            self._weights.add(f"{target}.bias_table", sum(tables[1:], tables[0]))

    def _bias_table(self, owner: str) -> np.ndarray:
        """`[heads, distances + 3]`, resized to the number of patches that 384 pixels have."""
        backbone = self._config.backbone
        table = self._tensor(f"{owner}.relative_position_bias.relative_position_bias_table").T
        window, wanted = 2 * backbone.table_window - 1, 2 * backbone.grid - 1
        if window == wanted:
            return table
        rows = resampling.bilinear(window, wanted, align_corners=False)
        between = rows @ table[:, :-3].reshape(-1, window, window) @ rows.T
        return np.concatenate([between.reshape(len(table), -1), table[:, -3:]], axis=1)

    def neck(self) -> None:
        for stage, factor in enumerate(self._config.factors):
            readout = self._tensor(f"{ZOE_REASSEMBLE}.readout_projects.{stage}.0.weight")
            width = len(readout)
            # The CLS half is the same for every patch: it becomes part of the bias.
            self._weights.add_matrix(f"zoe.readout.{stage}.patches", readout[:, :width].T)
            self._weights.add_matrix(f"zoe.readout.{stage}.cls.weight", readout[:, width:].T)
            self._weights.add(f"zoe.readout.{stage}.cls.bias", self._tensor(f"{ZOE_REASSEMBLE}.readout_projects.{stage}.0.bias"))
            source = f"{ZOE_REASSEMBLE}.layers.{stage}"
            self._linear(f"{source}.projection", f"zoe.projection.{stage}")
            if factor > 1:
                self._squares(f"{source}.resize", f"zoe.resize.{stage}")
            elif factor < 1:
                self._copy(f"{source}.resize", f"zoe.resize.{stage}")
            self._weights.add(f"zoe.conv.{stage}.weight", self._tensor(f"{ZOE}.neck.convs.{stage}.weight"))
            self._fusion(stage)
        for conv in ("conv1", "conv2") if self._config.router else ("conv1", "conv2", "conv3"):
            self._copy(f"{ZOE}.relative_head.{conv}", f"zoe.relative.{conv}")

    def _squares(self, source: str, target: str) -> None:
        """A transposed convolution whose squares do not overlap, as a matrix: `[inputs, outputs * size * size]`."""
        kernel = self._tensor(f"{source}.weight")
        self._weights.add_matrix(f"{target}.weight", kernel.reshape(len(kernel), -1))
        self._weights.add(f"{target}.bias", np.repeat(self._tensor(f"{source}.bias"), kernel.shape[-1] ** 2))

    def _fusion(self, layer: int) -> None:
        source, target = f"{ZOE_FUSION}.layers.{layer}", f"zoe.fusion.{layer}"
        self._copy(f"{source}.projection", f"{target}.projection")
        for residual in residuals(layer):
            for number in (1, 2):
                at, name = f"{source}.{residual}.convolution{number}", f"{target}.{residual}.{number}"
                self._weights.add(f"{name}.weight", self._tensor(f"{at}.weight"))
                if self._config.fusion_bias:
                    self._weights.add(f"{name}.bias", self._tensor(f"{at}.bias"))

    def metric_heads(self) -> None:
        config = self._config
        self._copy(f"{ZOE_METRIC}.conv2", "zoe.metric.conv2")
        for name, target in [("seed_projector", "seed"), *((f"projectors.{level}", str(level)) for level in range(config.levels))]:
            for conv in ("conv1", "conv2"):
                self._copy(f"{ZOE_METRIC}.{name}.{conv}", f"zoe.projector.{target}.{conv}")
        bins = max(head.bins for head in config.chosen_from)
        self._stacked("seed_bin_regressor", "conv1", "zoe.seed.conv1")
        self._stacked("seed_bin_regressor", "conv2", "zoe.seed.conv2", bins)
        for level in range(config.levels):
            for conv in ("conv1", "conv2"):
                self._stacked("attractors", f"{level}.{conv}", f"zoe.attractors.{level}.{conv}")
        self._stacked("conditional_log_binomial", "mlp.0", "zoe.binomial.mlp1", split=config.binomial_inputs)
        self._stacked("conditional_log_binomial", "mlp.2", "zoe.binomial.mlp2")
        self._weights.add("zoe.binomial.rows", np.stack([binomial_rows(head.bins, bins) for head in config.chosen_from]))

    def _stacked(self, part: str, name: str, target: str, rows: int | None = None, split: int | None = None) -> None:
        """`{target}.weight` `[heads, outputs, inputs]` and `.bias` `[heads, outputs, 1]`, with zeros up to `rows` outputs.

        `split`: the weight in two, of the first inputs (`.weight`) and of the others (`.rest`).
        """
        heads = [f"{part_name(part, head)}.{name}" for head in self._config.chosen_from]
        kernels = [self._tensor(f"{at}.weight") for at in heads]
        kernels = [_padded(kernel.reshape(len(kernel), -1), rows) for kernel in kernels]
        weight = np.stack(kernels)
        self._weights.add(f"{target}.weight", weight[:, :, :split])
        if split is not None:
            self._weights.add(f"{target}.rest", weight[:, :, split:])
        self._weights.add(f"{target}.bias", np.stack([_padded(self._tensor(f"{at}.bias")[:, None], rows) for at in heads]))

    def router(self) -> None:
        source = f"{ZOE_METRIC}.patch_transformer"
        self._linear(f"{source}.embedding_convPxP", "zoe.router.embedding")
        self._weights.add("zoe.router.positions", router_positions(self._config.stage_sides[-1] ** 2 + 1))
        for layer in range(ROUTER_LAYERS_RUN):
            at, target = f"{source}.transformer_encoder.{layer}", f"zoe.router.{layer}"
            self._merged([(f"{at}.self_attn.{part}", True) for part in ("query", "key", "value")], f"{target}.qkv")
            for linear, name in (("self_attn.out_proj", "out"), ("linear1", "fc1"), ("linear2", "fc2")):
                self._linear(f"{at}.{linear}", f"{target}.{name}")
            for norm in ("norm1", "norm2"):
                self._copy(f"{at}.{norm}", f"{target}.{norm}")
        for number in (1, 2):
            self._linear(f"{ZOE_METRIC}.mlp_classifier.linear{number}", f"zoe.router.classifier{number}")

    def _merged(self, parts: list[tuple[str, bool]], target: str) -> None:
        """Queries, keys and values side by side, zeros where a part has no bias."""
        self._weights.add_matrix(f"{target}.weight", np.concatenate([self._tensor(f"{at}.weight") for at, _ in parts]).T)
        width = self._tensor(f"{parts[0][0]}.bias").shape
        biases = [self._tensor(f"{at}.bias") if bias else np.zeros(width, dtype=np.float32) for at, bias in parts]
        self._weights.add(f"{target}.bias", np.concatenate(biases))

    def _linear(self, source: str, target: str) -> None:
        """A linear layer, or a convolution whose patches do not overlap, as a matrix `[inputs, outputs]`."""
        kernel = self._tensor(f"{source}.weight")
        self._weights.add_matrix(f"{target}.weight", kernel.reshape(len(kernel), -1).T)
        self._weights.add(f"{target}.bias", self._tensor(f"{source}.bias"))

    def _copy(self, source: str, target: str) -> None:
        for name in ("weight", "bias"):
            self._weights.add(f"{target}.{name}", self._tensor(f"{source}.{name}"))


def binomial_rows(bins: int, rows: int) -> np.ndarray:
    """`[rows, 3]`: what 1, log(p) and log(1 - p) are multiplied with at each bin. Bins that the head does not have weigh nothing."""
    k = np.arange(bins, dtype=np.float32)
    found = np.zeros((rows, 3), dtype=np.float32)
    found[:, 0] = NO_BIN
    found[:bins] = np.stack([log_binomial(bins), k, np.float32(bins - 1) - k], axis=1)
    return found


def _padded(matrix: np.ndarray, rows: int | None) -> np.ndarray:
    return matrix if rows is None else np.pad(matrix, ((0, rows - len(matrix)), (0, 0)))
