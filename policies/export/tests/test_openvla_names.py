"""The released models' tensors, by name and shape only: the configuration explains every one, and a wrong one is found."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from openvla_official import Official

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError, ExportError, MissingError
from egogrid_export.openvla.config import ModelConfig, read_config
from egogrid_export.openvla.prompt import choose_prompt
from egogrid_export.openvla.tensor_names import check_tensors, tensor_shapes

# As released: all else is left to defaults.
TEXT = {"model_type": "llama", "pad_token_id": 32000, "torch_dtype": "bfloat16", "vocab_size": 32064}
CONFIGS = {
    "openvla-7b": {
        "model_type": "openvla", "arch_specifier": "no-align+fused-gelu-mlp", "image_sizes": [224, 224],
        "llm_backbone_id": "llama2-7b-pure",
        "n_action_bins": 256, "pad_to_multiple_of": 64, "text_config": TEXT, "timm_override_act_layers": [None, None],
        "timm_model_ids": ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"],
        "use_fused_vision_backbone": True, "vision_backbone_id": "dinosiglip-vit-so-224px",
    },
    "openvla-v01-7b": {
        "model_type": "openvla", "arch_specifier": "no-align+gelu-mlp", "image_sizes": [224], "llm_backbone_id": "vicuna-v15-7b",
        "n_action_bins": 256, "pad_to_multiple_of": 64, "text_config": TEXT, "timm_override_act_layers": [None],
        "timm_model_ids": ["vit_so400m_patch14_siglip_224"], "use_fused_vision_backbone": False, "vision_backbone_id": "siglip-vit-so400m",
    },
}  # fmt: skip


class NamesOnly(Checkpoint):
    """A checkpoint that has names and shapes and no data."""

    def __init__(self, directory: Path, shapes: dict[str, tuple[int, ...]]) -> None:
        self.directory, self.shards = directory, ["model.safetensors"]
        self._shape_of, self._dtype_of = dict(shapes), dict.fromkeys(shapes, "BF16")


@pytest.fixture(params=CONFIGS)
def released(request: pytest.FixtureRequest, official: Official, tmp_path: Path) -> tuple[str, NamesOnly, ModelConfig, dict]:
    about = official.json(f"real_state_dict_keys_{request.param}.json")
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[request.param]))
    checkpoint = NamesOnly(tmp_path, {name: tuple(shape) for name, shape in about["keys"]})
    return request.param, checkpoint, read_config(checkpoint), about


def test_the_configuration_explains_every_tensor_of_the_released_models(released) -> None:
    name, checkpoint, config, about = released
    assert len(checkpoint.names()) == len(about["keys"])
    assert sum(math.prod(checkpoint.shape(tensor)) for tensor in checkpoint.names()) == about["total_parameters"]
    check_tensors(checkpoint, config)
    prompt, _ = choose_prompt(config, name, None)
    assert prompt.name == ("v01" if "v01" in name else "openvla")
    assert (config.text.norm_eps, config.patches, config.action_end_id) == (1e-6, 256, 32000)


def test_a_tensor_that_is_missing_of_another_shape_or_unexplained_is_named(released) -> None:
    _, checkpoint, config, _ = released
    for name in list(tensor_shapes(config))[::37]:
        shape = checkpoint._shape_of.pop(name)
        with pytest.raises(MissingError, match=name.replace(".", r"\.")):
            check_tensors(checkpoint, config)
        checkpoint._shape_of[name] = (*shape[:-1], shape[-1] + 1)
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            check_tensors(checkpoint, config)
        checkpoint._shape_of[name] = shape
    for name in ("vision_backbone.featurizer.blocks.99.norm1.weight", "language_model.model.layers.32.mlp.up_proj.weight", "extra"):
        checkpoint._shape_of[name] = (3,)
        checkpoint._dtype_of[name] = "BF16"
        with pytest.raises(CheckpointError, match=f"tensor {name}"):
            check_tensors(checkpoint, config)
        del checkpoint._shape_of[name]


def test_blocks_and_heads_that_are_not_used_may_be_missing(released) -> None:
    """Some tools drop them; the official code computes them and throws the result away."""
    _, checkpoint, config, _ = released
    unused = [name for name in checkpoint.names() if name not in tensor_shapes(config)]
    assert any("attn_pool" in name for name in unused) and any("blocks.26." in name for name in unused)
    for name in unused:
        del checkpoint._shape_of[name]
    check_tensors(checkpoint, config)


def test_weights_of_one_version_do_not_fit_the_other(official: Official, tmp_path: Path) -> None:
    for config_of, weights_of in (("openvla-7b", "openvla-v01-7b"), ("openvla-v01-7b", "openvla-7b")):
        (tmp_path / "config.json").write_text(json.dumps(CONFIGS[config_of]))
        keys = official.json(f"real_state_dict_keys_{weights_of}.json")["keys"]
        checkpoint = NamesOnly(tmp_path, {name: tuple(shape) for name, shape in keys})
        with pytest.raises(ExportError, match=r"featurizer"):
            check_tensors(checkpoint, read_config(checkpoint))
