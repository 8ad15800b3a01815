"""The bundle directory: written next to its final place, renamed when whole. Format: `policies/BUNDLE.md`.

From: files that a family's exporter wrote into the working directory, and its tables. To: `bundle.toml`, which lists every other file
with size and digest. Nothing half-written ever has the final name, and nothing is left behind when an export fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from egogrid_export.errors import UsageError
from egogrid_export.graph import GraphBuilder, Port

SCHEMA_VERSION = 1
MANIFEST_FILE = "bundle.toml"
BARE_KEY = re.compile("[A-Za-z0-9_-]+")


@contextmanager
def bundle_directory(target: Path, replace: bool) -> Iterator[Path]:
    """A working directory that becomes `target` when the block ends well, and disappears otherwise."""
    target = target.resolve()
    if target.exists() and not (replace and (target / MANIFEST_FILE).is_file()):
        todo = "give --replace" if (target / MANIFEST_FILE).is_file() else "choose another place"
        raise UsageError(f"{target.name} exists already", "a new name for the bundle", todo)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".{target.name}.partial-{os.getpid()}"
    try:
        work.mkdir()
        yield work
        if target.exists():
            shutil.rmtree(target)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Floats keep every digit that Python needs to read them back; NaN is refused."""
    path.write_text(json.dumps(value, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def write_manifest(work: Path, head: dict[str, Any], tables: dict[str, dict[str, Any]], graphs: list[GraphBuilder]) -> None:
    """`bundle.toml`, last of all: `head` and `tables` as given, then graphs, then every file that lies in `work`."""
    lines = [f"schema_version = {SCHEMA_VERSION}", *_pairs(head)]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_pairs(table)]
    for graph in graphs:
        flavour = {} if graph.flavour == "cpu" else {"flavour": graph.flavour}
        lines += ["", "[[graphs]]", *_pairs({"name": graph.name} | flavour | {"file": graph.file_name})]
        lines += [_ports("inputs", graph.inputs), _ports("outputs", graph.outputs)]
    for path in sorted(work.iterdir(), key=lambda path: path.name):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines += ["", "[[files]]", *_pairs({"path": path.name, "bytes": path.stat().st_size, "sha256": digest})]
    body = ("\n".join(lines) + "\n").encode("utf-8")
    # The manifest cannot list itself: its first line is the digest of all that follows.
    (work / MANIFEST_FILE).write_bytes(f"# sha256 {hashlib.sha256(body).hexdigest()}\n".encode() + body)


def _pairs(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _ports(name: str, ports: list[Port]) -> str:
    rows = [_toml({"name": port.name, "dtype": port.dtype, "shape": port.shape}) for port in ports]
    return f"{name} = [\n  " + ",\n  ".join(rows) + ",\n]"


def _toml(value: Any) -> str:
    """One value in TOML. JSON's strings, numbers and booleans are TOML's; only tables are written differently."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
