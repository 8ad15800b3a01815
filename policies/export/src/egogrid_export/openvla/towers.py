"""Which vision towers a checkpoint has and how big they are.

From: `config.json`, which names timm models. To: `TowerConfig`, one per tower in channel order. The sizes of the models that released
checkpoints name are in `TIMM_MODELS`; for any other name `config.json` must carry `timm_model_args`, the arguments of timm's
`VisionTransformer`, one object per tower. Source: timm 0.9.10 and the official `PrismaticConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass

from egogrid_export.errors import CheckpointError
from egogrid_export.fields import Fields

DINOV2 = {"patch_size": 14, "embed_dim": 1024, "depth": 24, "num_heads": 16, "init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}
SIGLIP = {
    "patch_size": 14, "embed_dim": 1152, "depth": 27, "num_heads": 16, "mlp_ratio": 3.7362, "class_token": False, "global_pool": "map",
}  # fmt: skip
TIMM_MODELS = {
    "vit_large_patch14_reg4_dinov2.lvd142m": DINOV2,
    "vit_so400m_patch14_siglip_224": SIGLIP,
    "vit_so400m_patch14_siglip_384": SIGLIP,
}
# `vision_backbone_id` to timm models and picture sizes, where config.json does not say them itself.
BACKBONES = {
    "siglip-vit-so400m": (["vit_so400m_patch14_siglip_224"], [224]),
    "siglip-vit-so400m-384px": (["vit_so400m_patch14_siglip_384"], [384]),
    "dinov2-vit-l": (["vit_large_patch14_reg4_dinov2.lvd142m"], [224]),
    "dinosiglip-vit-so-224px": (["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"], [224, 224]),
    "dinosiglip-vit-so-384px": (["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_384"], [384, 384]),
}
# Arguments of timm's VisionTransformer: those that are read, and those that change nothing of what is read out of a tower.
ARGUMENTS = {
    "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "init_values", "class_token", "reg_tokens", "no_embed_class", "img_size",
    "in_chans", "qkv_bias", "qk_norm", "pre_norm", "dynamic_img_size",
    "num_classes", "global_pool", "fc_norm", "weight_init", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate",
    "attn_drop_rate", "drop_path_rate",
}  # fmt: skip
# Which layers of a tower are read: all but the last block, whose output the official code throws away.
BLOCKS_UNUSED = 1
PREFIXES = ("vision_backbone.featurizer", "vision_backbone.fused_featurizer")
NORM_EPS = 1e-6
DEPTH_MAX = 256


@dataclass(frozen=True)
class TowerConfig:
    """One vision transformer. `prefix` begins the names of its tensors; `depth` counts all blocks of the file."""

    prefix: str
    timm_id: str
    width: int
    mlp_width: int
    depth: int
    heads: int
    image_size_px: int
    patch_size_px: int
    class_token: bool
    registers: int
    positions_cover_prefix: bool
    layer_scale: bool
    norm_eps: float = NORM_EPS

    @property
    def blocks(self) -> int:
        """How many blocks count, from the first."""
        return self.depth - BLOCKS_UNUSED

    @property
    def grid(self) -> int:
        """Patches along one side; pixels beyond the last whole patch are not seen, as by timm's convolution."""
        return self.image_size_px // self.patch_size_px

    @property
    def patches(self) -> int:
        return self.grid * self.grid

    @property
    def prefix_tokens(self) -> int:
        return self.registers + self.class_token

    @property
    def positions(self) -> int:
        """Rows of `pos_embed`."""
        return self.patches + (self.prefix_tokens if self.positions_cover_prefix else 0)


