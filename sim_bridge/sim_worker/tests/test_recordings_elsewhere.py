"""Promise: readers that know neither Egogrid nor ROS open our recordings, and read in them what we read (PyPI `mcap`, `mcap-ros2-support`)."""

from collections import Counter
from pathlib import Path

import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from egogrid_worker import look_messages, messages

ROOT = Path(__file__).parents[3]
RECORDINGS = sorted((ROOT / "tests" / "recordings").glob("*/recording.mcap"))
OWN_NAMES = {"std_msgs/msg/String": "RosString"}


def own(ros_type: str, payload: bytes):
    name = OWN_NAMES.get(ros_type, ros_type.rsplit("/", 1)[1])
    return messages.decode(getattr(messages, name, None) or getattr(look_messages, name), payload)


def same(theirs, ours) -> bool:
    """Fields by name; a part that may be absent is a list of at most one there."""
    if hasattr(ours, "__dataclass_fields__"):
        theirs = theirs[0] if isinstance(theirs, list) else theirs
        return all(same(getattr(theirs, name), getattr(ours, name)) for name in ours.__dataclass_fields__)
    if isinstance(ours, memoryview):
        return bytes(theirs) == bytes(ours)
    if isinstance(ours, list):
        return len(theirs) == len(ours) and all(same(a, b) for a, b in zip(theirs, ours))
    if ours is None:
        return len(theirs) == 0
    return (list(theirs)[0] if not isinstance(theirs, (str, bytes)) and hasattr(theirs, "__len__") else theirs) == ours


def test_there_are_recordings():
    assert RECORDINGS


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.parent.name)
def test_every_message_is_read_elsewhere_as_we_read_it(path):
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary.chunk_indexes and summary.statistics.message_count > 0, "it has an index"
        counted = Counter()
        for schema, channel, message, decoded in reader.iter_decoded_messages():
            counted[schema.name] += 1
            assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
            assert same(decoded, own(schema.name, message.data)), f"{channel.topic} at {message.log_time}"
    assert counted.total() == summary.statistics.message_count
    for wanted in ("egogrid_msgs/msg/PolicyLook", "egogrid_msgs/msg/RunInfo", "egogrid_msgs/msg/EpisodeMark", "egogrid_msgs/msg/ActionChunk", "sensor_msgs/msg/Image"):
        assert counted[wanted], wanted
