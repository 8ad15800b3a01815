"""OpenVLA's side of measuring a precision: observations to golden cases, ids to actions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tokenizers import Tokenizer

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.measured import Stages, Subject
from egogrid_export.observations import INSTRUCTIONS, Observation
from egogrid_export.openvla.actions import normalized_actions, whole_prefix
from egogrid_export.openvla.cases import Case
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.golden import as_stored, golden_tensors
from egogrid_export.openvla.processor import ProcessorConfig
from egogrid_export.openvla.reference import Reference


def subject(checkpoint: Checkpoint, config: ModelConfig, processor: ProcessorConfig, tokenizer: Tokenizer) -> Subject:
    """With the checkpoint's first statistics key."""
    key = next(iter(processor.statistics))
    dims = processor.dims(key)

    def reference() -> Callable[[Observation], Stages]:
        network = Reference(checkpoint, config)

        def stages(seen: Observation) -> Stages:
            case = Case(seen.picture, INSTRUCTIONS[seen.instruction], key)
            return as_stored(golden_tensors(case, config, processor, tokenizer, network), config)

        return stages

    return Subject(
        layers=config.text.layers,
        tokens=dims,
        kept=("pixel_values",),
        vision_inputs=lambda stages, _: {"pixel_values": stages["pixel_values"]},
        reference=reference,
        whole_prefix=lambda ids: whole_prefix(config, ids),
        normalized=lambda ids: normalized_actions(config, ids, dims),
        inputs={"stats_key": np.frombuffer(key.encode(), dtype=np.uint8)},
        depth=None,
    )
