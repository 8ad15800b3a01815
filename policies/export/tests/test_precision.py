"""What each precision stores, and that its graphs compute from that what they should."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from egogrid_export.cli import main
from egogrid_export.errors import CheckpointError
from egogrid_export.graph import GraphBuilder, WeightsFile
from egogrid_export.precision import DEPTH, EMBEDDING, HEAD, PRECISIONS, TEXT, TOWER, role_of
from egogrid_export.quantize import Blocks, blocks_for, dequantized, quantized
from egogrid_export.weights import Quantized, rounded

# Widths that 16 does not divide, rows of an odd number of blocks, heads that are padded, a tied head.
ODD_SIZES = {
    "width 44": {"width": 44, "mlp_width": 52, "head_dim": 12},
    "odd number of blocks": {"width": 96, "mlp_width": 80, "vision_width": 48},
    "tied head": {"head": False, "width": 48},
}
SIXTEEN_BITS = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}


def built(directory: Path, precision: str, matrix: np.ndarray, scale: float, few_rows: bool = False) -> GraphBuilder:
    """Every operator that reads a matrix or a table, on one of each, as a language model has them."""
    with WeightsFile(directory, PRECISIONS[precision]) as weights:
        weights.add_matrix("text.m.weight", matrix, scale)
        weights.add("text.m.bias", np.arange(matrix.shape[1]))
        half = len(matrix) // 2
        for table in ("text.embeddings", "text.head"):
            weights.add_rows(table, matrix.shape, [matrix[:half], matrix[half:]], scale)
    graph = GraphBuilder("toy", weights, few_rows)
    x = graph.input("x", "f32", ["n", matrix.shape[0]])
    ids = graph.input("ids", "i64", ["count"])
    y = graph.input("y", "f32", ["n", matrix.shape[1]])
    for name, width in (("product", matrix.shape[1]), ("affine", matrix.shape[1]), ("rows", matrix.shape[1]), ("by_rows", matrix.shape[0])):
        graph.output(name, "f32", ["n", width])
    graph.product(x, "text.m.weight", out="product")
    graph.op("Identity", [graph.affine(x, "text.m")], out="affine")
    graph.op("Identity", [graph.rows("text.embeddings", ids)], out="rows")
    graph.product_by_rows(y, "text.head", out="by_rows")
    graph.save(directory)
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
    places = {entry.key: entry.value for entry in stored["text.head"].external_data}
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
        assert main([str(golden / "ckpt"), str(tmp_path / name), "--precision", name, "--depth", "sensor", "--quiet", "--observations", "0"]) == 0
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
        assert main([str(golden / "ckpt"), str(tmp_path / name), "--precision", name, "--depth", "sensor", "--quiet", "--observations", "0"]) == 0
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


# ---- integers


@pytest.mark.parametrize("blocks", [Blocks(8, 32), Blocks(8, 16), Blocks(4, 32), Blocks(4, 16)])
@pytest.mark.parametrize("width", [32, 96, 160])
def test_every_number_comes_back_to_half_a_step_and_zero_exactly(blocks: Blocks, width: int) -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((40, width)).astype(np.float32) * rng.lognormal(0, 2, (40, 1)).astype(np.float32)
    rows[1], rows[2], rows[3, ::3], rows[4], rows[5] = 0, np.abs(rows[2]) + 3, 0, -5, np.float32(1e-41)
    values, scales, zeros = quantized(rows, blocks)
    assert values.shape == (40, width * blocks.bits // 8) and scales.shape == (40, width // blocks.block)
    assert zeros.shape == (40, -(-(width // blocks.block) * blocks.bits // 8))
    found = dequantized(values, scales, zeros, blocks)
    half_steps = np.repeat(scales, blocks.block, axis=1) / 2
    assert (np.abs(found - rows) <= half_steps * 1.0001).all()
    assert not found[rows == 0].any()


def test_the_largest_error_of_a_block_is_that_of_its_bits_and_finite_whatever_is_in_it() -> None:
    rows = np.array([[np.finfo(np.float32).max / 4, *[0] * 14, -np.finfo(np.float32).max / 4]], np.float32)
    for bits in (4, 8):
        found = dequantized(*quantized(rows, Blocks(bits, 16)), Blocks(bits, 16))
        assert np.isfinite(found).all() and np.abs(found / rows[0, 0] - rows / rows[0, 0]).max() < 1.01 / ((1 << bits) - 1)


def test_rows_that_no_block_fits_stay_float32() -> None:
    assert [blocks_for(8, width) for width in (12, 40, 204, 588, 179)] == [None] * 5
    assert [blocks_for(4, width) for width in (16, 4304, 48)] == [Blocks(4, 16)] * 3
    assert [blocks_for(4, width) for width in (32, 1152, 11008)] == [Blocks(4, 32)] * 3


def test_what_a_tensor_is_for_follows_from_its_name() -> None:
    roles = {"text.head": HEAD, "text.embeddings_scaled": EMBEDDING, "text.3.qkv": TEXT, "vision.0.qkv.weight": TOWER, "projector.weight": TOWER, "zoe.3.fc1.weight": DEPTH}
    assert {name: role_of(name) for name in roles} == roles


@pytest.mark.parametrize("scale", [1.0, 5.5])
@pytest.mark.parametrize("few_rows", [False, True])
@pytest.mark.parametrize(("precision", "shape"), [("int8", (64, 96)), ("int8", (48, 32)), ("int4", (64, 96)), ("int4", (96, 48)), ("int4", (48, 32))])
def test_operators_multiply_with_the_stored_integers(tmp_path: Path, precision: str, shape: tuple[int, int], few_rows: bool, scale: float) -> None:
    """Exactly where the matrix is made float32; to the 8 bits of the activations where integers are multiplied."""
    matrix = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    graph = built(tmp_path, precision, matrix, scale, few_rows)
    found, inputs = toy_results(tmp_path, matrix)
    weights, stored = (tmp_path / "weights.bin").read_bytes(), graph.weights.stored
    kept = {name: from_file(weights, stored[name]) for name in ("text.m.weight", "text.embeddings", "text.head")}
    assert [stored[name].blocks.bits for name in kept] == [4 if precision == "int4" else 8, 8, 8]
    for name, steps in (("text.m.weight", matrix.T), ("text.head", matrix), ("text.embeddings", matrix)):
        assert np.abs(kept[name] - steps * scale).max() < scale * np.ptp(matrix) / ((1 << stored[name].blocks.bits) - 1)
    expected = {"product": inputs["x"] @ kept["text.m.weight"].T, "by_rows": inputs["y"] @ kept["text.head"].T}
    expected |= {"affine": expected["product"] + np.arange(shape[1]), "rows": kept["text.embeddings"][[shape[0] - 1, 0, 2]]}
    integers = {"by_rows"} | ({"product", "affine"} if few_rows or precision == "int4" else set())
    for name, value in expected.items():
        bound = 1e-2 if name in integers else 1e-6
        assert np.abs(found[name] - value).max() < bound * np.abs(value).max() + 1e-6, name


def from_file(weights: bytes, stored: Quantized) -> np.ndarray:
    parts = []
    for span, kind in ((stored.values, np.uint8), (stored.scales, np.float32), (stored.zeros, np.uint8)):
        assert span.offset % 64 == 0
        parts.append(np.frombuffer(weights[span.offset :][: span.length], kind).reshape(stored.rows, -1))
    return dequantized(*parts, stored.blocks)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_one_large_channel_spoils_its_own_block_only(tmp_path: Path, precision: str) -> None:
    """Language models have channels a hundred times as large as others: one scale for all activations would lose the others."""
    ort = pytest.importorskip("onnxruntime")
    matrix = np.random.default_rng(1).standard_normal((256, 64)).astype(np.float32)
    matrix[7] = 0  # what the large channel adds is known, so that what it spoils is seen
    graph = built(tmp_path, precision, matrix, 1.0, few_rows=True)
    x = np.random.default_rng(2).standard_normal((3, 256)).astype(np.float32)
    x[:, 7] = 300
    inputs = {"x": x, "y": np.zeros((3, 64), np.float32), "ids": np.array([0])}
    (found,) = ort.InferenceSession(tmp_path / "toy.onnx").run(["product"], inputs)
    kept = from_file((tmp_path / "weights.bin").read_bytes(), graph.weights.stored["text.m.weight"])
    expected, others = x @ kept.T, np.arange(256) >= 32
    spoiled = np.abs(found - expected).max()
    assert spoiled < 1.1 * np.abs(x[:, ~others] @ kept[:, ~others].T).max() + 0.02 * np.abs(x[:, others] @ kept[:, others].T).max()


@pytest.mark.parametrize(("precision", "share"), [("int8", 0.32), ("int4", 0.31)])
def test_integer_bundles_are_small_and_store_each_matrix_once(golden: Path, tmp_path: Path, precision: str, share: float) -> None:
    for name in ("fp32", precision):
        assert main([str(golden / "ckpt"), str(tmp_path / name), "--precision", name, "--depth", "sensor", "--quiet", "--observations", "0"]) == 0
    sizes = [(tmp_path / name / "weights.bin").stat().st_size for name in ("fp32", precision)]
    assert sizes[1] / sizes[0] < share
    places: dict[tuple[int, int], set[str]] = {}
    operators = {}
    for graph in ("vision", "prefill", "decode"):
        model = onnx.load(tmp_path / precision / f"{graph}.onnx", load_external_data=False).graph
        operators[graph] = {node.op_type for node in model.node}
        for tensor in model.initializer:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            if entries:
                places.setdefault((int(entries["offset"]), int(entries["length"])), set()).add(tensor.name)
    for names in places.values():
        assert names in ({name} for name in names) or names == {min(names, key=len), f"{min(names, key=len)}.rows"}, names
    spans = sorted(places)
    assert all(first + length <= second for (first, length), (second, _) in pairwise(spans))
    assert sum(length for _, length in spans) > 0.98 * sizes[1], "nothing unused is stored"
    assert {"MatMul", "Gemm"}.isdisjoint(operators["decode"]) and "MatMulNBits" in operators["decode"]
    assert ("MatMulNBits" in operators["vision"], "DequantizeLinear" in operators["vision"]) == (False, True)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "int4"])
@pytest.mark.parametrize("changes", ODD_SIZES.values(), ids=ODD_SIZES)
def test_sizes_that_no_block_fits_export_at_every_precision(variant, tmp_path: Path, precision: str, changes: dict) -> None:
    pytest.importorskip("onnxruntime")
    assert main([str(variant(**changes)), str(tmp_path / "bundle"), "--precision", precision, "--quiet", "--observations", "0"]) == 0
