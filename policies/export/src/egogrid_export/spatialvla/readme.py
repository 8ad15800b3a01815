"""The README.md of a bundle, for people: made from the same tables as `bundle.toml`."""

from __future__ import annotations

from typing import Any

from egogrid_export.measured import precision_note


def readme_text(tables: dict[str, dict[str, Any]], precision: str, statistics_keys: list[str]) -> str:
    origin, image, tokens, chunk, cache = (tables[name] for name in ("origin", "image", "tokens", "chunk", "cache"))
    rate = f"{chunk['control_hz']} Hz" if "control_hz" in chunk else "not said by the checkpoint"
    keys = "".join(f"\n- `{key}`" for key in statistics_keys)
    return f"""# Bundle of `{origin["checkpoint"]}`

A SpatialVLA policy for the Egogrid runtime, written by {origin["exporter"]}. `bundle.toml` is the manifest.

| | |
|---|---|
| precision | {precision}{precision_note(tables)} |
| picture | {image["width_px"]}×{image["height_px"]} px, Pillow bicubic |
| depth | {", ".join(tables["depth"]["sources"])} |
| points in | {tables["ego3d"]["frame"]} frame, center {list(tables["ego3d"]["center_m"])} m, scale {tables["ego3d"]["scale_m"]} m |
| chunk | {chunk["length"]} steps, {chunk["steps_executed"]} executed, trained at {rate} |
| vocabulary | {tokens["vocabulary_size"]}, action tokens from {tokens["action_begin_id"]} |
| action cells | {tokens["translation_cells"]} translation, {tokens["rotation_cells"]} rotation, {tokens["gripper_cells"]} gripper |
| cache | {cache["layers"]} layers, {cache["kv_heads"]} key/value heads of {cache["head_dim"]}, {cache["capacity"]} tokens |

Check it on your machine with `egogrid check`. Statistics keys:
{keys}
"""
