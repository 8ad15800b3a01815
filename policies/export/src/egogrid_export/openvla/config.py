"""What `config.json` and `generation_config.json` of an OpenVLA checkpoint say, as checked types.

Fields that the files leave out have the defaults of transformers 4.40's `LlamaConfig` and of the official `OpenVLAConfig`, because that is
what the official code computes with: the released `text_config` says little more than its vocabulary size, so that the norms' eps is 1e-6
and not Llama 2's 1e-5. What this exporter cannot reproduce is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError
from egogrid_export.extension import control_hz, read_extension
from egogrid_export.fields import Fields
from egogrid_export.openvla.towers import TowerConfig, read_towers
from egogrid_export.tokenizer import generation_id

# Where neither file names them: LlamaConfig's.
BOS_ID, EOS_ID = 1, 2
# As far as the runtime goes.
LAYERS_MAX = 256
LLAMA_BACKBONES = (
    "llama2-7b-pure", "llama2-13b-pure", "llama2-7b-chat", "llama2-13b-chat", "vicuna-v15-7b", "vicuna-v15-13b",
)  # fmt: skip


@dataclass(frozen=True)
class TextConfig:
    """Llama."""

    width: int
    mlp_width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    norm_eps: float
    rope_theta: float
    tied_head: bool

    @property
    def attention_scale(self) -> float:
        return self.head_dim**-0.5


@dataclass(frozen=True)
class ModelConfig:
    """Action id = `action_end_id` - digit, digit 1..=`bins`."""

    text: TextConfig
    towers: tuple[TowerConfig, ...]
    llm_backbone: str
    bins: int
    action_end_id: int
    bos_id: int
    eos_id: int
    control_hz: float | None

    @property
    def image_size_px(self) -> int:
        return self.towers[0].image_size_px

    @property
    def patches(self) -> int:
        return self.towers[0].patches

    @property
    def patch_width(self) -> int:
        """Of a patch of all towers, joined."""
        return sum(tower.width for tower in self.towers)

    @property
    def channels(self) -> int:
        return 3 * len(self.towers)

    @property
    def projector(self) -> list[tuple[str, int, int]]:
        """`(name, outputs, inputs)` of its layers, GELU between them: three for joined towers, two for a single one."""
        inner, width = 4 * self.patch_width, self.text.width
        if len(self.towers) == 1:
            return [("fc1", width, self.patch_width), ("fc2", width, width)]
        return [("fc1", inner, self.patch_width), ("fc2", width, inner), ("fc3", width, width)]


def read_config(checkpoint: Checkpoint) -> ModelConfig:
    """All of it, or the first thing that is wrong."""
    top = Fields(checkpoint.json("config.json"), "config.json")
    text_fields = Fields(top.values.get("text_config") or {}, "config.json text_config")
    text = _text(text_fields)
    bins = top.integer("n_action_bins", 256, low=2, high=1 << 16)
    end = text.vocabulary - top.integer("pad_to_multiple_of", 64, low=0)
    if end - bins < 0:
        raise CheckpointError(
            f"config.json asks for {bins} action ids below {end}",
            f"n_action_bins at most vocab_size {text.vocabulary} - pad_to_multiple_of",
            "use the config.json that belongs to these weights",
        )
    return ModelConfig(
        text=text,
        towers=read_towers(top),
        llm_backbone=top.choice("llm_backbone_id", LLAMA_BACKBONES, "vicuna-v15-7b"),
        bins=bins,
        action_end_id=end,
        bos_id=generation_id(checkpoint, [top, text_fields], "bos_token_id", BOS_ID),
        eos_id=generation_id(checkpoint, [top, text_fields], "eos_token_id", EOS_ID),
        control_hz=control_hz(read_extension(top, {"control_hz"})),
    )


def _text(fields: Fields) -> TextConfig:
    if fields.has("model_type"):
        fields.choice("model_type", ("llama",))
    fields.choice("hidden_act", ("silu",), "silu")
    if fields.boolean("attention_bias", False):
        fields.refuse("attention_bias", "false", "Llama with attention biases is not supported")
    if fields.has("rope_scaling"):
        fields.refuse("rope_scaling", "null", "stretched positions are not supported")
    width, heads = fields.integer("hidden_size", 4096), fields.integer("num_attention_heads", 32)
    kv_heads = fields.integer("num_key_value_heads", heads)
    if width % heads:
        fields.refuse("num_attention_heads", f"a divisor of hidden_size {width}", "repair config.json")
    if heads % kv_heads:
        fields.refuse("num_key_value_heads", f"a divisor of num_attention_heads {heads}", "repair config.json")
    head_dim = width // heads
    if head_dim % 2:
        fields.refuse("num_attention_heads", f"heads of an even width, not {head_dim}, as rotary positions need", "repair config.json")
    if fields.integer("head_dim", head_dim) != head_dim:
        fields.refuse("head_dim", f"{head_dim}, hidden_size / num_attention_heads", "transformers 4.40 knows no other head_dim")
    return TextConfig(
        width=width,
        mlp_width=fields.integer("intermediate_size", 11008),
        layers=fields.integer("num_hidden_layers", 32, high=LAYERS_MAX),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=fields.integer("vocab_size", 32000),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope_theta=fields.number("rope_theta", 10000.0),
        tied_head=fields.boolean("tie_word_embeddings", False),
    )
