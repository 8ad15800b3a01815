"""Static graphs: nothing in them that CUDA, TensorRT or OpenVINO could leave to the CPU, and the results of the others.

No GPU is needed: their structure is looked at, and they run on the CPU in fp32 and fp16, and in onnx's own evaluator in bf16.
"""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from cuda_kernels import KERNELS
from onnx import TensorProto, shape_inference
from safetensors.numpy import load_file
from static_runs import Static, evaluated, prompt, step

import egogrid_export.static_graph as static_graph
from egogrid_export.cli import main

TYPES = {
    TensorProto.FLOAT: "f32",
    TensorProto.FLOAT16: "f16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT64: "i64",
    TensorProto.INT32: "i32",
    TensorProto.BOOL: "bool",
}
PRECISIONS = ("fp32", "fp16", "bf16")
FAMILIES = {"spatialvla": ("depth", "vision", "prefill", "decode"), "openvla": ("vision", "prefill", "decode")}
# Largest difference of a stage from the official fp32 run, of its largest value. SpatialVLA's golden weights are bf16, OpenVLA's f32.
TOLERANCE = {"fp32": 1e-5, "fp16": 1e-2, "bf16": 6e-2}


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def bundles(golden: Path, official, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Both golden checkpoints in all three precisions."""
    checkpoints = {"spatialvla": golden / "ckpt", "openvla": official.directory / "ckpt"}
    made = {}
    for family, checkpoint in checkpoints.items():
        for precision in PRECISIONS:
            bundle = tmp_path_factory.mktemp(f"{family}-{precision}") / "bundle"
            depth = ["--depth", "both"] if family == "spatialvla" else []
            assert main([str(checkpoint), str(bundle), "--precision", precision, *depth, "--quiet", "--skip-check"]) == 0
            made[family, precision] = bundle
    return made


CASES = [(family, precision) for family in FAMILIES for precision in PRECISIONS]


@pytest.mark.parametrize(("family", "precision"), CASES)
def test_every_node_has_a_cuda_kernel_and_every_value_a_fixed_shape(bundles, family: str, precision: str) -> None:
    for name in FAMILIES[family]:
        path = bundles[family, precision] / f"{name}.static.onnx"
        model = onnx.load(path, load_external_data=False)
        (opset,) = model.opset_import
        assert (opset.domain, opset.version) == ("", static_graph.OPSET)
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        types = {tensor.name: tensor.data_type for tensor in inferred.initializer}
        for value in [*inferred.input, *inferred.output, *inferred.value_info]:
            kind = value.type.tensor_type
            assert kind.HasField("shape"), f"{name}: {value.name} has no shape"
            assert all(size.HasField("dim_value") for size in kind.shape.dim), f"{name}: {value.name} has a size that is not fixed"
            types[value.name] = kind.elem_type
        for node in inferred.node:
            assert node.domain == "", f"{name}: {node.domain}.{node.op_type}"
            first, last, allowed = KERNELS[node.op_type]
            version = onnx.defs.get_schema(node.op_type, static_graph.OPSET, "").since_version
            assert version == first or (last is not None and first < version <= last), f"{node.op_type} {version} has no kernel"
            kind = TYPES[types[node.input[1 if node.op_type == "Where" else 0]]]
            assert kind in allowed, f"{name}: {node.op_type} of {kind}"


@pytest.mark.parametrize(("family", "precision"), CASES)
def test_products_are_in_the_type_of_the_weights_and_the_rest_is_float32(bundles, family: str, precision: str) -> None:
    """But for the estimator of depth, whose products are float32 too."""
    narrow = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}[precision]
    for name in FAMILIES[family]:
        model = onnx.load(bundles[family, precision] / f"{name}.static.onnx", load_external_data=False)
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        types = {tensor.name: tensor.data_type for tensor in inferred.initializer}
        types |= {value.name: value.type.tensor_type.elem_type for value in [*inferred.input, *inferred.output, *inferred.value_info]}
        products = {"MatMul": set(), "Gemm": set()}
        for node in inferred.node:
            kind = TYPES[types[node.input[0]]]
            if node.op_type in products:
                products[node.op_type].add(kind)
            elif node.op_type in ("Softmax", "Tanh", "Erf", "Sqrt", "Exp", "LayerNormalization", "ReduceMean", "Pow", "Div", "Add", "Mul", "Sub"):
                assert kind in ("f32", "i64"), f"{name}: {node.op_type} of {kind}"
        assert products["MatMul"] == ({"f32"} if name == "depth" else {"f32", narrow})
        assert products["Gemm"] == ({narrow} if name in ("prefill", "decode") else set())
        ports = {port.name: TYPES[port.type.tensor_type.elem_type] for port in [*inferred.input, *inferred.output]}
        assert all(kind == narrow for port, kind in ports.items() if port.startswith(("past.", "present.")))
        assert ports.get("logits", "f32") == ports.get("image_features", "f32") == ports.get("depth_m", "f32") == "f32"


@pytest.mark.parametrize(("family", "precision"), CASES)
def test_both_flavours_share_one_weights_file_and_are_in_the_manifest(bundles, family: str, precision: str) -> None:
    bundle = bundles[family, precision]
    graphs = tomllib.loads((bundle / "bundle.toml").read_text())["graphs"]
    assert [(graph["name"], graph.get("flavour", "cpu")) for graph in graphs] == [
        (name, flavour) for flavour in ("cpu", "static") for name in FAMILIES[family]
    ]
    places: dict[str, tuple] = {}
    for graph in graphs:
        assert graph["file"] == (f"{graph['name']}.static.onnx" if graph.get("flavour") else f"{graph['name']}.onnx")
        model = onnx.load(bundle / graph["file"], load_external_data=False)
        for tensor in model.graph.initializer:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            if not entries:
                assert math.prod(tensor.dims) * 8 < 1 << 18, f"{tensor.name} lies in the graph file"
                continue
            place = (entries["location"], entries["offset"], entries["length"], tensor.data_type, tuple(tensor.dims))
            assert places.setdefault(tensor.name, place) == place, f"{tensor.name} is stored twice"


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_integer_weights_have_no_static_graphs(variant, tmp_path: Path, precision: str) -> None:
    assert main([str(variant()), str(tmp_path / "bundle"), "--precision", precision, "--quiet", "--skip-check"]) == 0
    assert not list((tmp_path / "bundle").glob("*.static.onnx"))
    assert "flavour" not in (tmp_path / "bundle" / "bundle.toml").read_text()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_spatialvla_gives_the_official_ids_and_logits(bundles, golden: Path, precision: str) -> None:
    """Decoding with its own tokens, from the official pixels and encoded points, eos included."""
    static, tolerance = Static(bundles["spatialvla", precision]), TOLERANCE[precision]
    for number in range(5):
        about = json.loads((golden / "cases" / f"case{number}.json").read_text())
        tensors = load_file(golden / "cases" / f"case{number}.safetensors")
        pixels = (tensors["resized_u8"].astype(np.float64) * 0.00392156862745098).astype(np.float32).transpose(2, 0, 1)[None]
        found = static.run("vision", {"pixel_values": pixels, "freq_encoding": tensors["freq_encoding"]})
        for stage in ("siglip_last_hidden", "pos_embed_3d", "image_features"):
            assert relative(found[stage], tensors[stage]) < tolerance, f"case {number} {stage}"
        expected = tensors["generated_ids"][0].tolist()
        ids, logits = static.generate(found["image_features"], np.array(about["input_ids_text"]), len(expected))
        assert ids == expected, f"case {number}"
        for k in (k for k in range(len(logits)) if f"step{k}_logits" in tensors):
            assert relative(logits[k], tensors[f"step{k}_logits"]) < tolerance, f"case {number} step {k}"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_openvla_gives_the_official_ids_and_logits(bundles, official, precision: str) -> None:
    static, tolerance = Static(bundles["openvla", precision]), TOLERANCE[precision]
    for number in range(5):
        tensors = official.case(number)
        found = static.run("vision", {"pixel_values": official.pixels(number)})
        assert relative(found["patch_features"], tensors["patch_features"]) < tolerance
        assert relative(found["image_features"], tensors["projected"]) < tolerance
        expected = tensors["generated_ids"].tolist()
        ids, logits = static.generate(found["image_features"], official.text_ids(number), len(expected))
        assert ids == expected, f"case {number}"
        assert relative(logits[0], tensors["first_step_logits"]) < tolerance


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_gives_the_logits_of_fp32_in_another_evaluator(bundles, family: str) -> None:
    """No CPU has these products: onnx's reference evaluator computes each operator as the standard says. Ids are equal where the
    first logit is ahead by more than rounding."""
    bundle = bundles[family, "bf16"]
    stored = load_file(bundle / "golden.safetensors")
    case = {name.removeprefix("case0."): tensor for name, tensor in stored.items() if name.startswith("case0.")}
    inputs = {name: case[name] for name in ("pixel_values", "freq_encoding") if name in case}
    features = evaluated(bundle / "vision.static.onnx", inputs)["image_features"]
    assert relative(features, case["image_features"]) < TOLERANCE["bf16"]
    rows = 384 if family == "spatialvla" else 256 + 128
    found = evaluated(bundle / "prefill.static.onnx", prompt(features, case["text_ids"], rows - features.shape[1]))
    filled, ids = features.shape[1] + len(case["text_ids"]), case["token_ids"].tolist()
    for number in range(min(3, len(ids))):
        logits = found["logits"][0]
        assert relative(logits, case[f"step{number}_logits"]) < TOLERANCE["bf16"], f"step {number}"
        second, first = np.sort(case[f"step{number}_logits"])[-2:]
        clear = first - second > 2 * np.abs(logits - case[f"step{number}_logits"]).max()
        assert int(logits.argmax()) == ids[number] or not clear, f"step {number}"
        assert clear or family == "openvla", "SpatialVLA's golden weights have clear margins"
        cache = {name.replace("present", "past"): value for name, value in found.items() if name != "logits"}
        found = evaluated(bundle / "decode.static.onnx", step(ids[number], filled + number) | cache)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_fills_the_prompt_up_is_not_heard(bundles, family: str) -> None:
    """Bit for bit, for the shortest prompt and the longest."""
    static = Static(bundles[family, "fp32"])
    stored = load_file(bundles[family, "fp32"] / "golden.safetensors")
    features, text_ids = stored["case0.image_features"], stored["case0.text_ids"]
    longest = np.resize(text_ids, static.text_tokens_max)
    for ids in (text_ids[:2], text_ids, longest[:-1], longest):
        (quiet, quiet_logits), (loud, loud_logits) = (static.generate(features, ids, 3, fill) for fill in (0, int(text_ids[-1])))
        assert quiet == loud
        assert all(np.array_equal(*pair) for pair in zip(quiet_logits, loud_logits, strict=True)), f"{len(ids)} ids"


def test_decode_writes_one_row_and_reads_none_beyond_it(bundles) -> None:
    static = Static(bundles["spatialvla", "fp32"])
    stored = load_file(bundles["spatialvla", "fp32"] / "golden.safetensors")
    found = static.run("prefill", prompt(stored["case0.image_features"], stored["case0.text_ids"], static.text_tokens_max))
    past = {name.replace("present", "past"): value for name, value in found.items() if name != "logits"}
    row = stored["case0.image_features"].shape[1] + len(stored["case0.text_ids"])
    results = []
    for beyond in (0.0, 1e4):
        changed = {name: value.copy() for name, value in past.items()}
        for value in changed.values():
            value[:, :, row:] = beyond
        results.append(static.run("decode", step(int(stored["case0.token_ids"][0]), row) | changed))
        for name, value in changed.items():
            different = np.flatnonzero((results[-1][name.replace("past", "present")] != value).any(axis=(0, 1, 3)))
            assert different.tolist() == [row], name
    assert np.array_equal(results[0]["logits"], results[1]["logits"])


def test_the_estimator_gives_the_depth_of_the_other_flavour(bundles) -> None:
    stored = load_file(bundles["spatialvla", "fp16"] / "golden.safetensors")
    pixels = {"pixel_values": stored["case0.pixel_values"]}
    depths = []
    for flavour in ("cpu", "static"):
        for precision in ("fp32", "fp16"):
            depths.append(Static(bundles["spatialvla", precision], flavour).run("depth", pixels)["depth_m"])
    for depth in depths[1:]:
        # Where attractors meet, rounding is multiplied by thousands: see selfcheck.
        difference = np.abs(depth - depths[0])
        assert np.quantile(difference, 0.99) < 1e-3 and difference.max() < 0.2, difference.max()


MISTAKES = {
    "keys that are not there are seen": lambda monkeypatch: monkeypatch.setattr(static_graph, "UNSEEN", np.float32(0)),
    "the rotary half is turned the other way": lambda monkeypatch: swap(monkeypatch, "Sub", "Add"),
    "the prompt's last row is one too far": lambda monkeypatch: shifted(monkeypatch),
}


def swap(monkeypatch, kind: str, other: str) -> None:
    whole = static_graph.StaticGraph.op

    def op(graph, name, inputs, out=None, domain="", **attributes):
        return whole(graph, other if name == kind and len(inputs) == 2 and inputs[0].startswith("mul") else name, inputs, out, domain, **attributes)

    monkeypatch.setattr(static_graph.StaticGraph, "op", op)


def shifted(monkeypatch) -> None:
    whole = static_graph.StaticGraph.op

    def op(graph, name, inputs, out=None, domain="", **attributes):
        inputs = [inputs[0], graph.integers(0)] if name == "Sub" and inputs[0] == "prompt_tokens" else inputs
        return whole(graph, name, inputs, out, domain, **attributes)

    monkeypatch.setattr(static_graph.StaticGraph, "op", op)


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_static_graph_that_is_wrong_stops_the_export(
    golden: Path, official, tmp_path: Path, capsys, monkeypatch, family: str, mistake: str
) -> None:
    checkpoint = golden / "ckpt" if family == "spatialvla" else official.directory / "ckpt"
    MISTAKES[mistake](monkeypatch)
    code = main([str(checkpoint), str(tmp_path / "bundle"), "--quiet"])
    message = capsys.readouterr().err
    assert code == 3 and ".static" in message, message
    assert not (tmp_path / "bundle").exists()
