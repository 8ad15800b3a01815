"""What a picture looks like after TensorFlow has written it as JPEG and read it again, bit for bit, without any entropy coding.

From: `[height, width, 3]` u8 RGB. To: the same shape. Source: the official evaluation scripts call `tf.io.encode_jpeg` (quality 95, 4:2:0,
accurate forward DCT) and then `decode_image`, which decodes with the fast integer inverse DCT and smooth ("fancy") chroma upsampling.
Arithmetic: libjpeg's, in whole numbers; arrays of blocks are `[blocks, 8, 8]`, row by column. Checked against TensorFlow's pictures.
"""

from __future__ import annotations

import numpy as np

QUALITY_SCALE = 10  # of quality 95: 200 - 2 * 95
LUMINANCE = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
CHROMINANCE = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    *[[99] * 8] * 4,
]
BLOCK, CENTER = 8, 128
# Below three chroma columns the decoder repeats samples instead of smoothing them.
SMOOTHED_COLUMNS_MIN = 3


def round_trip(picture: np.ndarray) -> np.ndarray:
    """`[height, width, 3]` u8 to what comes back."""
    height, width, _ = picture.shape
    luma, blue, red = _to_ycc(picture.astype(np.int64))
    luma = _coded(luma, LUMINANCE)[:height, :width]
    columns = (width + 1) // 2
    blue, red = (_upsampled(_coded(_halved(plane), CHROMINANCE)[:, :columns], height, width) for plane in (blue, red))
    return _to_rgb(luma, blue, red)


# ---- colours: fixed point with 16 fraction bits


def _fixed(value: float) -> int:
    return int(value * 65536 + 0.5)


def _to_ycc(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    half, offset = 1 << 15, (CENTER << 16) + (1 << 15) - 1
    luma = _fixed(0.29900) * r + _fixed(0.58700) * g + _fixed(0.11400) * b + half
    blue = -_fixed(0.16873589) * r - _fixed(0.33126411) * g + _fixed(0.50000) * b + offset
    red = _fixed(0.50000) * r - _fixed(0.41868759) * g - _fixed(0.08131241) * b + offset
    return luma >> 16, blue >> 16, red >> 16


def _to_rgb(luma: np.ndarray, blue: np.ndarray, red: np.ndarray) -> np.ndarray:
    blue, red, half = blue - CENTER, red - CENTER, 1 << 15
    r = luma + ((_fixed(1.40200) * red + half) >> 16)
    g = luma + ((-_fixed(0.34414) * blue + half - _fixed(0.71414) * red) >> 16)
    b = luma + ((_fixed(1.77200) * blue + half) >> 16)
    return np.clip(np.stack([r, g, b], axis=-1), 0, 255).astype(np.uint8)


# ---- chroma planes: half the size, there and back


def _halved(plane: np.ndarray) -> np.ndarray:
    """Means of 2×2, ties rounded down in even columns and up in odd ones.

    The last column is repeated before, up to whole blocks, so that its copies are rounded both ways; of rows only an odd one is.
    """
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, -width % (2 * BLOCK))), mode="edge")
    sums = even[0::2, 0::2] + even[0::2, 1::2] + even[1::2, 0::2] + even[1::2, 1::2]
    return (sums + 1 + np.arange(sums.shape[1]) % 2) >> 2


