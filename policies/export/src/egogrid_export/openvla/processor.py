"""What `preprocessor_config.json`, the statistics and `tokenizer.json` of an OpenVLA checkpoint say.

The picture's values come from the `tvf_*` fields, which the official processor obeys, and never from `means`, `stds` or `interpolations`,
which it reads and then overwrites: the released mean and std are those after rounding to bf16. `dataset_statistics.json`, written by
fine-tuning, replaces `norm_stats` of `config.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from egogrid_export.checkpoint import Checkpoint, read_json
from egogrid_export.errors import CheckpointError, MissingError
from egogrid_export.fields import Fields
from egogrid_export.openvla.config import ModelConfig
from egogrid_export.openvla.images import ImageConfig
from egogrid_export.openvla.prompt import FINAL_ID, Prompt
from egogrid_export.statistics import checked_statistics
from egogrid_export.tokenizer import load_tokenizer, refuse_larger_vocabulary, refuse_special_tokens

PREPROCESSOR_FILE, STATISTICS_FILE = "preprocessor_config.json", "dataset_statistics.json"
PILLOW_BICUBIC = 3
# Room for an instruction: the longest of the public datasets have some 60 tokens.
INSTRUCTION_TOKENS_MAX, TEXT_TOKENS_STEP = 112, 16


@dataclass(frozen=True)
class ProcessorConfig:
    """`text_tokens_max`: of a whole prompt, bos and the final id included."""

    image: ImageConfig
    prompt: Prompt
    text_tokens_max: int
    statistics: dict[str, Any]

    @property
    def dims_max(self) -> int:
        """Of the widest action: so many tokens the longest inference makes."""
        return max(self.dims(key) for key in self.statistics)

    def dims(self, stats_key: str) -> int:
        return len(self.statistics[stats_key]["action"]["q01"])


# ---- picture


def read_image(checkpoint: Checkpoint, model: ModelConfig, preprocessing: str) -> ImageConfig:
    fields = Fields(checkpoint.json(PREPROCESSOR_FILE), PREPROCESSOR_FILE)
    size, count = model.image_size_px, len(model.towers)
    if _list(fields, "input_sizes", count) != [[3, size, size]] * count:
        fields.refuse("input_sizes", f"{count} × [3, {size}, {size}], as config.json says", "use files of one checkpoint")
    for entry in _entries(fields, "tvf_crop_params", count):
        if entry.values.get("output_size") not in (size, [size], [size, size]):
            entry.refuse("output_size", f"[{size}, {size}]", "use files of one checkpoint")
    strategy = _strategy(fields, _entries(fields, "tvf_resize_params", count), size)
    named = fields.values.get("image_resize_strategy")
    if named is not None and str(named).replace("-", "_") != strategy:
        fields.refuse("image_resize_strategy", f"{strategy.replace('_', '-')!r}, as the tvf_* fields say", "save the processor again")
    return ImageConfig(
        size_px=size,
        strategy=strategy,
        fill=_fill(fields) if strategy == "letterbox" else None,
        towers=tuple(_mean_and_std(entry) for entry in _entries(fields, "tvf_normalize_params", count)),
        preprocessing=preprocessing,
    )


def _entries(fields: Fields, name: str, count: int) -> list[Fields]:
    return [Fields(entry, f"{fields.where} {name}[{index}]") for index, entry in enumerate(_list(fields, name, count))]


def _list(fields: Fields, name: str, count: int) -> list[Any]:
    if not fields.has(name):
        raise MissingError(
            f"{fields.where} has no {name}", "it in the file", "save the processor with save_pretrained of the official code"
        )
    values = fields.values[name]
    if not isinstance(values, list) or len(values) != count:
        fields.refuse(name, f"{count} entries, one per vision tower", "use files of one checkpoint")
    return values


def _strategy(fields: Fields, resizes: list[Fields], size: int) -> str:
    """What the sizes say: two numbers are a stretched square, one is the short side."""
    sizes = [entry.values.get("size") for entry in resizes]
    for entry in resizes:
        if entry.values.get("interpolation") not in (PILLOW_BICUBIC, "bicubic"):
            entry.refuse("interpolation", f"{PILLOW_BICUBIC} (Pillow's bicubic)", "other filters are not supported")
        if entry.has("max_size"):
            entry.refuse("max_size", "null", "other resizing is not supported")
        if entry.values.get("size") != sizes[0] or sizes[0] not in (size, [size], [size, size]):
            entry.refuse("size", f"{size} or [{size}, {size}], the same for every tower", "use files of one checkpoint")
    stretched = sizes[0] == [size, size]
    if fields.boolean("tvf_do_letterbox", False):
        if stretched:
            fields.refuse("tvf_do_letterbox", "false where tvf_resize_params has two numbers", "save the processor again")
        return "letterbox"
    return "resize_naive" if stretched else "resize_crop"


def _fill(fields: Fields) -> tuple[int, int, int]:
    fill = fields.vector("tvf_letterbox_fill", 3)
    if not all(value == int(value) and 0 <= value <= 255 for value in fill):
        fields.refuse("tvf_letterbox_fill", "3 whole numbers in 0..=255", "save the processor again")
    red, green, blue = (int(value) for value in fill)
    return red, green, blue


def _mean_and_std(entry: Fields) -> tuple[list[float], list[float]]:
    mean, std = entry.vector("mean", 3), entry.vector("std", 3)
    if min(std) <= 0:
        entry.refuse("std", "3 numbers above 0", "save the processor again")
    return mean, std


# ---- statistics


def read_statistics(checkpoint: Checkpoint, adapter: Path | None) -> tuple[dict[str, Any], str]:
    """The statistics and the name of the file that they come from: the adapter's, else the checkpoint's own, else `config.json`."""
    for directory in (adapter, checkpoint.directory):
        if directory is not None and (directory / STATISTICS_FILE).exists():
            found, source = Fields(read_json(directory / STATISTICS_FILE), STATISTICS_FILE), f"{STATISTICS_FILE} of {directory.name}"
            break
    else:
        top = Fields(checkpoint.json("config.json"), "config.json")
        if not top.has("norm_stats"):
            raise MissingError(
                f"neither {STATISTICS_FILE} nor norm_stats in config.json",
                "statistics of the actions that the checkpoint was trained on",
                f"copy {STATISTICS_FILE} from the training run into the checkpoint directory",
            )
        found, source = top.child("norm_stats"), "norm_stats of config.json"
    if not found.values:
        raise CheckpointError(f"{source} is empty", "at least one dataset", f"copy {STATISTICS_FILE} from the training run")
    return checked_statistics(found), source


# ---- text


def read_tokenizer(checkpoint: Checkpoint, model: ModelConfig) -> Tokenizer:
    """The tokenizer, once it is known to begin every text with bos and to end it with nothing."""
    tokenizer = load_tokenizer(checkpoint)
    refuse_larger_vocabulary(tokenizer, model.text.vocabulary)
    if (checkpoint.directory / "tokenizer_config.json").exists():
        fields = Fields(checkpoint.json("tokenizer_config.json"), "tokenizer_config.json")
        # transformers' LlamaTokenizerFast makes its template from these two, whatever tokenizer.json says.
        for name, needed in (("add_bos_token", True), ("add_eos_token", False)):
            if fields.boolean(name, needed) is not needed:
                fields.refuse(name, str(needed).lower(), "other templates are not supported")
    ids = tokenizer.encode("a").ids
    if ids[:1] != [model.bos_id] or model.bos_id in ids[1:] or model.eos_id in ids:
        raise CheckpointError(
            f"tokenizer.json encodes 'a' as {ids}",
            f"the id {model.bos_id} (bos) first, and no {model.eos_id} (eos) after it",
            "save the tokenizer with add_bos_token and without add_eos_token",
        )
    if model.text.vocabulary <= FINAL_ID:
        raise CheckpointError(
            f"config.json text_config vocab_size is {model.text.vocabulary}",
            f"more than {FINAL_ID}, the id that the official code ends every prompt with",
            "other tokenizers are not supported",
        )
    return tokenizer


def text_tokens_max(tokenizer: Tokenizer, prompt: Prompt) -> int:
    """The prompt's own tokens and the final id, and room for an instruction: 128 for the released models' prompt."""
    own = len(tokenizer.encode(prompt.text("")).ids) + 1
    return -(-(own + INSTRUCTION_TOKENS_MAX) // TEXT_TOKENS_STEP) * TEXT_TOKENS_STEP


def prompt_ids(tokenizer: Tokenizer, model: ModelConfig, prompt: Prompt, instruction: str) -> np.ndarray:
    """Bos, the prompt around the instruction, 29871 unless it is last already: i64 `[text_tokens]`. Special tokens in it are refused."""
    if not instruction.strip():
        raise CheckpointError("an empty instruction", "what the robot is to do", "write it")
    ids = tokenizer.encode(prompt.text(instruction)).ids
    if ids[:1] != [model.bos_id]:
        raise CheckpointError(f"tokenizer.json begins a prompt with {ids[:1]}", f"[{model.bos_id}]", "save it with add_bos_token")
    refuse_special_tokens(tokenizer, ids[1:], instruction)
    return np.array(ids if ids[-1] == FINAL_ID else [*ids, FINAL_ID], dtype=np.int64)
