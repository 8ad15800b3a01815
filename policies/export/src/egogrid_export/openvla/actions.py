"""Token ids to normalized actions, float64: the reference for the Rust side.

From: generated vocabulary ids, one per dimension. To: `normalized [1, dims]`. Source: the official `ActionTokenizer` and `predict_action`,
but for what they clip: an id that is no action, the end token too, gives None here, never a guess.
"""

from __future__ import annotations

import numpy as np

from egogrid_export.openvla.config import ModelConfig


def whole_prefix(config: ModelConfig, token_ids: list[int]) -> int:
    """How many ids from the start are action ids."""
    first = config.action_end_id - config.bins
    for position, token_id in enumerate(token_ids):
        if not first <= token_id < config.action_end_id:
            return position
    return len(token_ids)


def normalized_actions(config: ModelConfig, token_ids: list[int], dims: int) -> np.ndarray | None:
    """`[1, dims]`, or None where the ids are not `dims` action ids.

    `bins` edges make `bins - 1` centres; the last two digits both mean the last centre, because training wrote 1.0 as the last digit.
    """
    if len(token_ids) != dims or whole_prefix(config, token_ids) != dims:
        return None
    edges = np.linspace(-1.0, 1.0, config.bins)
    centers = (edges[:-1] + edges[1:]) / 2.0
    digits = config.action_end_id - np.array(token_ids)
    return centers[np.minimum(digits - 1, len(centers) - 1)][None]


def ending(config: ModelConfig, token_ids: list[int]) -> str | None:
    """How a generation ended that is no action: `early_end` at the end token, `wrong_kind` at any other id; None where all are actions."""
    position = whole_prefix(config, token_ids)
    if position == len(token_ids):
        return None
    return "early_end" if token_ids[position] == config.eos_id else "wrong_kind"
