"""A LoRA adapter of the peft library, merged into a checkpoint while it is read: W + scale * B A, float32.

From: a `Checkpoint` and a directory with `adapter_config.json` and `adapter_model.safetensors`. To: `MergedCheckpoint`, which answers like
a checkpoint that was merged and saved, for any family. Linear layers, convolutions and embeddings; tensors that the adapter trained whole
or saved with it replace the checkpoint's. What would change the result in a way that is not built is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from egogrid_export.checkpoint import Checkpoint, read_json
from egogrid_export.errors import CheckpointError, MissingError
from egogrid_export.fields import Fields

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
MODEL_PREFIX = "base_model.model."
# `<module>.lora_A.weight`, with or without the adapter's name behind lora_A; embeddings have no `.weight`.
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.(?P<adapter>\w+?))??(\.weight)?")
# A tensor that stands for the checkpoint's own of the same module.
WHOLE = re.compile(r"(?P<module>.+?)(\.base_layer|\.modules_to_save(\.\w+)?)?\.(?P<parameter>weight|bias)")
# Keys of adapter_config.json that change the result, with the only values that are built.
NEEDED: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "layer_replication": (None,),
    "megatron_config": (None,),
    "loftq_config": (None, {}),
    "init_lora_weights": (True, False, None, "gaussian", "eva", "orthogonal"),
    "use_qalora": (False, None),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "corda_config": (None,),
}
# Keys that say how it was trained or where it lies; what was trained is in the tensors.
WITHOUT_EFFECT = {
    "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config", "exclude_modules", "inference_mode",
    "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "modules_to_save", "peft_version", "qalora_group_size",
    "revision", "runtime_config", "target_modules", "task_type",
}  # fmt: skip
READ = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"}


@dataclass(frozen=True)
class _Update:
    """`scale * B A` of one module, by the names of its factors in the adapter's file. Embeddings are stored the other way round."""

    a: str
    b: str
    scale: float
    embedding: bool


class _Adapter(Checkpoint):
    index_file = f"{WEIGHTS_FILE}.index.json"
    single_file = WEIGHTS_FILE


