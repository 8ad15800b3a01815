"""The tokenizer: a small byte-fallback BPE with the structure of the released one.

From: the 50 instructions of Meta-World. To: `tokenizer.json` and the ids of special tokens.
Layout: 0 pad, 1 eos, 2 bos, 3 unk, 4 mask, 256 bytes, BPE pieces, "\\n", `<image>`, `<ACTION00000>`.. to the end.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from egogrid_metaworld import instruction, task_names
from egogrid_train.grid import ACTION_TOKENS
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
PIECES_MAX = 512
SPACE = "\u2581"


@dataclass(frozen=True)
class Vocabulary:
    """Ids of the tokens that the model treats specially."""

    size: int
    newline: int
    image: int
    action_begin: int
    eos: int = 1
    bos: int = 2


def _pieces() -> tuple[list[str], list[tuple[str, str]]]:
    """BPE pieces and merges; merges never cross a space, so words stay words."""
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Replace(" ", SPACE)
    learner.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=PIECES_MAX, show_progress=False)
    learner.train_from_iterator([instruction(task) for task in task_names()], trainer)
    model = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    return sorted(model["vocab"], key=model["vocab"].get), merges


def _added(token_id: int, content: str, special: bool) -> dict:
    return {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": not special, "special": special}


def tokenizer_json() -> tuple[dict, Vocabulary]:
    """The content of `tokenizer.json`, and where its special tokens are."""
    pieces, merges = _pieces()
    words = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    if len(set(words)) != len(words):
        raise ValueError("two tokens have the same text; the instructions hold one of the reserved texts")
    vocabulary = Vocabulary(
        size=len(words) + 2 + ACTION_TOKENS, newline=len(words), image=len(words) + 1, action_begin=len(words) + 2
    )
    actions = [f"<ACTION{index:05}>" for index in range(ACTION_TOKENS)]
    added = [_added(index, content, True) for index, content in enumerate(SPECIAL[:4])]
    added += [_added(vocabulary.newline, "\n", False), _added(vocabulary.image, "<image>", True)]
    added += [_added(vocabulary.action_begin + index, content, True) for index, content in enumerate(actions)]
    template = [{"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": {"type": "TemplateProcessing", "single": template,
                           "pair": [*template, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {word: index for index, word in enumerate(words)}, "merges": [list(merge) for merge in merges]},
    }, vocabulary


def prompt_ids(text: str, patches: int) -> list[int]:
    """`<image>` per patch, `<bos>`, the instruction, a newline."""
    content, vocabulary = tokenizer_json()
    tokenizer = Tokenizer.from_str(json.dumps(content))
    return [vocabulary.image] * patches + [vocabulary.bos] + tokenizer.encode(text + "\n", add_special_tokens=False).ids


def write(directory: Path) -> Vocabulary:
    """`tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`."""
    content, vocabulary = tokenizer_json()
    (directory / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False, indent=1))
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    config = {
        "add_bos_token": False, "add_eos_token": False,
        "added_tokens_decoder": {str(t["id"]): {flag: t[flag] for flag in flags} for t in content["added_tokens"]},
        "additional_special_tokens": ["<image>"], "bos_token": "<bos>", "clean_up_tokenization_spaces": False,
        "eos_token": "<eos>", "extra_special_tokens": {}, "model_max_length": 2048, "pad_token": "<pad>",
        "processor_class": "SpatialVLAProcessor", "tokenizer_class": "GemmaTokenizer", "unk_token": "<unk>",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    image = {"content": "<image>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    special = {"additional_special_tokens": [image], "bos_token": "<bos>", "eos_token": "<eos>",
               "pad_token": "<pad>", "unk_token": "<unk>"}
    (directory / "special_tokens_map.json").write_text(json.dumps(special, indent=1))
    return vocabulary
