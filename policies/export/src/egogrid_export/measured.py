"""What a precision does to a bundle's tokens and actions: the float32 reference against the written graphs, on many observations.

From: a family's reference, its written graphs, observations. To: the table `precision_check` of `bundle.toml` and
`observations.safetensors`, with which `egogrid check` measures the same on another machine. Names and rules: `policies/BUNDLE.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from egogrid_export.graphcheck import session
from egogrid_export.observations import INSTRUCTIONS, Observation, observations
from egogrid_export.options import Options
from egogrid_export.progress import Progress
from egogrid_export.references import kept

OBSERVATIONS_FILE = "observations.safetensors"
# Of normalized actions, which reach from -1 to 1: between the 1st and the 99th percentile of the training data.
ACTION_BOUND, ACTION_BOUND_MAX = 0.1, 2.0
# Outputs of graphs that are called otherwise in golden tensors.
GOLDEN_NAMES = {"depth_m": "estimated_depth_m"}
# What one look is worth in the file: the chosen logit and the one that would be chosen next.
TOP = 2

Stages = dict[str, np.ndarray]
# Name of a graph and its inputs to its outputs.
RunGraph = Callable[[str, Stages], Stages]


@dataclass(frozen=True)
class Subject:
    """What is needed of a family. A generation ends at `tokens` ids, or at the first that does not belong in its slot, it included.

    `reference` loads the network, and gives golden tensors of observation number n as they are stored. `vision_inputs` gives the inputs of
    the vision graph from `kept` ones of those, and may run the graphs before it. `whole_prefix`: how many ids from the start belong.
    `normalized`: their action, None where they are not a whole chunk. `inputs`: what the file holds besides, as the runtime needs it.
    `depth`: which observations bring theirs, None where the family looks at none.
    """

    layers: int
    tokens: int
    kept: tuple[str, ...]
    vision_inputs: Callable[[Stages, RunGraph], Stages]
    reference: Callable[[], Callable[[Observation], Stages]]
    whole_prefix: Callable[[list[int]], int]
    normalized: Callable[[list[int]], np.ndarray | None]
    inputs: Stages
    depth: Callable[[int], bool] | None


@dataclass(frozen=True)
class PrecisionCheck:
    """`observations` 0: not measured. Differences are the largest; that of logits is of the two largest while ids agree so far.

    `chunks_differ`: observations in which one side has a whole chunk of actions and the other has not. `stage_differences`: for
    each golden case, of any stage, of its largest value, each graph reading what the one before it made.
    """

    observations: int
    observations_differ: int
    ids: int
    ids_differ: int
    chunks_differ: int
    logit_difference_max: float
    action_difference_max: float
    action_bound: float
    within_bound: bool
    stage_differences: list[float]


def precision_tables(work: Path, options: Options, subject: Subject, golden: list[Stages], progress: Progress) -> dict[str, dict[str, Any]]:
    """The table of a bundle that is not fp32; those differ from the reference by the order of sums only. `golden`: tensors of the cases."""
    if options.precision.name == "fp32":
        return {}
    if options.observations == 0 or not options.check:
        asked = "--skip-check" if options.observations else "--observations 0"
        progress.line(f"note: with {asked} this bundle says that nobody measured what its precision does to actions")
        return {"precision_check": asdict(PrecisionCheck(0, 0, 0, 0, 0, 0.0, 0.0, options.action_bound, False, []))}
    return {"precision_check": asdict(measured(work, subject, options, golden, progress))}


def measured(work: Path, subject: Subject, options: Options, golden: list[Stages], progress: Progress) -> PrecisionCheck:
    """Runs the observations and writes `observations.safetensors`. The reference is gone before the graphs are loaded."""
    count = options.observations
    looked = observations(count)
    expected = kept(options, progress, lambda: _expected(subject, looked, progress))
    graphs = WrittenGraphs(work, subject.layers)
    stages = [stage_difference(subject, graphs, case) for case in golden]
    found = [_generated(subject, graphs, stages) for stages in progress.over(expected, f"graphs on {count} observations")]
    (work / OBSERVATIONS_FILE).write_bytes(save(_file(subject, looked, expected)))
    check = compared(expected, found, stages, options.action_bound)
    progress.line(summary(check))
    return check


def _expected(subject: Subject, looked: list[Observation], progress: Progress) -> list[Stages]:
    """The network lives only here."""
    reference = subject.reference()
    return [_brief(subject, reference(one)) for one in progress.over(looked, f"reference of {len(looked)} observations")]


def precision_note(tables: dict[str, dict[str, Any]]) -> str:
    """What the README of a bundle says behind the name of its precision."""
    if "precision_check" not in tables:
        return ""
    check = PrecisionCheck(**tables["precision_check"])
    return f"; {summary(check)}" if check.observations else "; what it does to actions was not measured"


def summary(check: PrecisionCheck) -> str:
    verdict = "within" if check.within_bound else "BEYOND"
    return (
        f"against fp32 on {check.observations} observations: {check.ids_differ} of {check.ids} ids differ, in {check.observations_differ}"
        f" observations; largest difference of logits {check.logit_difference_max:.2g}, of normalized actions"
        f" {check.action_difference_max:.2g}, {verdict} the bound of {check.action_bound:g}"
    )


def compared(expected: list[Stages], found: list[Stages], stages: list[float], action_bound: float) -> PrecisionCheck:
    """`expected` and `found`: `token_ids`, `top_ids`, `top_logits` and perhaps `normalized`; found logits are those of the expected ids."""
    ids = ids_differ = observations_differ = chunks_differ = 0
    logits, actions = 0.0, 0.0
    for reference, graphs in zip(expected, found, strict=True):
        agree = _agreeing(reference["token_ids"], graphs["token_ids"])
        wrong = _ids_that_differ(reference["token_ids"], graphs["token_ids"])
        ids += len(reference["token_ids"])
        ids_differ += wrong
        observations_differ += wrong > 0
        # The step after the last agreeing id still had the same tokens before it.
        steps = min(agree + 1, len(graphs["top_logits"]), len(reference["top_logits"]))
        logits = max(logits, float(np.abs(graphs["top_logits"][:steps] - reference["top_logits"][:steps]).max(initial=0.0)))
        if ("normalized" in reference) != ("normalized" in graphs):
            chunks_differ += 1
        elif "normalized" in reference:
            actions = max(actions, float(np.abs(graphs["normalized"] - reference["normalized"]).max()))
    within = chunks_differ == 0 and actions <= action_bound
    counts = (len(expected), observations_differ, ids, ids_differ, chunks_differ)
    return PrecisionCheck(*counts, logits, actions, action_bound, within, stages)


def stage_difference(subject: Subject, graphs: WrittenGraphs, case: Stages) -> float:
    """Of the golden tensors of one case, from the vision graph on; logits as long as the ids before them are the same."""
    found: Stages = {}

    def run(graph: str, inputs: Stages) -> Stages:
        outputs = graphs.run(graph, inputs)
        found.update({GOLDEN_NAMES.get(name, name): value for name, value in outputs.items()})
        return outputs

    features = run("vision", subject.vision_inputs(case, run))["image_features"]
    pairs = [(value, case[name]) for name, value in found.items() if name in case]
    ids, steps = graphs.generate(features, case["text_ids"], _goes_on(subject))
    same = _agreeing(case["token_ids"], np.array(ids)) + 1
    pairs += [(logits, case[f"step{step}_logits"]) for step, logits in enumerate(steps[:same]) if f"step{step}_logits" in case]
    return max(float(np.abs(value.astype(np.float64) - stored).max() / np.abs(stored).max()) for value, stored in pairs)


class WrittenGraphs:
    """The three graphs of a bundle, loaded; decoding runs on with whatever it chose."""

    def __init__(self, directory: Path, layers: int) -> None:
        # Those of the processor: static graphs are called `NAME.static.onnx`.
        names = sorted(path.stem for path in directory.glob("*.onnx") if "." not in path.stem)
        self._sessions = {name: session(directory, name) for name in names}
        self._parts = [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]

    def run(self, graph: str, inputs: Stages) -> Stages:
        """Every output."""
        names = [output.name for output in self._sessions[graph].get_outputs()]
        return dict(zip(names, self._sessions[graph].run(names, inputs), strict=True))

    def generate(
        self, image_features: np.ndarray, text_ids: np.ndarray, goes_on: Callable[[list[int]], bool]
    ) -> tuple[list[int], list[np.ndarray]]:
        """Greedy ids and the logits that chose each, while `goes_on` with those so far."""
        outputs = ["logits", *(f"present.{part}" for part in self._parts)]
        logits, *cache = self._sessions["prefill"].run(outputs, {"image_features": image_features, "text_ids": text_ids[None]})
        filled, ids, steps = image_features.shape[1] + len(text_ids), [], []
        while True:
            steps.append(logits[0])
            ids.append(int(np.argmax(logits[0])))
            if not goes_on(ids):
                return ids, steps
            inputs = {f"past.{part}": rows for part, rows in zip(self._parts, cache, strict=True)}
            inputs["token_id"] = np.array([ids[-1:]], dtype=np.int64)
            inputs["seqlens_k"], inputs["total_len"] = np.array([filled], dtype=np.int32), np.array(filled + 1, dtype=np.int32)
            logits, *cache = self._sessions["decode"].run(outputs, inputs)
            filled += 1


def _brief(subject: Subject, stages: Stages) -> Stages:
    """What of the reference is kept of each observation: logits are a quarter million numbers a step."""
    steps = [stages[f"step{step}_logits"] for step in range(len(stages["token_ids"]))]
    top_ids = np.stack([np.argsort(-logits, kind="stable")[:TOP] for logits in steps])
    kept = {name: stages[name] for name in (*subject.kept, "text_ids", "token_ids", "normalized", "actions") if name in stages}
    return kept | {"top_ids": top_ids, "top_logits": _at(steps, top_ids)}


def _generated(subject: Subject, graphs: WrittenGraphs, expected: Stages) -> Stages:
    features = graphs.run("vision", subject.vision_inputs(expected, graphs.run))["image_features"]
    ids, steps = graphs.generate(features, expected["text_ids"], _goes_on(subject))
    found = {"token_ids": np.array(ids), "top_logits": _at(steps, expected["top_ids"])}
    normalized = subject.normalized(ids)
    return found if normalized is None else found | {"normalized": normalized}


def _goes_on(subject: Subject) -> Callable[[list[int]], bool]:
    return lambda ids: len(ids) < subject.tokens and subject.whole_prefix(ids) == len(ids)


def _at(steps: list[np.ndarray], top_ids: np.ndarray) -> np.ndarray:
    return np.stack([logits[ids] for logits, ids in zip(steps, top_ids, strict=False)])


def _agreeing(expected: np.ndarray, found: np.ndarray) -> int:
    """How many ids from the start are the same."""
    shorter = min(len(expected), len(found))
    different = np.flatnonzero(expected[:shorter] != found[:shorter])
    return int(different[0]) if len(different) else shorter


def _ids_that_differ(expected: np.ndarray, found: np.ndarray) -> int:
    """Positions that only one side has count too."""
    shorter = min(len(expected), len(found))
    return int((expected[:shorter] != found[:shorter]).sum()) + abs(len(expected) - len(found))


def _file(subject: Subject, looked: list[Observation], expected: list[Stages]) -> Stages:
    whole = [stages for stages in expected if "normalized" in stages]
    tensors = {
        "image_u8": np.stack([one.picture for one in looked]),
        "instruction_index": np.array([one.instruction for one in looked], dtype=np.int64),
        "instructions": np.frombuffer("\n".join(INSTRUCTIONS).encode(), dtype=np.uint8),
        "token_counts": np.array([len(stages["token_ids"]) for stages in expected], dtype=np.int64),
        "token_ids": np.concatenate([stages["token_ids"] for stages in expected]).astype(np.int64),
        "top_ids": np.concatenate([stages["top_ids"] for stages in expected]).astype(np.int64),
        "top_logits": np.concatenate([stages["top_logits"] for stages in expected]).astype(np.float32),
        "whole": np.array(["normalized" in stages for stages in expected], dtype=np.uint8),
    }
    if subject.depth:
        tensors["depth_mm"] = np.stack([one.depth_mm for one in looked])
        tensors["has_depth"] = np.array([subject.depth(number) for number in range(len(looked))], dtype=np.uint8)
    for name in ("normalized", "actions"):
        if whole:
            tensors[name] = np.stack([stages[name] for stages in whole])
    return tensors | subject.inputs