class MergedCheckpoint(Checkpoint):
    """The tensors of a checkpoint with an adapter merged in."""

    def __init__(self, directory: Path, adapter: Path) -> None:
        super().__init__(directory)
        self._adapter = _adapter_file(adapter)
        self._replaced: dict[str, str] = {}
        self._updates: dict[str, _Update] = {}
        self._read_adapter(Fields(read_json(adapter / CONFIG_FILE), CONFIG_FILE))

    def tensor(self, name: str) -> np.ndarray:
        values = self._adapter.tensor(self._replaced[name]) if name in self._replaced else super().tensor(name)
        if name in self._updates:
            values += self._delta(name, slice(None)).reshape(values.shape)
        return values

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        values = self._adapter.rows(self._replaced[name], rows) if name in self._replaced else super().rows(name, rows)
        return values + self._delta(name, rows) if name in self._updates else values

    def row_chunks(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        chunks = self._adapter.row_chunks(self._replaced[name]) if name in self._replaced else super().row_chunks(name)
        for first, values in chunks:
            if name in self._updates:
                values += self._delta(name, slice(first, first + len(values))).reshape(values.shape)
            yield first, values

    def sha256(self) -> dict[str, str]:
        return super().sha256() | self._adapter.sha256()

    def _delta(self, name: str, rows: Any) -> np.ndarray:
        """Some rows of the update, `[rows, everything else]`."""
        update = self._updates[name]
        a, b = self._adapter.tensor(update.a), self._adapter.tensor(update.b)
        if update.embedding:
            return (a.T[rows] @ b.T) * np.float32(update.scale)
        return (b.reshape(len(b), -1)[rows] @ a.reshape(len(a), -1)) * np.float32(update.scale)

    # ---- reading

    def _read_adapter(self, fields: Fields) -> None:
        _refuse_unknown_meaning(fields)
        factors: dict[tuple[str, bool], dict[str, str]] = {}
        adapters = set()
        for name in self._adapter.names():
            plain = name.removeprefix(MODEL_PREFIX)
            factor, whole = FACTOR.fullmatch(plain), WHOLE.fullmatch(plain)
            if factor:
                adapters.add(factor["adapter"])
                factors.setdefault((factor["module"], bool(factor["embedding"])), {})[factor["side"]] = name
            elif whole and plain != name and "lora_" not in plain:
                self._replace(f"{whole['module']}.{whole['parameter']}", name)
            else:
                raise CheckpointError(
                    f"{WEIGHTS_FILE} has the tensor {name}", "LoRA factors and whole tensors", "merge this adapter with the peft library"
                )
        if len(adapters) > 1:
            raise CheckpointError(f"{WEIGHTS_FILE} has {len(adapters)} adapters", "one", "save only the adapter to be exported")
        for (module, embedding), sides in factors.items():
            self._update(fields, module, embedding, sides)

    def _replace(self, target: str, name: str) -> None:
        if self._adapter.shape(name) != self._base_shape(target, name):
            self._refuse_shape(name, list(self._base_shape(target, name)))
        self._replaced[target] = name

    def _update(self, fields: Fields, module: str, embedding: bool, sides: dict[str, str]) -> None:
        target = f"{module}.weight"
        if sorted(sides) != ["A", "B"]:
            raise MissingError(f"{WEIGHTS_FILE} has only lora_{''.join(sides)} of {module}", "both factors", "copy the adapter again")
        outputs, *inputs = self._base_shape(target, sides["A"])
        rank, scale = _rank_and_scale(fields, module)
        if embedding:
            shapes = {"A": (rank, outputs), "B": (*inputs, rank)}
        else:
            shapes = {"A": (rank, *inputs), "B": (outputs, rank, *(1 for _ in inputs[1:]))}
        for side, shape in shapes.items():
            if self._adapter.shape(sides[side]) != shape:
                self._refuse_shape(sides[side], list(shape))
        self._updates[target] = _Update(sides["A"], sides["B"], scale, embedding)

    def _base_shape(self, target: str, name: str) -> tuple[int, ...]:
        if target not in self:
            raise CheckpointError(
                f"{WEIGHTS_FILE} has {name}, but the checkpoint has no {target}",
                "an adapter of this checkpoint",
                "give the checkpoint that the adapter was trained on",
            )
        return self.shape(target)

    def _refuse_shape(self, name: str, shape: list[int]) -> None:
        raise CheckpointError(
            f"{WEIGHTS_FILE} {name} has shape {list(self._adapter.shape(name))}",
            f"{shape}, as the checkpoint and {CONFIG_FILE} say",
            "give the checkpoint that the adapter was trained on",
        )


def _adapter_file(adapter: Path) -> _Adapter:
    if not adapter.is_dir():
        raise MissingError(f"no directory {adapter}", f"one with {CONFIG_FILE} and {WEIGHTS_FILE}", "check --lora")
    if not (adapter / WEIGHTS_FILE).exists() and (adapter / "adapter_model.bin").exists():
        raise MissingError(
            "the adapter is adapter_model.bin, which may run code when it is opened",
            WEIGHTS_FILE,
            "save it again with safe_serialization=True",
        )
    return _Adapter(adapter)


def _refuse_unknown_meaning(fields: Fields) -> None:
    for name, value in fields.values.items():
        if name in NEEDED:
            # In Python 0 == False and 1 == True; in this file they are not the same.
            if not any(value == allowed and isinstance(value, bool) == isinstance(allowed, bool) for allowed in NEEDED[name]):
                fields.refuse(name, " | ".join(map(repr, NEEDED[name])), "merge this adapter with the peft library and export the result")
        elif name not in WITHOUT_EFFECT | READ and value:
            fields.refuse(name, "a key whose effect is known here", "merge this adapter with the peft library and export the result")


def _rank_and_scale(fields: Fields, module: str) -> tuple[int, float]:
    rank = _pattern(fields, "rank_pattern", module)
    alpha = _pattern(fields, "alpha_pattern", module)
    rank = fields.integer("r") if rank is None else rank
    alpha = fields.number("lora_alpha") if alpha is None else alpha
    return rank, alpha / (rank**0.5 if fields.boolean("use_rslora", False) else rank)


def _pattern(fields: Fields, name: str, module: str) -> Any:
    """What the pattern that fits the end of a module's name says; refused where two fit and differ."""
    patterns = Fields(fields.values.get(name) or {}, f"{fields.where} {name}")
    found = {}
    for pattern in patterns.values:
        try:
            fits = re.fullmatch(rf"(.*\.)?({pattern.removeprefix('^')})" if not pattern.startswith("^") else pattern, module)
        except re.error:
            patterns.refuse(pattern, "a regular expression as its key", "repair the file")
        if fits:
            found[pattern] = patterns.number(pattern) if name == "alpha_pattern" else patterns.integer(pattern)
    if len(set(found.values())) > 1:
        fields.refuse(name, f"one value for {module}, not {found}", "merge this adapter with the peft library and export the result")
    return next(iter(found.values()), None)
