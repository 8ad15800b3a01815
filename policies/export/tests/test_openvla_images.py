"""Pictures: the processor's strategies and the evaluation path, bit for bit against the official code and TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import io

import numpy as np
import pytest
from accurate_dct import accurate_inverse
from openvla_official import CASES, Official
from PIL import Image

from egogrid_export.openvla import jpeg
from egogrid_export.openvla.evaluation import crop_values, cropped, evaluation_picture, lanczos3
from egogrid_export.openvla.images import pixel_values, squared
from egogrid_export.pictures import read_picture
from egogrid_export.pillow import resized


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4")).hexdigest()


@pytest.mark.parametrize("number", CASES)
def test_the_processor_is_reproduced_bit_for_bit_whatever_the_picture(official: Official, number: int) -> None:
    """RGB of three sizes, transparent, and gray that becomes wider and lower."""
    assert np.array_equal(squared(official.picture(number), official.image), official.case(number)["resized_u8"])
    assert np.array_equal(pixel_values(official.picture(number), official.image), official.pixels(number))


@pytest.mark.parametrize("number", CASES)
@pytest.mark.parametrize("strategy", ["letterbox", "resize_crop"])
def test_the_other_strategies_are_reproduced_bit_for_bit(official: Official, number: int, strategy: str) -> None:
    image = dataclasses.replace(official.image, strategy=strategy, fill=(127, 127, 127))
    assert np.array_equal(squared(official.picture(number), image), official.prepared(number, strategy))


def test_an_odd_letterbox_stays_one_pixel_short_of_square(official: Official) -> None:
    image = dataclasses.replace(official.image, size_px=10, strategy="letterbox", fill=(9, 8, 7))
    picture = np.full((10, 11, 3), 200, dtype=np.uint8)
    assert (squared(picture, image) == 200).all(), "no border of half a pixel"
    picture = np.full((10, 13, 3), 200, dtype=np.uint8)
    assert (squared(picture, image)[0] != 200).all() and (squared(picture, image)[9] != 200).all()


def test_alpha_is_dropped_and_gray_is_repeated(official: Official, tmp_path) -> None:
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[..., 0] = 200
    Image.fromarray(rgba).save(tmp_path / "transparent.png")
    assert (read_picture(tmp_path / "transparent.png") == [200, 0, 0]).all(), "not composited on anything"
    Image.fromarray(np.full((4, 4), 77, dtype=np.uint8)).save(tmp_path / "gray.png")
    assert (read_picture(tmp_path / "gray.png") == 77).all()


@pytest.mark.parametrize("number", CASES)
def test_the_evaluation_path_is_tensorflows_bit_for_bit_stage_by_stage(official: Official, number: int) -> None:
    digests = official.json("preprocess/sha256.json")
    picture, size = official.picture(number), official.image.size_px
    decoded = jpeg.round_trip(picture)
    assert np.array_equal(decoded, official.prepared(number, "jpeg"))
    assert digest(lanczos3(decoded, size)) == digests[f"case{number}.lanczos3_float"], "before rounding, too"
    resized_picture = evaluation_picture(picture, size, center_crop=False)
    assert np.array_equal(resized_picture, official.prepared(number, "lanczos3"))
    assert digest(crop_values(resized_picture)) == digests[f"case{number}.crop_float"]
    assert np.array_equal(evaluation_picture(picture, size, center_crop=True), official.prepared(number, "crop"))


@pytest.mark.parametrize("number", CASES)
def test_a_named_preprocessing_comes_before_the_processor(official: Official, number: int) -> None:
    for name, stage in (("evaluation", "lanczos3"), ("evaluation_center_crop", "crop")):
        image = dataclasses.replace(official.image, preprocessing=name)
        expected = pixel_values(official.prepared(number, stage), official.image)
        assert np.array_equal(pixel_values(official.picture(number), image), expected)


SIZES = [(1, 1), (2, 3), (5, 4), (7, 8), (8, 9), (16, 16), (17, 15), (33, 31), (64, 2), (3, 64), (50, 47), (21, 100)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["ramp", "noise", "extremes"])
def test_a_jpeg_is_pillows_bit_for_bit_where_both_decode_alike(size: tuple[int, int], kind: str, monkeypatch) -> None:
    """Pillow decodes with the accurate inverse transform and not with TensorFlow's fast one. With that in place everything else must
    agree, at edges too: the pictures of the golden data have colours only where the width is a multiple of 16."""
    monkeypatch.setattr(jpeg, "_inverse", accurate_inverse)
    y, x = np.indices(size)
    rng = np.random.default_rng(5)
    pixels = {
        "ramp": np.stack([40 + 3 * y, 200 - 2 * x, 90 + y + x], axis=-1),
        "noise": rng.integers(0, 256, (*size, 3)),
        "extremes": rng.integers(0, 2, (*size, 3)) * 255,
    }
    picture = pixels[kind].astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    assert np.array_equal(jpeg.round_trip(picture), np.asarray(Image.open(file)))


def test_flat_pictures_survive_a_jpeg_and_the_crop_unchanged() -> None:
    for level in (0, 1, 127, 254, 255):
        picture = np.full((32, 40, 3), level, dtype=np.uint8)
        assert np.array_equal(jpeg.round_trip(picture), picture)
        assert np.array_equal(cropped(picture[:, :32]), picture[:, :32])


@pytest.mark.parametrize("size", [(30, 40, 224, 224), (224, 224, 224, 224), (300, 400, 224, 224), (100, 300, 50, 100), (9, 5, 1, 1)])
def test_resizing_is_pillows(size: tuple[int, int, int, int]) -> None:
    """Sizes at which every version of Pillow goes through the columns first."""
    height, width, new_height, new_width = size
    picture = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(picture).resize((new_width, new_height), Image.Resampling.BICUBIC))
    assert np.array_equal(resized(picture, new_height, new_width), expected)
