"""Runs the graphs that were just written on the golden cases and compares every stage with the reference.

Each graph gets the reference's inputs, so that a difference names the graph that made it. One graph is loaded at a time. Needs onnxruntime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from egogrid_export.graphcheck import check_language, check_language_batched, compare, label, session
from egogrid_export.precision import Precision

# Where bins and attractors meet, the estimator multiplies rounding by thousands: two runs of PyTorch differ by centimetres at a few pixels.
# This share of the pixels must be within the larger tolerance of the two.
DEPTH_SHARE, DEPTH_TOLERANCE = 0.99, 1e-3

# Parts before their sum, so that the message names the part.
VISION_STAGES = ["pos_embed_3d", "siglip_last_hidden", "image_features"]


def check_graphs(directory: Path, layers: int, cases: list[dict[str, np.ndarray]], precision: Precision, batch: int | None) -> dict[str, float]:
    """The largest relative difference of each stage, over all flavours; raises at the first that differs too much."""
    worst: dict[str, float] = {}
    estimated = [case for case in cases if "estimated_depth_m" in case]
    for flavour, tolerance in precision.checked:
        if estimated:
            _check_depth(directory, estimated, worst, tolerance, flavour)
        vision = session(directory, "vision", flavour)
        for case in cases:
            found = vision.run(VISION_STAGES, {name: case[name] for name in ("pixel_values", "freq_encoding")})
            for stage, value in zip(VISION_STAGES, found, strict=True):
                compare(worst, label("vision", flavour), stage, value, case[stage], tolerance)
        del vision
        check_language(directory, layers, cases, tolerance, worst, flavour)
    if batch and precision.static_tolerance is not None:
        check_batched(directory, layers, cases, batch, precision.static_tolerance, worst)
    return worst


def check_batched(
    directory: Path, layers: int, cases: list[dict[str, np.ndarray]], batch: int, tolerance: float, worst: dict[str, float]
) -> None:
    """Several cases at once, of different prompt lengths where there are; each row against its own reference."""
    rows = [cases[row % len(cases)] for row in range(batch)]
    vision = session(directory, "vision", "batched")
    found = vision.run(VISION_STAGES, {name: np.concatenate([case[name] for case in rows]) for name in ("pixel_values", "freq_encoding")})
    for stage, values in zip(VISION_STAGES, found, strict=True):
        for value, case in zip(values, rows, strict=True):
            compare(worst, label("vision", "batched"), stage, value[None], case[stage], tolerance)
    del vision
    check_language_batched(directory, layers, rows, tolerance, worst)


def _check_depth(
    directory: Path, cases: list[dict[str, np.ndarray]], worst: dict[str, float], tolerance: float, flavour: str
) -> None:
    graph = session(directory, "depth", flavour)
    names = [output.name for output in graph.get_outputs()]
    for case in cases:
        found = dict(zip(names, graph.run(None, {"pixel_values": case["pixel_values"]}), strict=True))
        found["estimated_depth_m"] = found.pop("depth_m")
        for stage in (stage for stage in case if stage in found):
            value, expected, allowed = found[stage], case[stage], tolerance
            if stage in ("zoe_predicted_depth", "estimated_depth_m"):
                difference, allowed = np.abs(value - expected), max(tolerance, DEPTH_TOLERANCE)
                counted = difference <= np.quantile(difference, DEPTH_SHARE)
                value, expected = value[counted], expected[counted]
            compare(worst, label("depth", flavour), stage, value, expected, allowed)