def read_towers(top: Fields) -> tuple[TowerConfig, ...]:
    """Refuses towers that disagree in picture size or number of patches: their patches are joined one by one."""
    backbone = str(top.values.get("vision_backbone_id") or "siglip-vit-so400m")
    ids, sizes = BACKBONES.get(backbone, (None, None))
    fused = top.boolean("use_fused_vision_backbone", backbone.startswith(("dinoclip", "dinosiglip")))
    count = 2 if fused else 1
    names = _list(top, "timm_model_ids", ids, count, "a timm model")
    sizes_px = _list(top, "image_sizes", sizes, count, "a picture size")
    if top.has("timm_override_act_layers"):
        overrides = top.values["timm_override_act_layers"]
        if not isinstance(overrides, list) or any(layer is not None for layer in overrides):
            top.refuse("timm_override_act_layers", "null for every tower", "towers with another activation are not supported")
    towers = tuple(_tower(top, index, names[index], sizes_px[index]) for index in range(count))
    first = towers[0]
    for tower in towers[1:]:
        if (tower.patches, tower.image_size_px) != (first.patches, first.image_size_px):
            raise CheckpointError(
                f"{tower.timm_id} sees {tower.patches} patches of {tower.image_size_px} px",
                f"{first.patches} of {first.image_size_px} px, as {first.timm_id}",
                "use the config.json that belongs to these weights",
            )
    return towers


def _list(top: Fields, name: str, default: list | None, count: int, what: str) -> list:
    values = top.values.get(name, default)
    if values is None:
        expected = f"it in the file, or one of {sorted(BACKBONES)}"
        raise CheckpointError(f"config.json has no {name}, and its vision_backbone_id is not known", expected, "add it")
    if not isinstance(values, list) or len(values) != count:
        top.refuse(name, f"{count} × {what}, one per tower", "use the config.json that belongs to these weights")
    return values


def _tower(top: Fields, index: int, timm_id: object, size_px: object) -> TowerConfig:
    fields = _arguments(top, index, timm_id)
    size_px = Fields({"image_sizes": size_px}, "config.json").integer("image_sizes", low=1, high=4096)
    if fields.has("img_size") and fields.integer("img_size") != size_px:
        fields.refuse("img_size", f"{size_px}, from image_sizes", "correct one of them")
    for name, needed in (("qkv_bias", True), ("qk_norm", False), ("pre_norm", False), ("dynamic_img_size", False)):
        if fields.boolean(name, needed) is not needed:
            fields.refuse(name, str(needed).lower(), "other towers are not supported")
    if fields.integer("in_chans", 3) != 3:
        fields.refuse("in_chans", "3 (red, green, blue)", "other towers are not supported")
    width, heads = (fields.integer(name, high=1 << 16) for name in ("embed_dim", "num_heads"))
    depth = fields.integer("depth", high=DEPTH_MAX)
    if width % heads:
        fields.refuse("num_heads", f"a divisor of embed_dim {width}", "correct it")
    if depth <= BLOCKS_UNUSED:
        fields.refuse("depth", "at least 2: the last block is not used", "correct it")
    patch_px = fields.integer("patch_size", 16, high=size_px)
    return TowerConfig(
        prefix=PREFIXES[index],
        timm_id=str(timm_id),
        width=width,
        mlp_width=int(width * fields.number("mlp_ratio", 4.0)),
        depth=depth,
        heads=heads,
        image_size_px=size_px,
        patch_size_px=patch_px,
        class_token=fields.boolean("class_token", True),
        registers=fields.integer("reg_tokens", 0, low=0, high=1024),
        positions_cover_prefix=not fields.boolean("no_embed_class", False),
        layer_scale=_layer_scale(fields),
    )


def _layer_scale(fields: Fields) -> bool:
    """timm has LayerScale where the value is neither null nor 0; the value itself is only what training began with."""
    value = fields.values.get("init_values")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        fields.refuse("init_values", "a number, or null for no LayerScale", "correct it")
    return bool(value)


def _arguments(top: Fields, index: int, timm_id: object) -> Fields:
    """`timm_model_args` of config.json where it has them, else the table's."""
    where = f"config.json timm_model_args[{index}]"
    given = top.values.get("timm_model_args")
    if given is not None:
        if not isinstance(given, list) or index >= len(given):
            top.refuse("timm_model_args", "one object per tower", "repair config.json")
        fields = Fields(given[index], where)
        fields.only(ARGUMENTS)
        return fields
    if not isinstance(timm_id, str) or timm_id not in TIMM_MODELS:
        raise CheckpointError(
            f"config.json timm_model_ids[{index}] is {timm_id!r}",
            f"one of {sorted(TIMM_MODELS)}, or timm_model_args with the arguments of its VisionTransformer",
            "add timm_model_args: one object per tower with patch_size, embed_dim, depth, num_heads, …",
        )
    return Fields(TIMM_MODELS[timm_id], f"timm's {timm_id}")
