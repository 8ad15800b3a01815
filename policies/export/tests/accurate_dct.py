"""libjpeg's accurate inverse DCT (Loeffler, Ligtenberg, Moschytz), so that tests can compare everything else of a JPEG with Pillow's."""

from __future__ import annotations

import numpy as np

BITS, EXTRA = 13, 2


def accurate_inverse(coefficients: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """`[blocks, 8, 8]` quantized coefficients to samples 0..=255, columns first."""
    columns = _pass((coefficients * steps).swapaxes(1, 2), BITS - EXTRA).swapaxes(1, 2)
    return np.clip(_pass(columns, BITS + EXTRA + 3) + 128, 0, 255)


def _pass(x: np.ndarray, shift: int) -> np.ndarray:
    def fixed(value: float) -> int:
        return int(value * (1 << BITS) + 0.5)

    s = [x[..., i] for i in range(8)]
    z1 = (s[2] + s[6]) * fixed(0.541196100)
    t2, t3 = z1 - s[6] * fixed(1.847759065), z1 + s[2] * fixed(0.765366865)
    t0, t1 = (s[0] + s[4]) << BITS, (s[0] - s[4]) << BITS
    even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3]
    z5 = (s[7] + s[3] + s[5] + s[1]) * fixed(1.175875602)
    z1, z2 = -(s[7] + s[1]) * fixed(0.899976223), -(s[5] + s[3]) * fixed(2.562915447)
    z3, z4 = z5 - (s[7] + s[3]) * fixed(1.961570560), z5 - (s[5] + s[1]) * fixed(0.390180644)
    odd = [
        s[1] * fixed(1.501321110) + z1 + z4,
        s[3] * fixed(3.072711026) + z2 + z3,
        s[5] * fixed(2.053119869) + z2 + z4,
        s[7] * fixed(0.298631336) + z1 + z3,
    ]
    sums = [even[i] + odd[i] for i in range(4)] + [even[i] - odd[i] for i in (3, 2, 1, 0)]
    return np.stack([(value + (1 << (shift - 1))) >> shift for value in sums], axis=-1)
