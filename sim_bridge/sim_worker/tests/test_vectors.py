"""Promises of the codec, on the bytes that `rosbags` wrote (see tests/fixtures/wire/README.md)."""

import dataclasses
import json
import random
from pathlib import Path

import pytest

from egogrid_worker import look_messages, messages
from egogrid_worker.errors import DecodeError, WireError

WIRE = Path(__file__).parents[3] / "tests" / "fixtures" / "wire"
VECTORS = json.loads((WIRE / "vectors.json").read_text())
INVALID = json.loads((WIRE / "invalid.json").read_text())
OWN_NAMES = {"std_msgs/msg/String": "RosString"}


def kind_of(ros_type: str) -> type:
    name = OWN_NAMES.get(ros_type, ros_type.rsplit("/", 1)[1])
    return getattr(messages, name, None) or getattr(look_messages, name)


def plain(message) -> dict:
    return dataclasses.asdict(message, dict_factory=lambda items: {k: list(v) if isinstance(v, memoryview) else v for k, v in items})


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_bytes_have_the_meaning_that_the_vector_says_and_are_written_back_unchanged(vector, monkeypatch):
    # Pixels stay views of the payload, which asdict cannot copy.
    monkeypatch.setattr("copy.deepcopy", lambda value: value)
    payload = bytes.fromhex(vector["hex"])
    message = messages.decode(kind_of(vector["type"]), payload)
    assert plain(message) == vector["value"]
    assert messages.encode(message) == payload


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_a_payload_cut_anywhere_is_refused(vector):
    payload = bytes.fromhex(vector["hex"])
    for length in range(len(payload)):
        with pytest.raises(DecodeError):
            messages.decode(kind_of(vector["type"]), payload[:length])


@pytest.mark.parametrize("vector", INVALID, ids=lambda v: v["name"])
def test_a_refusal_names_byte_and_field(vector):
    with pytest.raises(DecodeError) as refused:
        messages.decode(kind_of(vector["type"]), bytes.fromhex(vector["hex"]))
    assert (refused.value.offset, refused.value.field) == (vector["offset"], vector["field"])


def test_damaged_bytes_are_read_or_refused_and_nothing_else():
    random_bytes = random.Random(0)
    for vector in VECTORS:
        payload = bytearray.fromhex(vector["hex"])
        for _ in range(200):
            damaged = bytearray(payload)
            for _ in range(random_bytes.randint(1, 4)):
                damaged[random_bytes.randrange(4, len(damaged))] = random_bytes.randrange(256)
            try:
                messages.decode(kind_of(vector["type"]), bytes(damaged))
            except WireError:
                pass


def test_padding_of_up_to_three_zero_bytes_is_accepted():
    payload = bytes.fromhex(next(v["hex"] for v in VECTORS if v["name"] == "sim_reset"))
    for padding in range(4):
        assert messages.decode(messages.SimReset, payload + bytes(padding)).task == "door-open"


def test_what_the_other_side_would_refuse_is_not_written():
    step = messages.ActionStep(messages.Vector3(0, 0, 0), messages.Vector3(0, 0, 0), 1.0)
    for message in (
        messages.RosString("x" * 4097),
        messages.RosString("a\0b"),
        messages.SimStep(1, 1, 0, [step] * 65),
        messages.SimReset(1, "reach", -1),
        messages.SimReset(1, "reach", 2**32),
    ):
        with pytest.raises(WireError):
            messages.encode(message)


def test_limits_are_the_same_numbers_as_in_rust():
    from egogrid_worker import limits

    rust = (Path(__file__).parents[2] / "src" / "limits.rs").read_text()
    for line in rust.splitlines():
        if line.startswith("pub const "):
            name, value = line.removeprefix("pub const ").rstrip(";").split(":", 1)
            assert getattr(limits, name) == eval(value.split("=", 1)[1], vars(limits)), name  # noqa: S307
