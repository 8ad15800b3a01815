"""What `config.json`, `preprocessor_config.json` and `generation_config.json` of a SpatialVLA checkpoint say, as checked types.

Fields that the files leave out have the defaults of transformers 4.47 (`Gemma2Config`, `SiglipVisionConfig`) and of the official
`SpatialVLAConfig`, because that is what the official code computes with. What this exporter cannot reproduce is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError
from egogrid_export.extension import control_hz, read_extension
from egogrid_export.fields import Fields
from egogrid_export.options import DEPTH_CHOICES
from egogrid_export.spatialvla.zoe_config import PAD_PX, ZoeConfig, read_zoe_config
from egogrid_export.tokenizer import generation_id

PILLOW_BICUBIC = 3
# As far as the runtime goes.
SAMPLES_PER_SIDE_MAX, FREQUENCIES_MAX = 16, 16
TANH_GELU = ("gelu_pytorch_tanh",)
EXTENSION_KEYS = {"ablation_ego3d", "ego3d_frame", "ego3d_center_m", "ego3d_scale_m", "depth_source", "control_hz", "steps_executed"}


@dataclass(frozen=True)
class TextConfig:
    """Gemma2. A soft-cap of None means that there is none."""

    width: int
    mlp_width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    norm_eps: float
    rope_theta: float
    attention_scale: float
    attention_softcap: float | None
    final_softcap: float | None
    sliding_window: int
    tied_head: bool


@dataclass(frozen=True)
class VisionConfig:
    """SigLIP without its pooling head."""

    width: int
    mlp_width: int
    layers: int
    heads: int
    channels: int
    image_size_px: int
    patch_size_px: int
    norm_eps: float

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size_px // self.patch_size_px

    @property
    def patches(self) -> int:
        return self.grid * self.grid


@dataclass(frozen=True)
class Ego3dConfig:
    """Where the points live and how they are encoded. The official values are camera, (0, 0, 2), 2."""

    samples_per_patch_side: int
    frequency_count: int
    frame: str
    center_m: tuple[float, float, float]
    scale_m: float

    @property
    def encoding_width(self) -> int:
        return self.samples_per_patch_side**2 * 3 * (1 + 2 * self.frequency_count)


@dataclass(frozen=True)
class ModelConfig:
    """`depth_sources` of the bundle; `zoe` where "estimated" is one of them."""

    text: TextConfig
    vision: VisionConfig
    ego3d: Ego3dConfig
    depth_sources: tuple[str, ...]
    zoe: ZoeConfig | None
    action_begin_id: int
    image_token_id: int
    bos_id: int
    eos_id: int
    spatial_tokens: int
    use_spatial_tokens: bool
    rescale: float
    control_hz: float | None
    steps_executed: int | None
    without_ego3d: bool
    """Trained without position encoding, for a comparison: what it adds must be zero."""


def read_config(checkpoint: Checkpoint, depth: str | None = None) -> ModelConfig:
    """All of it, or the first thing that is wrong. `depth`: a key of `DEPTH_CHOICES`, None for what the checkpoint was trained with."""
    top = Fields(checkpoint.json("config.json"), "config.json")
    if top.has("model_type"):
        top.choice("model_type", ("spatialvla",))
    text = _text(top.child("text_config"))
    vision = _vision(top.child("vision_config"))
    if top.integer("projection_dim", 2048) != text.width:
        top.refuse("projection_dim", f"text_config hidden_size {text.width}", "repair config.json")
    extension = read_extension(top, EXTENSION_KEYS)
    depth_source = extension.choice("depth_source", ("sensor", "estimated"), "estimated")
    # The official code has 3-D positions only together with its depth estimator; ours may have learned them from a sensor.
    if not top.boolean("use_vision_zoe", True) and depth_source != "sensor":
        top.refuse("use_vision_zoe", 'true, or egogrid depth_source "sensor"', "a model without 3-D positions is not supported")
    sources = DEPTH_CHOICES[depth or depth_source]
    return ModelConfig(
        text=text,
        vision=vision,
        ego3d=_ego3d(top, extension, vision),
        depth_sources=sources,
        zoe=_zoe(top, vision) if "estimated" in sources else None,
        action_begin_id=top.integer("action_token_begin_idx", low=0),
        image_token_id=top.integer("image_token_index", 256000, low=0),
        bos_id=generation_id(checkpoint, [top], "bos_token_id"),
        eos_id=generation_id(checkpoint, [top], "eos_token_id"),
        spatial_tokens=top.integer("spatial_token_num", 259),
        use_spatial_tokens=top.boolean("use_spatial_token", False),
        rescale=_rescale(checkpoint, vision),
        control_hz=control_hz(extension),
        steps_executed=extension.integer("steps_executed") if extension.has("steps_executed") else None,
        without_ego3d=extension.values.get("ablation_ego3d") is False,
    )


def _zoe(top: Fields, vision: VisionConfig) -> ZoeConfig:
    if not top.boolean("use_vision_zoe", True):
        top.refuse("use_vision_zoe", "true, for depth from the estimator", "export with --depth sensor")
    if vision.image_size_px <= PAD_PX:
        raise CheckpointError(
            f"vision_config image_size is {vision.image_size_px}", f"more than the {PAD_PX} px by which the estimator mirrors its edges",
            "export with --depth sensor",
        )  # fmt: skip
    return read_zoe_config(top.child("vision_zoe_config"))


def _text(fields: Fields) -> TextConfig:
    if fields.has("model_type"):
        fields.choice("model_type", ("gemma2",))
    fields.choice("hidden_activation", TANH_GELU, TANH_GELU[0])
    if fields.boolean("attention_bias", False):
        fields.refuse("attention_bias", "false", "Gemma2 with attention biases is not supported")
    heads, kv_heads = fields.integer("num_attention_heads", 8), fields.integer("num_key_value_heads", 4)
    if heads % kv_heads:
        fields.refuse("num_key_value_heads", f"a divisor of num_attention_heads {heads}", "repair config.json")
    head_dim = fields.integer("head_dim", 256)
    if head_dim % 2:
        fields.refuse("head_dim", "an even number, as rotary positions need", "repair config.json")
    return TextConfig(
        width=fields.integer("hidden_size", 2304),
        mlp_width=fields.integer("intermediate_size", 9216),
        layers=fields.integer("num_hidden_layers", 26),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=fields.integer("vocab_size", 256000),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope_theta=fields.number("rope_theta", 10000.0),
        attention_scale=fields.number("query_pre_attn_scalar", 256) ** -0.5,
        attention_softcap=_softcap(fields, "attn_logit_softcapping", 50.0),
        final_softcap=_softcap(fields, "final_logit_softcapping", 30.0),
        sliding_window=fields.integer("sliding_window", 4096),
        tied_head=fields.boolean("tie_word_embeddings", True),
    )


def _softcap(fields: Fields, name: str, default: float) -> float | None:
    """A null in the file switches the cap off; a missing field is the default."""
    if name in fields.values and fields.values[name] is None:
        return None
    return fields.number(name, default)


def _vision(fields: Fields) -> VisionConfig:
    if fields.has("model_type"):
        fields.choice("model_type", ("siglip_vision_model",))
    fields.choice("hidden_act", TANH_GELU, TANH_GELU[0])
    vision = VisionConfig(
        width=fields.integer("hidden_size", 768),
        mlp_width=fields.integer("intermediate_size", 3072),
        layers=fields.integer("num_hidden_layers", 12),
        heads=fields.integer("num_attention_heads", 12),
        channels=fields.integer("num_channels", 3),
        image_size_px=fields.integer("image_size", 224),
        patch_size_px=fields.integer("patch_size", 16),
        norm_eps=fields.number("layer_norm_eps", 1e-6),
    )
    if vision.width % vision.heads:
        fields.refuse("num_attention_heads", f"a divisor of hidden_size {vision.width}", "repair config.json")
    if vision.image_size_px % vision.patch_size_px:
        fields.refuse("patch_size", f"a divisor of image_size {vision.image_size_px}", "repair config.json")
    if vision.channels != 3:
        fields.refuse("num_channels", "3 (red, green, blue)", "repair config.json")
    return vision


def _ego3d(top: Fields, extension: Fields, vision: VisionConfig) -> Ego3dConfig:
    samples = top.integer("ego3d_patch_reso", 4, high=SAMPLES_PER_SIDE_MAX)
    if vision.patch_size_px % samples:
        top.refuse(
            "ego3d_patch_reso",
            f"a divisor of patch_size {vision.patch_size_px} (4 where the field is missing)",
            "repair config.json",
        )
    return Ego3dConfig(
        samples_per_patch_side=samples,
        frequency_count=top.integer("n_freqs", 8, high=FREQUENCIES_MAX),
        frame=extension.choice("ego3d_frame", ("camera", "base"), "camera"),
        center_m=tuple(extension.vector("ego3d_center_m", 3, [0.0, 0.0, 2.0])),
        scale_m=extension.number("ego3d_scale_m", 2.0),
    )


def _rescale(checkpoint: Checkpoint, vision: VisionConfig) -> float:
    """The picture must be prepared as `perception` does it: any size to a square by Pillow's bicubic, then one factor."""
    fields = Fields(checkpoint.json("preprocessor_config.json"), "preprocessor_config.json")
    size = fields.child("size") if fields.has("size") else Fields({"height": 224, "width": 224}, f"{fields.where} size (default)")
    for side in ("height", "width"):
        if size.integer(side) != vision.image_size_px:
            size.refuse(side, f"vision_config image_size {vision.image_size_px}", "use files of one checkpoint")
    if fields.has("image_seq_length") and fields.integer("image_seq_length") != vision.patches:
        fields.refuse("image_seq_length", f"{vision.patches}, one per patch", "use files of one checkpoint")
    for name, needed, default in (("do_resize", True, True), ("do_rescale", True, True), ("do_normalize", False, True)):
        if fields.boolean(name, default) is not needed:
            raise CheckpointError(f"preprocessor_config.json {name} is {not needed}", str(needed), "other preprocessing is not supported")
    if fields.integer("resample", PILLOW_BICUBIC, low=0) != PILLOW_BICUBIC:
        fields.refuse("resample", f"{PILLOW_BICUBIC} (Pillow's bicubic)", "other filters are not supported")
    return fields.number("rescale_factor", 1 / 255)
