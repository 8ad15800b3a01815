"""Runs the graphs that were just written on the golden cases and compares every stage with the reference.

Each graph gets the reference's inputs, so that a difference names the graph that made it. One graph is loaded at a time. Needs onnxruntime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from egogrid_export.graphcheck import check_language, compare, label, session
from egogrid_export.precision import Precision

# In the order in which they are computed, so that the message names the part.
VISION_STAGES = ["patch_features", "image_features"]


def check_graphs(directory: Path, layers: int, cases: list[dict[str, np.ndarray]], precision: Precision) -> dict[str, float]:
    """The largest relative difference of each stage, over all flavours; raises at the first that differs too much."""
    worst: dict[str, float] = {}
    for flavour, tolerance in precision.checked:
        vision = session(directory, "vision", flavour)
        for case in cases:
            found = vision.run(VISION_STAGES, {"pixel_values": case["pixel_values"]})
            for stage, value in zip(VISION_STAGES, found, strict=True):
                compare(worst, label("vision", flavour), stage, value, case[stage], tolerance)
        del vision
        check_language(directory, layers, cases, tolerance, worst, flavour)
    return worst
