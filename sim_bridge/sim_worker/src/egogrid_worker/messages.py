"""The messages, field by field in wire order: the same as `sim_bridge/src/message` and `sim_bridge/msg`.

Each field's annotation holds how it is read and written, so reading, writing and the list of fields cannot disagree.
Plain data: what a value may be is checked by `server` (in) and `observation` (out).
"""

from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Annotated, get_args, get_origin, get_type_hints

from egogrid_worker import limits
from egogrid_worker.cdr import Reader, Writer
from egogrid_worker.errors import DecodeError


class _Number:
    def __init__(self, code: str) -> None:
        self.code = code

    def read(self, reader: Reader):
        return reader.number(self.code)

    def write(self, writer: Writer, value) -> None:
        writer.number(self.code, value)


class _Boolean:
    def read(self, reader: Reader):
        return reader.boolean()

    def write(self, writer: Writer, value) -> None:
        writer.number("B", int(value))


class _Text:
    def read(self, reader: Reader):
        return reader.string()

    def write(self, writer: Writer, value) -> None:
        writer.string(value)


class _Bytes:
    """Read without a copy: a view of the payload."""

    def read(self, reader: Reader):
        return reader.take(reader.count(limits.PAYLOAD_BYTES_MAX))

    def write(self, writer: Writer, value) -> None:
        writer.raw(value)


class _Struct:
    def __init__(self, kind: type) -> None:
        self.kind = kind

    def read(self, reader: Reader):
        values = {}
        for name, codec in _codecs(self.kind):
            try:
                values[name] = codec.read(reader)
            except DecodeError as error:
                raise error.inside(name) from None
        return self.kind(**values)

    def write(self, writer: Writer, value) -> None:
        for name, codec in _codecs(self.kind):
            codec.write(writer, getattr(value, name))


class _Sequence:
    def __init__(self, item, count_max: int) -> None:
        self.item = item
        self.count_max = count_max

    def read(self, reader: Reader):
        values = []
        for index in range(reader.count(self.count_max)):
            try:
                values.append(self.item.read(reader))
            except DecodeError as error:
                raise error.inside(f"[{index}]") from None
        return values

    def write(self, writer: Writer, value) -> None:
        writer.count(len(value), self.count_max)
        for item in value:
            self.item.write(writer, item)


class _Array:
    def __init__(self, item, length: int) -> None:
        self.item = item
        self.length = length

    def read(self, reader: Reader):
        return [self.item.read(reader) for _ in range(self.length)]

    def write(self, writer: Writer, value) -> None:
        if len(value) != self.length:
            raise DecodeError(0, f"{len(value)} values, expected exactly {self.length}")
        for item in value:
            self.item.write(writer, item)


class _Maybe:
    """A sequence of at most one; `None` = empty."""

    def __init__(self, item) -> None:
        self.item = item

    def read(self, reader: Reader):
        return self.item.read(reader) if reader.count(1) else None

    def write(self, writer: Writer, value) -> None:
        writer.count(int(value is not None), 1)
        if value is not None:
            self.item.write(writer, value)


