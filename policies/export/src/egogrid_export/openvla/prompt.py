"""Which of the two official prompts a checkpoint was trained with, and the text around an instruction.

The official code decides by the name of the directory: `v01` in it means the first version. Names get lost, so the checkpoint is asked too:
the first version is built on Vicuna and has one vision tower. `choose_prompt` says what it decided and why, and refuses to decide where a
name and a checkpoint contradict each other; `--prompt` always wins.
"""

from __future__ import annotations

from dataclasses import dataclass

from egogrid_export.errors import UsageError
from egogrid_export.openvla.config import ModelConfig

# The lone "▁" piece. Training text was "Out: " and then rare characters, before which sentencepiece writes this piece.
FINAL_ID = 29871
V01_MARK = "v01"


@dataclass(frozen=True)
class Prompt:
    """Only the instruction is made lower case; nothing is trimmed or added."""

    name: str
    prefix: str
    suffix: str

    def text(self, instruction: str) -> str:
        return f"{self.prefix}{instruction.lower()}{self.suffix}"


PROMPTS = {
    prompt.name: prompt
    for prompt in (
        Prompt("openvla", "In: What action should the robot take to ", "?\nOut:"),
        Prompt(
            "v01",
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
            "answers to the user's questions. USER: What action should the robot take to ",
            "? ASSISTANT:",
        ),
    )
}


def choose_prompt(config: ModelConfig, directory_name: str, asked: str | None) -> tuple[Prompt, str]:
    """The prompt, and the reason in words."""
    if asked is not None:
        return PROMPTS[asked], "asked for by --prompt"
    named, vicuna, single = V01_MARK in directory_name, config.llm_backbone.startswith("vicuna"), len(config.towers) == 1
    if vicuna:
        return PROMPTS["v01"], f"llm_backbone_id is {config.llm_backbone}"
    if named and not single:
        raise UsageError(
            f"the directory is called {directory_name}, but its config.json has two vision towers on {config.llm_backbone}",
            "a name with v01 only for the first version, which has one tower",
            "say which prompt the checkpoint was trained with: --prompt openvla or --prompt v01",
        )
    if named:
        return PROMPTS["v01"], f"the directory is called {directory_name}"
    return PROMPTS["openvla"], f"llm_backbone_id is {config.llm_backbone}, and the directory's name has no {V01_MARK}"
