"""Tokenizers in the released file formats with the special ids where the released ones have them, and bytes for everything else."""

from __future__ import annotations

from typing import Any

FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def _file(added: dict[str, int], vocabulary: dict[str, int], unknown: str, template: dict[str, Any] | None, prepend: bool) -> dict[str, Any]:
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]} if prepend else replace
    model = {"type": "BPE", "unk_token": unknown, "fuse_unk": True, "byte_fallback": True, "merges": [], "vocab": vocabulary}
    tokens = [{"id": number, "content": text, **FLAGS} for text, number in sorted(added.items(), key=lambda item: item[1])]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": normalizer,
        "pre_tokenizer": None, "post_processor": template, "decoder": None, "model": model,
    }  # fmt: skip


def _letters(first: int) -> dict[str, int]:
    return {text: first + number for number, text in enumerate("▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,?:'-")}


def _filled(vocabulary: dict[str, int], size: int) -> dict[str, int]:
    """With a name for every free id below `size`: the library numbers added tokens after the vocabulary, whatever the file says."""
    taken = set(vocabulary.values())
    return vocabulary | {f"<free{number}>": number for number in range(size) if number not in taken}


def spatialvla_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """Gemma's ids: bytes from 217, `\\n` 108, `<image>` and the action tokens where config.json has them."""
    added = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<image>": config["image_token_index"]}
    added |= {f"<ACTION{cell:05d}>": config["action_token_begin_idx"] + cell for cell in range(config["spatial_token_num"])}
    bytes_ = {f"<0x{byte:02X}>": 217 + byte for byte in range(256)}
    vocabulary = {**{text: number for text, number in added.items() if number < 4}, "\n": 108, **bytes_, **_letters(473)}
    return _file(added, _filled(vocabulary, config["image_token_index"]), "<unk>", None, prepend=False)


def openvla_tokenizer() -> dict[str, Any]:
    """Llama 2's ids: bytes from 3, the lone `▁` 29871, `<PAD>` 32000; `<s>` is put first by the template."""
    added = {"<unk>": 0, "<s>": 1, "</s>": 2, "<PAD>": 32000}
    letters = {text: number for text, number in _letters(29900).items() if text != "▁"}
    bytes_ = {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    vocabulary = {**{text: number for text, number in added.items() if number < 3}, **bytes_, "▁": 29871, **letters}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    return _file(added, _filled(vocabulary, added["<PAD>"]), "<unk>", template, prepend=True)
