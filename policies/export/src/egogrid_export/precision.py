"""What a precision means: how each matrix and table of a bundle is stored, by what it is for. Figures: `docs/precision.md`.

From: the name on the command line. To: `weights.py`, which writes tensors that way, and `graph.py`, which multiplies with them. Biases,
norms, rotary tables and position embeddings are float32 in every precision: they are small, and sums are what rounding shows in first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from egogrid_export.quantize import Blocks, blocks_for

# What tensors are for. Everything that is no part of a language model is of a tower: vision, depth, points, projector.
TOWER, TEXT, HEAD, EMBEDDING = "tower", "text", "head", "embedding"


@dataclass(frozen=True)
class Precision:
    """`dtype`: of matrices and tables that are not cut into blocks. The CPU's graphs read 16-bit ones as float32.

    `bits`: of integers, by what a tensor is for; none of it in the precisions of floating point.
    `tolerance`: how far a stage of the written graphs may be from the float32 reference, of its largest value. It finds a wrong graph;
    what the precision does to actions is measured apart. `static_tolerance`: of the static graphs, which also compute in `dtype`; None
    where the CPU provider cannot run them.
    """

    name: str
    dtype: str
    tolerance: float
    static_tolerance: float | None = None
    bits: Mapping[str, int] = field(default_factory=dict)

    @property
    def checked(self) -> list[tuple[str, float]]:
        """Flavours of graphs that the exporter runs on the CPU, with their tolerances."""
        static = [] if self.static_tolerance is None else [("static", self.static_tolerance)]
        return [("cpu", self.tolerance), *static]

    @property
    def is_float(self) -> bool:
        """Nothing is cut into blocks. Only such weights have static graphs: their integers belong to operators of com.microsoft."""
        return not self.bits

    def blocks(self, name: str, width: int) -> Blocks | None:
        """How rows `[n, width]` are cut, None where they stay numbers of `dtype`. A row is what one output is computed from."""
        bits = self.bits.get(role_of(name))
        return None if bits is None else blocks_for(bits, width)


def role_of(name: str) -> str:
    """What a tensor of `weights.bin` is for: `text.head…`, `text.embeddings…`, other `text.…`, and the rest."""
    first, _, rest = name.partition(".")
    if first != "text":
        return TOWER
    return HEAD if rest.startswith("head") else EMBEDDING if rest.startswith("embeddings") else TEXT


PRECISIONS = {
    precision.name: precision
    for precision in (
        # The smallest known mistake (pixel centres in bf16) moves logits by 3e-4.
        Precision("fp32", "f32", 1e-4, static_tolerance=1e-4),
        # Ten times what the f32 checkpoint of the shipped policy differs by; 16-bit checkpoints differ as little as fp32 does.
        # The static graphs of OpenVLA's golden checkpoint, whose products are rounded too, differ by 4e-3.
        Precision("fp16", "f16", 5e-3, static_tolerance=2e-2),
        Precision("bf16", "bf16", 8e-2),
        # Where a block of 16 does not fit, matrices are small and stay float32.
        Precision("int8", "f32", 0.2, bits={TOWER: 8, TEXT: 8, HEAD: 8, EMBEDDING: 8}),
        # The head chooses the token and the towers run once: both are kept exact rather than small.
        Precision("int4", "f32", 0.6, bits={TOWER: 8, TEXT: 4, HEAD: 8, EMBEDDING: 8}),
    )
}