def _upsampled(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """To `[height, width]`: each new sample is 3/4 of the nearer and 1/4 of the further neighbour, per axis."""
    if plane.shape[1] < SMOOTHED_COLUMNS_MIN:
        return plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    rows = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
    tall = np.empty((2 * plane.shape[0], plane.shape[1]), dtype=np.int64)
    tall[0::2] = 3 * plane + rows[:-2]
    tall[1::2] = 3 * plane + rows[2:]
    columns = np.pad(tall, ((0, 0), (1, 1)), mode="edge")
    wide = np.empty((tall.shape[0], 2 * tall.shape[1]), dtype=np.int64)
    wide[:, 0::2] = (3 * tall + columns[:, :-2] + 8) >> 4
    wide[:, 1::2] = (3 * tall + columns[:, 2:] + 7) >> 4
    return wide[:height, :width]


# ---- one plane: blocks, transform, quantization and back


def _coded(plane: np.ndarray, table: list[list[int]]) -> np.ndarray:
    """One plane after quantization of its 8×8 blocks; same shape."""
    height, width = plane.shape
    padded = np.pad(plane, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge")
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)
    steps = np.clip((np.array(table, dtype=np.int64) * QUALITY_SCALE + 50) // 100, 1, 255)
    decoded = _inverse(_quantized(_forward(blocks - CENTER), steps), steps)
    return decoded.reshape(rows, columns, BLOCK, BLOCK).swapaxes(1, 2).reshape(padded.shape)[:height, :width]


def _quantized(coefficients: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The forward transform leaves eight times the coefficient; ties are rounded away from zero."""
    divisors = steps * 8
    return np.sign(coefficients) * ((np.abs(coefficients) + divisors // 2) // divisors)


def _forward(blocks: np.ndarray) -> np.ndarray:
    """Accurate forward DCT (Loeffler, Ligtenberg, Moschytz; 13 fraction bits), rows first, times 8."""
    by_rows = _forward_pass(blocks, first=True)
    return _forward_pass(by_rows.swapaxes(1, 2), first=False).swapaxes(1, 2)


def _forward_pass(x: np.ndarray, first: bool) -> np.ndarray:
    """Along the last axis. The first pass keeps two more fraction bits, the second removes them."""
    bits, extra = 13, 2
    fixed = {value: int(value * (1 << bits) + 0.5) for value in (
        0.298631336, 0.390180644, 0.541196100, 0.765366865, 0.899976223, 1.175875602,
        1.501321110, 1.847759065, 1.961570560, 2.053119869, 2.562915447, 3.072711026,
    )}  # fmt: skip
    s = [x[..., i] + x[..., 7 - i] for i in range(4)]
    d = [x[..., i] - x[..., 7 - i] for i in range(4)]
    even, odd = (s[0] + s[3], s[1] + s[2]), (s[0] - s[3], s[1] - s[2])
    shift = bits - extra if first else bits + extra

    def scaled(value: np.ndarray) -> np.ndarray:
        return (value + (1 << (shift - 1))) >> shift

    def plain(value: np.ndarray) -> np.ndarray:
        return value << extra if first else (value + (1 << (extra - 1))) >> extra

    out = np.empty_like(x)
    out[..., 0], out[..., 4] = plain(even[0] + even[1]), plain(even[0] - even[1])
    z1 = (odd[0] + odd[1]) * fixed[0.541196100]
    out[..., 2] = scaled(z1 + odd[0] * fixed[0.765366865])
    out[..., 6] = scaled(z1 - odd[1] * fixed[1.847759065])

    t4, t5, t6, t7 = d[3], d[2], d[1], d[0]
    z5 = (t4 + t6 + t5 + t7) * fixed[1.175875602]
    z1, z2 = -(t4 + t7) * fixed[0.899976223], -(t5 + t6) * fixed[2.562915447]
    z3 = z5 - (t4 + t6) * fixed[1.961570560]
    z4 = z5 - (t5 + t7) * fixed[0.390180644]
    out[..., 7] = scaled(t4 * fixed[0.298631336] + z1 + z3)
    out[..., 5] = scaled(t5 * fixed[2.053119869] + z2 + z4)
    out[..., 3] = scaled(t6 * fixed[3.072711026] + z2 + z3)
    out[..., 1] = scaled(t7 * fixed[1.501321110] + z1 + z4)
    return out


def _inverse(coefficients: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Fast inverse DCT (Arai, Agui, Nakajima; 8 fraction bits, products cut off and not rounded), columns first, to samples 0..=255.

    In 16 bits that wrap around, as libjpeg's vector code computes: hard checkerboards do overflow, and TensorFlow shows what comes of it.
    """
    scale = np.array([1.0, 1.387039845, 1.306562965, 1.175875602, 1.0, 0.785694958, 0.541196100, 0.275899379])
    fixed = np.floor(np.outer(scale, scale) * (1 << 14) + 0.5).astype(np.int64)
    multipliers = (steps * fixed + (1 << 11)) >> 12
    by_columns = _inverse_pass((coefficients * multipliers).astype(np.int16).swapaxes(1, 2)).swapaxes(1, 2)
    samples = _inverse_pass(by_columns) >> 5
    return np.clip(samples.astype(np.int64) + CENTER, 0, 255)


def _times(value: np.ndarray, factor: int) -> np.ndarray:
    """`value * factor / 256` of int16 arrays; the product of both factors, scaled up, keeps its upper 16 bits."""
    return _upper_half(value << 2, factor)


def _upper_half(value: np.ndarray, factor: int) -> np.ndarray:
    return ((value.astype(np.int32) * (factor << 6)) >> 16).astype(np.int16)


def _inverse_pass(x: np.ndarray) -> np.ndarray:
    """Along the last axis, int16."""
    s = [x[..., i] for i in range(8)]
    t10, t11 = s[0] + s[4], s[0] - s[4]
    t13 = s[2] + s[6]
    t12 = _times(s[2] - s[6], 362) - t13
    e = [t10 + t13, t11 + t12, t11 - t12, t10 - t13]

    z13, z10, z11, z12 = s[5] + s[3], s[5] - s[3], s[1] + s[7], s[1] - s[7]
    t7 = z11 + z13
    z5 = _upper_half((z10 << 2) + (z12 << 2), 473)
    t6 = _times(z10, -413) - z10 + z5 - t7
    t5 = _times(z11 - z13, 362) - t6
    t4 = _times(z12, 277) - z5 + t5
    return np.stack([e[0] + t7, e[1] + t6, e[2] + t5, e[3] - t4, e[3] + t4, e[2] - t5, e[1] - t6, e[0] - t7], axis=-1)
