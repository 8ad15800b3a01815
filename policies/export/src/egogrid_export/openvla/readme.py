"""The README.md of a bundle, for people: made from the same tables as `bundle.toml`."""

from __future__ import annotations

from typing import Any

from egogrid_export.measured import precision_note


def readme_text(tables: dict[str, dict[str, Any]], precision: str, dims_of_key: dict[str, int]) -> str:
    origin, image, prompt, tokens, cache = (tables[name] for name in ("origin", "image", "prompt", "tokens", "cache"))
    keys = "".join(f"\n- `{key}`: {dims} numbers per action" for key, dims in dims_of_key.items())
    text = f"{prompt['prefix']}…{prompt['suffix']}".replace("\n", "⏎")
    return f"""# Bundle of `{origin["checkpoint"]}`

An OpenVLA policy for the Egogrid runtime, written by {origin["exporter"]}. `bundle.toml` is the manifest.

| | |
|---|---|
| precision | {precision}{precision_note(tables)} |
| picture | {image["width_px"]}×{image["height_px"]} px, {image["strategy"]}, Pillow bicubic; before that: {image["preprocessing"]} |
| vision towers | {len(image["towers"])} |
| prompt | `{text}`, the instruction in lower case |
| vocabulary | {tokens["vocabulary_size"]}, {tokens["bins"]} action tokens below {tokens["action_end_id"]} |
| chunk | 1 step, one token per number |
| cache | {cache["layers"]} layers, {cache["kv_heads"]} key/value heads of {cache["head_dim"]}, {cache["capacity"]} tokens |

Check it on your machine with `egogrid check`. Statistics keys:
{keys}
"""
