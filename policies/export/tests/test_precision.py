"""What each precision stores, and that its graphs compute from that what they should."""

from __future__ import annotations

import tomllib
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from egogrid_export.cli import main
from egogrid_export.errors import CheckpointError
from egogrid_export.graph import GraphBuilder, WeightsFile
from egogrid_export.precision import PRECISIONS, rounded

SIXTEEN_BITS = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}


def built(directory: Path, precision: str, matrix: np.ndarray, scale: float) -> GraphBuilder:
    """Every operator that reads a matrix or a table, on one of each."""
    with WeightsFile(directory, PRECISIONS[precision]) as weights:
        weights.add_matrix("m.weight", matrix, scale)
        weights.add("m.bias", np.arange(matrix.shape[1]))
        half = len(matrix) // 2
        weights.add_rows("table", matrix.shape, [matrix[:half], matrix[half:]], scale)
    graph = GraphBuilder("toy", weights)
    x = graph.input("x", "f32", ["n", matrix.shape[0]])
    ids = graph.input("ids", "i64", ["count"])
    y = graph.input("y", "f32", ["n", matrix.shape[1]])
    for name, width in (("product", matrix.shape[1]), ("affine", matrix.shape[1]), ("rows", matrix.shape[1]), ("by_rows", matrix.shape[0])):
        graph.output(name, "f32", ["n", width])
    graph.product(x, "m.weight", out="product")
    graph.op("Identity", [graph.affine(x, "m")], out="affine")
    graph.op("Identity", [graph.rows("table", ids)], out="rows")
    graph.product_by_rows(y, "table", out="by_rows")
    graph.save(directory / "toy.onnx")
    return graph


def toy_results(directory: Path, matrix: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the graph gives for random inputs, and those."""
    ort = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(3)
    inputs = {"x": rng.standard_normal((5, matrix.shape[0])), "y": rng.standard_normal((5, matrix.shape[1]))}
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()} | {"ids": np.array([len(matrix) - 1, 0, 2])}
    session = ort.InferenceSession(directory / "toy.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True)), inputs


@pytest.mark.parametrize("precision", SIXTEEN_BITS)
@pytest.mark.parametrize("scale", [1.0, 5.5])
def test_sixteen_bit_weights_are_those_of_the_checkpoint_and_the_scale_is_applied_after(tmp_path: Path, precision: str, scale: float) -> None:
    kind = SIXTEEN_BITS[precision]
    matrix = np.random.default_rng(1).standard_normal((36, 20)).astype(kind).astype(np.float32)
    built(tmp_path, precision, matrix, scale)
    stored = {tensor.name: tensor for tensor in onnx.load(tmp_path / "toy.onnx", load_external_data=False).graph.initializer}
    places = {entry.key: entry.value for entry in stored["table"].external_data}
    raw = (tmp_path / "weights.bin").read_bytes()[int(places["offset"]) :][: int(places["length"])]
    assert np.array_equal(np.frombuffer(raw, kind).reshape(36, 20), matrix.astype(kind)), "unscaled, so nothing was rounded"
    found, inputs = toy_results(tmp_path, matrix)
    scaled = matrix.astype(np.float64) * scale
    expected = {"product": inputs["x"] @ scaled, "affine": inputs["x"] @ scaled + np.arange(20), "by_rows": inputs["y"] @ scaled.T}
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() < 1e-5 * np.abs(value).max(), name
    assert np.array_equal(found["rows"], matrix[[35, 0, 2]] * np.float32(scale))


def test_a_weight_beyond_the_largest_f16_is_refused_and_not_clamped() -> None:
    with pytest.raises(CheckpointError, match="bf16 or fp32"):
        rounded("w", np.array([1.0, -65520.0], np.float32), "f16")
    assert rounded("w", np.array([65504.0], np.float32), "f16")[0] == 65504.0


@pytest.mark.parametrize("precision", SIXTEEN_BITS)
def test_only_matrices_and_tables_are_stored_in_sixteen_bits_and_the_manifest_says_so(golden: Path, tmp_path: Path, precision: str) -> None:
    sizes = {}
    for name in ("fp32", precision):
        assert main([str(golden / "ckpt"), str(tmp_path / name), "--precision", name, "--quiet"]) == 0
        sizes[name] = (tmp_path / name / "weights.bin").stat().st_size
        assert tomllib.loads((tmp_path / name / "bundle.toml").read_text())["precision"] == name
    assert 0.5 < sizes[precision] / sizes["fp32"] < 0.53
    kinds = {onnx.TensorProto.FLOAT: [], onnx.TensorProto.FLOAT16: [], onnx.TensorProto.BFLOAT16: []}
    for tensor in onnx.load(tmp_path / precision / "prefill.onnx", load_external_data=False).graph.initializer:
        if tensor.external_data:
            kinds[tensor.data_type].append(tensor.name)
    assert all(".norm" in name or name in ("text.cos", "text.sin") for name in kinds[onnx.TensorProto.FLOAT])
    assert "text.head" in sum(kinds.values(), []) and "text.head" not in kinds[onnx.TensorProto.FLOAT]


@pytest.mark.parametrize("precision", SIXTEEN_BITS)
def test_a_bf16_checkpoint_in_sixteen_bits_gives_the_ids_and_logits_of_fp32(golden: Path, tmp_path: Path, precision: str) -> None:
    """The graphs are compared with the float32 reference at the tolerance of fp32, decoding with its ids."""
    found = []
    for name in ("fp32", precision):
        assert main([str(golden / "ckpt"), str(tmp_path / name), "--precision", name, "--quiet"]) == 0
        found.append(greedy(tmp_path / name))
    assert found[0] == found[1]


def greedy(bundle: Path) -> list[list[int]]:
    """Ids of the golden cases by the bundle's own graphs, from pixels on."""
    ort = pytest.importorskip("onnxruntime")
    vision, prefill, decode = (ort.InferenceSession(bundle / f"{name}.onnx") for name in ("vision", "prefill", "decode"))
    stored, all_ids = load_file(bundle / "golden.safetensors"), []
    past = [port.name for port in decode.get_inputs() if port.name.startswith("past.")]
    for number in range(2):
        case = {name.removeprefix(f"case{number}."): value for name, value in stored.items()}
        (features,) = vision.run(["image_features"], {name: case[name] for name in ("pixel_values", "freq_encoding")})
        logits, *cache = prefill.run(None, {"image_features": features, "text_ids": case["text_ids"][None]})
        ids, filled = [int(logits.argmax())], features.shape[1] + len(case["text_ids"])
        for _ in range(11):
            inputs = dict(zip(past, cache, strict=True)) | {"token_id": np.array([ids[-1:]])}
            inputs |= {"seqlens_k": np.array([filled], dtype=np.int32), "total_len": np.array(filled + 1, dtype=np.int32)}
            logits, *cache = decode.run(None, inputs)
            ids.append(int(logits.argmax()))
            filled += 1
        all_ids.append(ids)
    return all_ids


def test_f16_is_refused_for_a_checkpoint_that_it_cannot_hold(variant, tmp_path: Path, capsys) -> None:
    checkpoint = variant(shards=1, dtype="f32")
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["language_model.lm_head.weight"][3, 4] = 1e5
    save_file(tensors, checkpoint / "model.safetensors")
    assert main([str(checkpoint), str(tmp_path / "bundle"), "--precision", "fp16", "--quiet", "--skip-check"]) == CheckpointError.exit_code
    assert "text.head holds 1e+05" in capsys.readouterr().err
    assert not list(tmp_path.glob("*bundle*")), "nothing is left behind"
