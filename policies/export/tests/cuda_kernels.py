"""CUDA kernels of ONNX Runtime, of the operators that static graphs use: first and last version of the operator, types.

From: `docs/OperatorKernels.md` of ONNX Runtime, which is generated from its kernels. A kernel without a last version is taken for exactly
its first one (`KernelRegistry::VerifyKernelDef`); a node without a kernel would run on the CPU, which the runtime refuses.
"""

from __future__ import annotations

FLOATS = {"f32", "f16", "bf16"}
INTEGERS = {"i64", "i32"}
ANY = FLOATS | INTEGERS | {"bool"}

# The types of the first input; the second of Gather and Where's condition have one type everywhere.
KERNELS: dict[str, tuple[int, int | None, set[str]]] = {
    "Add": (14, None, FLOATS | INTEGERS),
    "ArgMax": (13, None, {"f32", "f16"}),
    "Cast": (13, 18, ANY),
    "Clip": (13, None, {"f32", "f16", "i64"}),
    "Concat": (13, None, ANY),
    "Conv": (11, 21, {"f32", "f16"}),
    "Div": (14, None, FLOATS | INTEGERS),
    "Equal": (13, None, {"f32", "f16", "i32", "i64", "bool"}),
    "Erf": (13, None, FLOATS),
    "Exp": (13, None, FLOATS),
    "Gather": (13, None, ANY),
    "Gemm": (13, None, FLOATS),
    "Identity": (14, 18, ANY),
    "LayerNormalization": (17, None, FLOATS),
    "Less": (13, None, {"f32", "f16", "i32", "i64"}),
    "LessOrEqual": (16, None, {"f32", "f16", "i32", "i64"}),
    "Log": (13, None, {"f32", "f16"}),
    "MatMul": (13, None, FLOATS),
    "Mul": (14, None, FLOATS | INTEGERS),
    "Pow": (15, None, FLOATS | INTEGERS),
    "ReduceMax": (18, None, {"f32", "f16", "i32", "i64"}),
    "ReduceMean": (18, None, {"f32", "f16", "i32"}),
    "ReduceSum": (13, None, FLOATS | INTEGERS),
    "Relu": (14, None, FLOATS),
    "Reshape": (14, 18, ANY),
    "Resize": (18, 18, {"f32", "f16", "i32"}),
    "Sigmoid": (13, None, FLOATS),
    "Slice": (13, None, ANY),
    "Softmax": (13, None, FLOATS),
    "Softplus": (1, None, {"f32", "f16"}),
    "Split": (18, None, ANY),
    "Sqrt": (13, None, FLOATS),
    "Sub": (14, None, FLOATS | INTEGERS),
    "Tanh": (13, None, FLOATS),
    "Transpose": (13, 20, ANY),
    "Where": (16, None, FLOATS | INTEGERS),
}