def _codec(hint):
    """`Annotated[python type, codec]`, or a message class."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[1]
    assert is_dataclass(hint), hint
    return _Struct(hint)


@cache
def _codecs(kind: type) -> tuple:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((f.name, _codec(hints[f.name])) for f in fields(kind))


def decode(kind: type, payload: bytes, bytes_max: int = limits.PAYLOAD_BYTES_MAX):
    """One message of class `kind` that fills `payload`; up to three zero bytes may follow it."""
    reader = Reader(payload, bytes_max)
    message = _Struct(kind).read(reader)
    reader.finish()
    return message


def encode(message) -> bytes:
    writer = Writer()
    _Struct(type(message)).write(writer, message)
    return writer.finish()


def decode_protocol(payload: bytes) -> int:
    """The version that a payload begins with: readable even if the rest has another layout."""
    return Reader(payload).number("I")


U8 = Annotated[int, _Number("B")]
U16 = Annotated[int, _Number("H")]
I32 = Annotated[int, _Number("i")]
U32 = Annotated[int, _Number("I")]
U64 = Annotated[int, _Number("Q")]
F32 = Annotated[float, _Number("f")]
F64 = Annotated[float, _Number("d")]
Bool = Annotated[bool, _Boolean()]
Text = Annotated[str, _Text()]
Bytes = Annotated[bytes, _Bytes()]
Floats = Annotated[list[float], _Sequence(_Number("d"), limits.JOINTS_MAX)]
Matrix33 = Annotated[list[float], _Array(_Number("d"), 9)]
Matrix34 = Annotated[list[float], _Array(_Number("d"), 12)]


def many(hint, count_max: int):
    """A field of any number of these, up to a bound."""
    return Annotated[list, _Sequence(_codec(hint), count_max)]


def maybe(hint):
    """A field of one of these, or `None`."""
    return Annotated[object, _Maybe(_codec(hint))]


@dataclass
class Time:
    sec: I32 = 0
    nanosec: U32 = 0


@dataclass
class Header:
    stamp: Time = field(default_factory=Time)
    frame_id: Text = ""


@dataclass
class RosString:
    data: Text


@dataclass
class Vector3:
    x: F64
    y: F64
    z: F64


@dataclass
class Point:
    x: F64
    y: F64
    z: F64


@dataclass
class Quaternion:
    x: F64
    y: F64
    z: F64
    w: F64


@dataclass
class Pose:
    position: Point
    orientation: Quaternion


@dataclass
class Twist:
    linear: Vector3
    angular: Vector3


@dataclass
class PoseStamped:
    header: Header
    pose: Pose


@dataclass
class TwistStamped:
    header: Header
    twist: Twist


@dataclass
class Image:
    header: Header
    height: U32
    width: U32
    encoding: Text
    is_bigendian: U8
    step: U32
    data: Bytes


@dataclass
class RegionOfInterest:
    x_offset: U32 = 0
    y_offset: U32 = 0
    height: U32 = 0
    width: U32 = 0
    do_rectify: Bool = False


@dataclass
class CameraInfo:
    header: Header
    height: U32
    width: U32
    distortion_model: Text
    d: Floats
    k: Matrix33
    r: Matrix33
    p: Matrix34
    binning_x: U32 = 0
    binning_y: U32 = 0
    roi: RegionOfInterest = field(default_factory=RegionOfInterest)


@dataclass
class CameraFrame:
    name: Text
    image: Image
    depth: Annotated[Image | None, _Maybe(_Struct(Image))]
    camera_info: Annotated[CameraInfo | None, _Maybe(_Struct(CameraInfo))]
    base_from_camera: Annotated[Pose | None, _Maybe(_Struct(Pose))]


@dataclass
class ActionStep:
    translation_m: Vector3
    rotation_rad: Vector3
    gripper: F64


Steps = Annotated[list[ActionStep], _Sequence(_Struct(ActionStep), limits.CHUNK_LEN_MAX)]


@dataclass
class SafetyReason:
    step: U16
    kind: Text
    detail: Text


@dataclass
class ActionChunk:
    header: Header
    observed: Time
    sequence: U64
    policy_id: Text
    control_hz: F64
    steps: Steps
    confidence: Annotated[list[float], _Sequence(_Number("f"), limits.CONFIDENCE_MAX)]
    reasons: Annotated[list[SafetyReason], _Sequence(_Struct(SafetyReason), limits.REASONS_MAX)]


@dataclass
class EndEffectorState:
    header: Header
    base_from_ee: Pose
    gripper: F64
    joints_rad: Floats


@dataclass
class StageTime:
    stage: Text
    ms: F64


@dataclass
class Count:
    name: Text
    count: U64


@dataclass
class Command:
    header: Header
    session: U64
    sequence: U64
    twist: Twist
    gripper: F64
    valid_ms: F64
    hold: Bool
    age_ms: Annotated[float | None, _Maybe(_Number("d"))]
    reason: Text


@dataclass
class OperatorSign:
    header: Header
    held: Bool


@dataclass
class PolicyStatus:
    header: Header
    mode: Text
    detail: Text
    policy_id: Text
    instruction: Text
    observation_age_ms: F64
    latency_ms: F64
    stages: Annotated[list[StageTime], _Sequence(_Struct(StageTime), limits.STAGES_MAX)]
    timings: Annotated[list[StageTime], _Sequence(_Struct(StageTime), limits.STAGES_MAX)]
    counts: Annotated[list[Count], _Sequence(_Struct(Count), limits.COUNTS_MAX)]
    remarks: Annotated[list[str], _Sequence(_Text(), limits.TASKS_MAX)]
    looks: U64
    policy_failures: U64
    actions_held: U64
    actions_changed: U64


@dataclass
class SimInfo:
    protocol: U32
    instance: Text
    simulator: Text
    tasks: Annotated[list[str], _Sequence(_Text(), limits.TASKS_MAX)]
    control_hz: F64
    translation_m_max: F64
    rotation_rad_max: F64
    width: U32
    height: U32
    depth: Bool


@dataclass
class SimReset:
    protocol: U32
    task: Text
    seed: U32


@dataclass
class SimStep:
    protocol: U32
    episode: U64
    first_step: U32
    steps: Steps


@dataclass
class SimObservation:
    episode: U64
    steps_executed: U32
    steps_total: U32
    success: Bool
    task: Text
    instruction: Text
    camera: CameraFrame
    state: Annotated[EndEffectorState | None, _Maybe(_Struct(EndEffectorState))]


@dataclass
class ErrorReply:
    protocol: U32
    kind: Text
    detail: Text
