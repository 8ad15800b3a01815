"""What `vision_zoe_config` of a SpatialVLA checkpoint says about its depth estimator, as checked types.

ZoeDepth with a BEiT backbone. Fields that the file leaves out have the defaults of transformers 4.47 (`ZoeDepthConfig`, `BeitConfig`).
What transformers 4.47 cannot run, or what this exporter does not build, is refused. Numbers that transformers fixes in its code, whatever
the file says, are constants here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from egogrid_export.errors import CheckpointError, MissingError
from egogrid_export.fields import Fields

# The official `process_zoe` pads every picture by 31 pixels and resizes it to 384x384, whatever its size.
PAD_PX, INPUT_PX = 31, 384
# Hard-wired in `inv_attractor`; the file's attractor_alpha and attractor_gamma are never passed on.
ATTRACTOR_ALPHA = 300.0
# Of every level where there are several heads: num_attractors says only how many levels there are.
ATTRACTORS_OF_SEVERAL_HEADS = 16
PROJECTED_LEVELS_MAX = 4
ROUTER_LAYERS_RUN, ROUTER_WIDTH, ROUTED_HEADS = 4, 128, 2
NORM_EPS = 1e-5
PROBABILITY_EPS, BINOMIAL_EPS = 1e-4, 1e-7
# What transformers takes where there is no backbone_config.
BEIT_LARGE = {
    "image_size": 384, "num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
    "use_relative_position_bias": True, "reshape_hidden_states": False, "out_features": ["stage6", "stage12", "stage18", "stage24"],
}  # fmt: skip
NECK_DEFAULT = [96, 192, 384, 768]


@dataclass(frozen=True)
class BackboneConfig:
    """BEiT. `taps`: after how many layers the neck looks. `table_window`: patches along one side that the bias tables are for."""

    width: int
    mlp_width: int
    layers: int
    heads: int
    patch_size_px: int
    table_window: int
    norm_eps: float
    taps: tuple[int, ...]
    layer_scale: bool
    layer_bias: bool
    shared_bias: bool

    @property
    def grid(self) -> int:
        """Patches along one side of the padded and resized picture."""
        return INPUT_PX // self.patch_size_px

    @property
    def tokens(self) -> int:
        """Patches and the CLS token, which comes first."""
        return self.grid**2 + 1

    @property
    def table_rows(self) -> int:
        """One per distance between patches, and three for CLS."""
        return (2 * self.table_window - 1) ** 2 + 3


@dataclass(frozen=True)
class RouterConfig:
    """The transformer that chooses a head. `layers` may be more than are run."""

    layers: int
    mlp_width: int
    heads: int


@dataclass(frozen=True)
class HeadConfig:
    """One metric head. `at`: what its tensors' names have after the part's name; empty where it is the only head."""

    at: str
    bins: int


@dataclass(frozen=True)
class ZoeConfig:
    """`neck[s]` goes with `factors[s]`; both are in the order of the backbone's taps. `attractors`: how many at each level."""

    backbone: BackboneConfig
    neck: tuple[int, ...]
    factors: tuple[float, ...]
    fusion_width: int
    fusion_bias: bool
    relative_width: int
    embedding_width: int
    attractors: tuple[int, ...]
    attractor_mean: bool
    temperatures: tuple[float, float]
    heads: tuple[HeadConfig, ...]
    router: RouterConfig | None

    @property
    def stage_sides(self) -> tuple[int, ...]:
        """Side of the map that the neck makes of each tap."""
        grid = self.backbone.grid
        return tuple(int(grid * factor) if factor >= 1 else (grid - 1) // int(1 / factor) + 1 for factor in self.factors)

    @property
    def fused_sides(self) -> tuple[int, ...]:
        """Sides of the fused maps, coarsest first: each is twice the one before it."""
        return tuple(self.stage_sides[-1] << doubled for doubled in range(1, len(self.neck) + 1))

    @property
    def output_side(self) -> int:
        """Side of the predicted depth."""
        return 2 * self.fused_sides[-1]

    @property
    def levels(self) -> int:
        """Fused maps that the metric head looks at, coarsest first."""
        return min(PROJECTED_LEVELS_MAX, len(self.attractors), len(self.neck))

    @property
    def chosen_from(self) -> tuple[HeadConfig, ...]:
        """The heads that can be chosen: the router of transformers has two outputs."""
        return self.heads[:ROUTED_HEADS]

    @property
    def seed_mlp_width(self) -> int:
        return self.embedding_width // 2 if self.router else 256

    @property
    def projector_mlp_width(self) -> int:
        return self.embedding_width // 2 if self.router else 128

    @property
    def binomial_inputs(self) -> int:
        """Relative features (and, where there is one head, the relative depth) before the bin embedding."""
        return self.relative_width + (0 if self.router else 1)

    @property
    def binomial_width(self) -> int:
        return (self.binomial_inputs + self.embedding_width) // (4 if self.router else 2)


def read_zoe_config(fields: Fields) -> ZoeConfig:
    """All of it, or the first thing that is wrong."""
    if fields.has("model_type"):
        fields.choice("model_type", ("zoedepth",))
    for name in ("use_pretrained_backbone", "add_projection", "use_batch_norm_in_fusion_residual"):
        if fields.boolean(name, False):
            fields.refuse(name, "false", "estimators with it are not supported")
    if fields.has("backbone"):
        fields.refuse("backbone", "null, with a backbone_config", "named backbones are not supported")
    fields.choice("readout_type", ("project",), "project")
    fields.choice("hidden_act", ("gelu",), "gelu")
    fields.choice("bin_centers_type", ("softplus",), "softplus")
    neck = _integers(fields, "neck_hidden_sizes", NECK_DEFAULT)
    backbone = _backbone(fields.child("backbone_config") if fields.has("backbone_config") else _default_backbone(fields))
    if len(backbone.taps) != len(neck):
        fields.refuse("neck_hidden_sizes", f"{len(backbone.taps)} sizes, one per output of the backbone {list(backbone.taps)}", "repair it")
    if fields.integer("head_in_index", -1, low=-1) not in (-1, len(neck) - 1):
        fields.refuse("head_in_index", "-1, the last fused map", "estimators that read another one are not supported")
    fusion = fields.integer("fusion_hidden_size", 256, low=2)
    if fields.integer("bottleneck_features", 256) != fusion:
        fields.refuse("bottleneck_features", f"fusion_hidden_size {fusion}", "repair config.json")
    heads = _heads(fields)
    levels = _integers(fields, "num_attractors", [16, 8, 4, 1])
    if len(heads) == 1 and len(levels) < PROJECTED_LEVELS_MAX:
        fields.refuse("num_attractors", f"{PROJECTED_LEVELS_MAX} counts or more", "repair config.json")
    counts = levels[:PROJECTED_LEVELS_MAX] if len(heads) == 1 else (ATTRACTORS_OF_SEVERAL_HEADS,) * len(levels)
    return ZoeConfig(
        backbone=backbone,
        neck=neck,
        factors=_factors(fields, len(neck)),
        fusion_width=fusion,
        fusion_bias=fields.boolean("use_bias_in_fusion_residual", True) if fields.has("use_bias_in_fusion_residual") else True,
        relative_width=fields.integer("num_relative_features", 32),
        embedding_width=fields.integer("bin_embedding_dim", 128, low=2),
        attractors=counts,
        attractor_mean=fields.choice("attractor_kind", ("mean", "sum"), "mean") == "mean",
        temperatures=(fields.number("min_temp", 0.0212), fields.number("max_temp", 50.0)),
        heads=heads,
        router=_router(fields) if len(heads) > 1 else None,
    )


def _default_backbone(fields: Fields) -> Fields:
    return Fields(dict(BEIT_LARGE), f"{fields.where} backbone_config (default)")


def _backbone(fields: Fields) -> BackboneConfig:
    fields.choice("model_type", ("beit",), "beit")
    fields.choice("hidden_act", ("gelu",), "gelu")
    for name, needed, default in (
        ("use_absolute_position_embeddings", False, False),
        ("add_fpn", False, False),
        ("reshape_hidden_states", False, True),
    ):
        if fields.boolean(name, default) is not needed:
            word = str(needed).lower()
            raise CheckpointError(f"{fields.where} {name} is {not needed}", word, f"only estimators with {name} {word} are supported")
    if fields.integer("num_channels", 3) != 3:
        fields.refuse("num_channels", "3 (red, green, blue)", "repair config.json")
    width, heads = fields.integer("hidden_size", 768), fields.integer("num_attention_heads", 12)
    if width % heads:
        fields.refuse("num_attention_heads", f"a divisor of hidden_size {width}", "repair config.json")
    patch, layers = fields.integer("patch_size", 16, high=INPUT_PX), fields.integer("num_hidden_layers", 12)
    image = fields.integer("image_size", 224)
    if image < patch:
        fields.refuse("image_size", f"at least patch_size {patch}", "repair config.json")
    return BackboneConfig(
        width=width,
        mlp_width=fields.integer("intermediate_size", 3072),
        layers=layers,
        heads=heads,
        patch_size_px=patch,
        table_window=image // patch,
        norm_eps=fields.number("layer_norm_eps", 1e-12),
        taps=_taps(fields, layers),
        layer_scale=_layer_scale(fields),
        layer_bias=fields.boolean("use_relative_position_bias", False),
        shared_bias=fields.boolean("use_shared_relative_position_bias", False),
    )


def _layer_scale(fields: Fields) -> bool:
    """Only its sign matters: the learned vectors are there or not."""
    value = fields.values.get("layer_scale_init_value", 0.1)
    if isinstance(value, bool) or not isinstance(value, int | float):
        fields.refuse("layer_scale_init_value", "a number", "repair config.json")
    return value > 0


def _taps(fields: Fields, layers: int) -> tuple[int, ...]:
    """`out_features` or `out_indices`; 0 is the embeddings ("stem"), n is after layer n. The last layer where neither is given."""
    names = ["stem", *(f"stage{layer}" for layer in range(1, layers + 1))]
    features, indices = fields.values.get("out_features"), fields.values.get("out_indices")
    if features is None and indices is None:
        return (layers,)
    if features is not None:
        if not isinstance(features, list) or not all(feature in names for feature in features):
            fields.refuse("out_features", f"names of {names[0]}, {names[1]} … {names[-1]}", "repair config.json")
        taps = [names.index(feature) for feature in features]
    if indices is not None:
        known = isinstance(indices, list) and all(isinstance(index, int) and -len(names) <= index < len(names) for index in indices)
        positive = [index % len(names) for index in indices] if known else None
        if not known or (features is not None and positive != taps):
            fields.refuse("out_indices", f"indices of {len(names)} stages that agree with out_features", "repair config.json")
        taps = positive
    if not taps or sorted(set(taps)) != taps:
        fields.refuse("out_features" if features is not None else "out_indices", "ascending stages", "repair config.json")
    return tuple(taps)


def _factors(fields: Fields, stages: int) -> tuple[float, ...]:
    """Above 1: a transposed convolution of that size. 1: nothing. Below 1: a 3x3 convolution of stride 1 / factor."""
    factors = fields.values.get("reassemble_factors", [4, 2, 1, 0.5])
    if not isinstance(factors, list) or len(factors) != stages:
        fields.refuse("reassemble_factors", f"{stages} factors, one per size in neck_hidden_sizes", "repair config.json")
    for factor in factors:
        whole = not isinstance(factor, bool) and isinstance(factor, int | float) and factor > 0 and (factor < 1 or factor == int(factor))
        if not whole:
            fields.refuse("reassemble_factors", "whole numbers, or fractions below 1", "repair config.json")
    return tuple(factors)


def _heads(fields: Fields) -> tuple[HeadConfig, ...]:
    listed = fields.values.get("bin_configurations", [{"n_bins": 64}])
    if not isinstance(listed, list) or not listed:
        fields.refuse("bin_configurations", "a list of heads", "repair config.json")
    heads = []
    for number, values in enumerate(listed):
        entry = Fields(values, f"{fields.where} bin_configurations[{number}]")
        name = entry.values.get("name")
        if len(listed) > 1 and not (isinstance(name, str) and name):
            entry.refuse("name", "the name of the head", "repair config.json")
        heads.append(HeadConfig(f".{name}" if len(listed) > 1 else "", entry.integer("n_bins", high=1 << 16)))
    if len({head.at for head in heads}) != len(heads):
        fields.refuse("bin_configurations", "heads of different names", "repair config.json")
    return tuple(heads)


def _router(fields: Fields) -> RouterConfig:
    layers = fields.integer("num_patch_transformer_layers")
    if layers < ROUTER_LAYERS_RUN:
        fields.refuse("num_patch_transformer_layers", f"at least the {ROUTER_LAYERS_RUN} that transformers runs", "repair config.json")
    if fields.integer("patch_transformer_hidden_size") != ROUTER_WIDTH:
        fields.refuse("patch_transformer_hidden_size", f"{ROUTER_WIDTH}, which the classifier of transformers is built for", "repair it")
    heads = fields.integer("patch_transformer_num_attention_heads")
    if ROUTER_WIDTH % heads:
        fields.refuse("patch_transformer_num_attention_heads", f"a divisor of {ROUTER_WIDTH}", "repair config.json")
    return RouterConfig(layers, fields.integer("patch_transformer_intermediate_size"), heads)


def _integers(fields: Fields, name: str, default: list[int]) -> tuple[int, ...]:
    values: Any = fields.values.get(name, default)
    if values is None:
        raise MissingError(f"{fields.where} has no {name}", "it in the file", "use the files of one complete checkpoint")
    if not isinstance(values, list) or not values or not all(isinstance(value, int) and value > 0 for value in values):
        fields.refuse(name, "a list of whole numbers above 0", "repair config.json")
    return tuple(values)
