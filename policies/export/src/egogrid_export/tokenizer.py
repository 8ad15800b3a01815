"""`tokenizer.json` and the ids of `generation_config.json`, as every family reads them."""

from __future__ import annotations

from tokenizers import Tokenizer

from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError, MissingError
from egogrid_export.fields import Fields

TOKENIZER_FILE = "tokenizer.json"


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """Without padding and truncation, whatever the file says: transformers ignores both unless it is asked for them."""
    path = checkpoint.directory / TOKENIZER_FILE
    if not path.is_file():
        raise MissingError(f"no file {TOKENIZER_FILE}", "it in the checkpoint directory", "copy the whole checkpoint")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises its errors as plain Exception
        raise CheckpointError(f"{TOKENIZER_FILE} cannot be read ({error})", "a tokenizers file", "copy it again") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> set[int]:
    """Tokens that instructions are searched for."""
    return {token_id for token_id, token in tokenizer.get_added_tokens_decoder().items() if token.special}


def refuse_special_tokens(tokenizer: Tokenizer, text_ids: list[int], instruction: str) -> None:
    special = special_ids(tokenizer)
    for token_id in text_ids:
        if token_id in special:
            raise CheckpointError(
                f"the instruction {instruction!r} holds the special token {tokenizer.id_to_token(token_id)}",
                "plain text",
                "write it without special tokens",
            )


def refuse_larger_vocabulary(tokenizer: Tokenizer, vocabulary: int) -> None:
    if tokenizer.get_vocab_size() > vocabulary:
        raise CheckpointError(
            f"{TOKENIZER_FILE} has {tokenizer.get_vocab_size()} tokens",
            f"at most the {vocabulary} of text_config vocab_size",
            "use files of one checkpoint",
        )


def generation_id(checkpoint: Checkpoint, configs: list[Fields], name: str, default: int | None = None) -> int:
    """`generation_config.json` is what generation obeys; where that file or field is missing, the first of `configs` that has it."""
    sources = list(configs)
    if (checkpoint.directory / "generation_config.json").exists():
        generation = Fields(checkpoint.json("generation_config.json"), "generation_config.json")
        # A list of one is how some versions write it.
        value = generation.values.get(name)
        if isinstance(value, list) and len(value) == 1:
            generation.values[name] = value[0]
        sources.insert(0, generation)
    for fields in sources:
        if fields.has(name):
            return fields.integer(name, low=0)
    return configs[0].integer(name, default, low=0)
