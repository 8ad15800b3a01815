"""Batched graphs: every row is the reference's own, whatever its prompt's length and whatever stands beside it.

The exporter compares each stage of a batch of golden cases with the reference (`selfcheck.py`) and fails otherwise; here of several
precisions, and that a wrong row would be seen.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file

from egogrid_export.cli import main
from egogrid_export.errors import CheckError
from egogrid_export.spatialvla.selfcheck import check_batched

BATCH = 3


def exported(golden: Path, folder: Path, *options: str) -> int:
    return main([str(golden / "ckpt"), str(folder / "bundle"), "--depth", "sensor", "--batch", str(BATCH), "--quiet", *options])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_row_of_a_batch_is_the_reference(golden: Path, tmp_path: Path, precision: str):
    assert exported(golden, tmp_path, "--precision", precision, "--observations", "0") == 0
    manifest = tomllib.loads((tmp_path / "bundle/bundle.toml").read_text())
    batched = {graph["name"]: graph for graph in manifest["graphs"] if graph.get("flavour") == "batched"}
    static = {graph["name"]: graph for graph in manifest["graphs"] if graph.get("flavour") == "static"}
    assert batched.keys() == {"vision", "prefill", "decode"}
    for name, graph in batched.items():
        for ports in ("inputs", "outputs"):
            expected = [{**port, "shape": [BATCH, *port["shape"][1:]]} for port in static[name][ports]]
            assert graph[ports] == expected


def test_a_row_that_sees_its_neighbours_place_is_found(golden: Path, tmp_path: Path):
    assert exported(golden, tmp_path) == 0
    bundle = tmp_path / "bundle"
    stored = load_file(bundle / "golden.safetensors")
    numbers = sorted({name.split(".", 1)[0] for name in stored})
    cases = [{name.split(".", 1)[1]: tensor for name, tensor in stored.items() if name.startswith(f"{case}.")} for case in numbers]
    assert len({len(case["text_ids"]) for case in cases}) > 1, "prompts of one length would hide it"
    manifest = tomllib.loads((bundle / "bundle.toml").read_text())
    layers = manifest["cache"]["layers"]
    check_batched(bundle, layers, cases, BATCH, 1e-3, {})
    graph = onnx.load(bundle / "prefill.batched.onnx", load_external_data=False)
    # The last row of the prompt of whoever is first, for everybody.
    node = next(node for node in graph.graph.node if node.op_type == "GatherND")
    reshape = next(other for other in graph.graph.node if node.input[1] in other.output)
    first = onnx.helper.make_node("Slice", [reshape.input[0], "zero", "one"], ["of_first"])
    spread = onnx.helper.make_node("Expand", ["of_first", "count"], ["of_everybody"])
    graph.graph.initializer.extend(
        numpy_helper.from_array(np.array([value], dtype=np.int64), name) for name, value in (("zero", 0), ("one", 1), ("count", BATCH))
    )
    at = list(graph.graph.node).index(reshape)
    reshape.input[0] = "of_everybody"
    graph.graph.node.insert(at, spread)
    graph.graph.node.insert(at, first)
    onnx.save(graph, bundle / "prefill.batched.onnx")
    with pytest.raises(CheckError, match="step0_logits"):
        check_batched(bundle, layers, cases, BATCH, 1e-3, {})


@pytest.mark.parametrize("options", [("--precision", "int8"), ("--depth", "both"), ("--batch", "1"), ("--batch", "1000")])
def test_what_has_no_batched_graphs_is_refused(golden: Path, tmp_path: Path, options: tuple[str, str], capsys):
    try:
        code = exported(golden, tmp_path, *options)
    except SystemExit as ended:
        code = ended.code
    assert code == 2 and "--batch" in capsys.readouterr().err
