"""Runs static graphs in tests: as the runtime does it, in ONNX Runtime on the CPU, or one by one in onnx's own evaluator."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import external_data_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from egogrid_export.graph import file_name


def prompt(features: np.ndarray, text_ids: np.ndarray, text_tokens_max: int, fill: int = 0) -> dict[str, np.ndarray]:
    filled = np.full((1, text_tokens_max), fill, dtype=np.int64)
    filled[0, : len(text_ids)] = text_ids
    return {"image_features": features, "text_ids": filled, "prompt_tokens": np.array([features.shape[1] + len(text_ids)])}


def step(token_id: int, position: int) -> dict[str, np.ndarray]:
    return {"token_id": np.array([[token_id]]), "position": np.array([position])}


class Static:
    """The graphs of one bundle, loaded when they are first run."""

    def __init__(self, bundle: Path, flavour: str = "static") -> None:
        self._bundle, self._flavour, self._sessions = bundle, flavour, {}

    @property
    def text_tokens_max(self) -> int:
        return next(port.shape[1] for port in self._session("prefill").get_inputs() if port.name == "text_ids")

    def run(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = self._session(name)
        names = [port.name for port in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def generate(self, features: np.ndarray, text_ids: np.ndarray, count: int, fill: int = 0) -> tuple[list[int], list[np.ndarray]]:
        """Greedy ids and the logits that chose them."""
        found = self.run("prefill", prompt(features, text_ids, self.text_tokens_max, fill))
        filled, logits = features.shape[1] + len(text_ids), [found["logits"][0]]
        ids = [int(logits[0].argmax())]
        while len(ids) < count:
            past = {name.replace("present", "past"): value for name, value in found.items() if name != "logits"}
            found = self.run("decode", step(ids[-1], filled) | past)
            filled += 1
            logits.append(found["logits"][0])
            ids.append(int(logits[-1].argmax()))
        return ids, logits

    def _session(self, name: str):
        if name not in self._sessions:
            ort = pytest.importorskip("onnxruntime")
            options = ort.SessionOptions()
            options.log_severity_level = 3
            self._sessions[name] = ort.InferenceSession(self._bundle / file_name(name, self._flavour), options)
        return self._sessions[name]


class _MatMul(OpRun):
    """numpy has no product of bfloat16: in float32, and the result rounded once."""

    op_domain = ""

    def _run(self, a, b):
        if a.dtype != ml_dtypes.bfloat16:
            return (np.matmul(a, b),)
        return (np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype),)


class _Gemm(OpRun):
    op_domain = ""

    def _run(self, a, b, c=None, alpha=None, beta=None, transA=None, transB=None):  # noqa: N803 (the operator's own names)
        assert c is None and not transA and transB
        return (np.matmul(a.astype(np.float32), b.astype(np.float32).T).astype(a.dtype),)


_MatMul.__name__, _Gemm.__name__ = "MatMul", "Gemm"


def evaluated(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    model = onnx.load(path, load_external_data=False)
    external_data_helper.load_external_data_for_model(model, str(path.parent))
    names = [output.name for output in model.graph.output]
    found = ReferenceEvaluator(model, new_ops=[_MatMul, _Gemm]).run(names, inputs)
    return dict(zip(names, found, strict=True))
