"""The picture beside the table of ./launch/precision: where the time goes, and what became of the ids.

From: `table.json`. To: an SVG or PNG with one bar for each pair, its stages stacked; ids that differ and the mark stand at its end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

STAGES = ("preprocess", "estimate", "depth", "ego3d", "vision", "prefill", "decode", "grid", "unnormalize")
COLOURS = dict(zip(STAGES, ("#9aa5b1", "#7b61b8", "#c7b7e8", "#e0a3c8", "#2f7fb5", "#e08a2e", "#3d9a5b", "#cccccc", "#888888"), strict=True))
# Below this share of the longest bar a stage cannot be seen.
SHARE_MIN = 0.004
BAR_INCHES = 0.3


def draw(figures: list[dict[str, Any]], path: Path) -> None:
    """One panel for each policy, because milliseconds of small and large networks do not share an axis."""
    subjects = list(dict.fromkeys(one["subject"] for one in figures))
    rows = [[one for one in figures if one["subject"] == subject] for subject in subjects]
    matplotlib.rcParams["svg.hashsalt"] = "egogrid"
    sizes = [len(row) for row in rows]
    height = BAR_INCHES * (sum(sizes) + 2.2 * len(rows)) + 0.6
    figure, axes = plt.subplots(len(rows), 1, figsize=(9, height), squeeze=False, height_ratios=sizes)
    drawn: dict[str, Any] = {}
    for axis, subject, row in zip(axes[:, 0], subjects, rows, strict=True):
        _panel(axis, subject, row, drawn)
    axes[-1, 0].set_xlabel("observation to chunk, ms (median of warm runs)")
    ordered = [name for name in STAGES if name in drawn]
    figure.legend([drawn[name] for name in ordered], ordered, loc="upper center", ncols=len(ordered), frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.45 / height))
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _panel(axis: Any, subject: str, row: list[dict[str, Any]], drawn: dict[str, Any]) -> None:
    totals = [one["bench"]["warm"][0]["observation_to_chunk_ms"]["p50"] for one in row]
    for at, one in enumerate(row):
        left = 0.0
        for name, p50_ms in stages(one["bench"]):
            bar = axis.barh(at, p50_ms, left=left, height=0.7, color=COLOURS[name])
            left += p50_ms
            if p50_ms >= SHARE_MIN * max(totals):
                drawn.setdefault(name, bar)
        axis.text(left, at, f"  {words(one)}", va="center", fontsize=8)
    axis.set_yticks(range(len(row)), [one["precision"] for one in row], fontsize=8)
    axis.set_xlim(0, max(totals) * 1.45)
    axis.invert_yaxis()
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title(subject, loc="left", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def stages(bench: dict[str, Any]) -> list[tuple[str, float]]:
    """Name and median of each, in the order in which they run."""
    found = bench["warm"][0]["stages_ms"]
    return [(name, found[name]["p50"]) for name in STAGES if name in found]


def words(one: dict[str, Any]) -> str:
    """What stands at the end of a bar."""
    measured, volume = one["check"]["precision"], size_text(one["size_bytes"])
    if one["precision"] == "fp32":
        return volume
    if measured is None:
        return f"{volume}, not measured"
    verdict = "within" if measured["recorded"]["within_bound"] else "beyond"
    return f"{volume}, {measured['ids_differ']} of {measured['ids']} ids differ, {verdict}"


def size_text(count_bytes: int) -> str:
    return f"{count_bytes / 1e9:.2f} GB" if count_bytes >= 1e9 else f"{count_bytes / 1e6:.1f} MB"
