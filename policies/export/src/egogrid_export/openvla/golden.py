"""Golden tensors of a bundle: every stage of every case, from the numpy reference. Names: `policies/BUNDLE.md`."""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer

from egogrid_export.errors import CheckpointError
from egogrid_export.openvla.actions import normalized_actions, whole_prefix
from egogrid_export.openvla.cases import Case
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.images import pixel_values
from egogrid_export.openvla.processor import ProcessorConfig, prompt_ids
from egogrid_export.openvla.reference import Reference
from egogrid_export.statistics import physical_actions


def golden_tensors(
    case: Case, config: ModelConfig, processor: ProcessorConfig, tokenizer: Tokenizer, reference: Reference
) -> dict[str, np.ndarray]:
    """All tensors of one case, without the `case{N}.` in front."""
    pixels = pixel_values(case.picture, processor.image)
    patches = reference.patch_features(pixels)
    features = reference.image_features(patches)
    tensors = {
        "image_u8": case.picture,
        "instruction": _text(case.instruction),
        "stats_key": _text(case.stats_key),
        "pixel_values": pixels,
        "patch_features": patches,
        "image_features": features,
    }
    text_ids = prompt_ids(tokenizer, config, processor.prompt, case.instruction)
    if len(text_ids) > processor.text_tokens_max:
        raise CheckpointError(
            f"the instruction {case.instruction[:40]!r}… makes a prompt of {len(text_ids)} tokens",
            f"at most {processor.text_tokens_max}",
            "shorten it",
        )
    dims = processor.dims(case.stats_key)
    generation = reference.generate(features, text_ids, dims)
    tensors |= {"text_ids": text_ids, "token_ids": np.array(generation.token_ids, dtype=np.int64)}
    tensors |= {f"step{step}_logits": logits for step, logits in enumerate(generation.logits)}
    normalized = normalized_actions(config, generation.token_ids, dims)
    if normalized is not None:
        tensors |= {"normalized": normalized, "actions": physical_actions(normalized, processor.statistics[case.stats_key]["action"])}
    return tensors


def as_stored(tensors: dict[str, np.ndarray], config: ModelConfig) -> dict[str, np.ndarray]:
    """Without what follows the first id that is no action: there the runtime stops."""
    token_ids = tensors["token_ids"].tolist()
    kept = whole_prefix(config, token_ids) + 1
    dropped = {f"step{step}_logits" for step in range(kept, len(token_ids))}
    stored = {name: tensor for name, tensor in tensors.items() if name not in dropped}
    return stored | {"token_ids": tensors["token_ids"][:kept]}


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
