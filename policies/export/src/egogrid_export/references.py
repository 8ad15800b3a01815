"""The reference's answers to observations, kept in files, so that several precisions of one checkpoint compute them once.

From: what an answer depends on, `Stages` of each observation. To: `DIR/<digest>.safetensors` with tensors `<number>.<name>`. The digest is over
every file of the checkpoint and its adapter, the options that change the network, the exporter's own sources and the number of observations:
a file is either exactly what would be computed or is not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from egogrid_export.errors import UsageError
from egogrid_export.options import Options
from egogrid_export.progress import Progress

Stages = dict[str, np.ndarray]
SOURCES = Path(__file__).parent


def kept(options: Options, progress: Progress, compute: Callable[[], list[Stages]]) -> list[Stages]:
    """`compute`, or what it gave another export. Computes anew where nothing is to be kept."""
    if options.references is None:
        return compute()
    options.references.mkdir(parents=True, exist_ok=True)
    path = options.references / f"{_digest(options)}.safetensors"
    if path.is_file():
        progress.line(f"reference of {options.observations} observations: taken from {path}")
        return _read(path, options.observations)
    stages = compute()
    tensors = {f"{number}.{name}": value for number, one in enumerate(stages) for name, value in one.items()}
    # Whole or not at all: another export may look for it at this moment.
    part = path.with_suffix(".part")
    part.write_bytes(save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))
    part.replace(path)
    return stages


def _read(path: Path, count: int) -> list[Stages]:
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path} is damaged ({error})", "a whole safetensors file", "delete it: it is computed again") from None
    stages: list[Stages] = [{} for _ in range(count)]
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        stages[int(number)][name] = value
    return stages


def _digest(options: Options) -> str:
    told: tuple[object, ...] = (options.depth, options.prompt, options.preprocessing, options.observations)
    if options.grid is not None:
        told = (*told, options.grid_head, hashlib.sha256(options.grid.read_bytes()).hexdigest())
    digest = hashlib.sha256(repr(told).encode())
    for directory in (SOURCES, options.checkpoint, options.lora):
        files = sorted(directory.rglob("*")) if directory else []
        for path in (path for path in files if path.is_file() and path.suffix != ".pyc"):
            with path.open("rb") as file:
                digest.update(f"{path.relative_to(directory)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
