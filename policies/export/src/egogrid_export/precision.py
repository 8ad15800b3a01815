"""What a precision means: how each matrix and table of a bundle is stored, by what it is for. Figures: `docs/precision.md`.

From: the name on the command line. To: `weights.py`, which writes tensors that way, and `graph.py`, which multiplies with them. Biases,
norms, rotary tables and position embeddings are float32 in every precision: they are small, and sums are what rounding shows in first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from egogrid_export.quantize import Blocks, blocks_for

# What tensors are for. Everything that is no part of a language model or of the depth estimator is of a tower: vision, points, projector.
TOWER, DEPTH, TEXT, HEAD, EMBEDDING = "tower", "depth", "text", "head", "embedding"
ROLES = (TOWER, DEPTH, TEXT, HEAD, EMBEDDING)
DEPTH_PREFIX, TEXT_PREFIX = "zoe", "text"


@dataclass(frozen=True)
class Precision:
    """`kinds`: how matrices and tables are stored, by what they are for: a type, or the bits of integers in blocks. The CPU's graphs
    read 16-bit numbers as float32.

    `tolerance`: how far a stage of the written graphs may be from the float32 reference, of its largest value. It finds a wrong graph;
    what the precision does to actions is measured apart. `static_tolerance`: of the static graphs, which also compute in that type; None
    where the CPU provider cannot run them.
    """

    name: str
    tolerance: float
    kinds: Mapping[str, str | int]
    static_tolerance: float | None = None

    @property
    def checked(self) -> list[tuple[str, float]]:
        """Flavours of graphs that the exporter runs on the CPU, with their tolerances."""
        static = [] if self.static_tolerance is None else [("static", self.static_tolerance)]
        return [("cpu", self.tolerance), *static]

    @property
    def is_float(self) -> bool:
        """Nothing is cut into blocks. Only such weights have static graphs: their integers belong to operators of com.microsoft."""
        return all(isinstance(kind, str) for kind in self.kinds.values())

    @property
    def products(self) -> str:
        """Type of the products of static graphs, which exist where nothing is cut into blocks: that of the text layers."""
        kind = self.kinds[TEXT]
        if isinstance(kind, int):
            raise AssertionError(f"{self.name} has no static graphs")
        return kind

    def blocks(self, name: str, width: int) -> Blocks | None:
        """How rows `[n, width]` are cut, None where they stay numbers. A row is what one output is computed from."""
        kind = self.kinds[role_of(name)]
        return blocks_for(kind, width) if isinstance(kind, int) else None

    def dtype(self, name: str) -> str:
        """Of a matrix or table that is not cut into blocks. Those that no block fits are small, and float32."""
        kind = self.kinds[role_of(name)]
        return "f32" if isinstance(kind, int) else kind


def role_of(name: str) -> str:
    """What a tensor of `weights.bin` is for: `text.head…`, `text.embeddings…`, other `text.…`, `zoe.…`, and the rest."""
    first, _, rest = name.partition(".")
    if first != TEXT_PREFIX:
        return DEPTH if first == DEPTH_PREFIX else TOWER
    return HEAD if rest.startswith("head") else EMBEDDING if rest.startswith("embeddings") else TEXT


PRECISIONS = {
    precision.name: precision
    for precision in (
        # The smallest known mistake (pixel centres in bf16) moves logits by 3e-4.
        Precision("fp32", 1e-4, dict.fromkeys(ROLES, "f32"), static_tolerance=1e-4),
        # Ten times what the f32 checkpoint of the shipped policy differs by; 16-bit checkpoints differ as little as fp32 does.
        # The static graphs of OpenVLA's golden checkpoint, whose products are rounded too, differ by 4e-3.
        Precision("fp16", 5e-3, dict.fromkeys(ROLES, "f16"), static_tolerance=2e-2),
        Precision("bf16", 8e-2, dict.fromkeys(ROLES, "bf16")),
        # The estimator multiplies rounding where its bins meet, and the encoding of its points does it again, by up to 128.
        Precision("int8", 0.2, dict.fromkeys(ROLES, 8) | {DEPTH: "f16"}),
        # The head chooses the token and the towers run once: both are kept exact rather than small.
        Precision("int4", 0.6, dict.fromkeys(ROLES, 8) | {DEPTH: "f16", TEXT: 4}),
    )
}
