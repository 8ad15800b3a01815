"""What the policy did, for those who record or look at it: the same as `sim_bridge/src/message/look.rs`."""

from dataclasses import dataclass
from typing import Annotated

from egogrid_worker import limits
from egogrid_worker.messages import (
    U8,
    Bool,
    F32,
    F64,
    U32,
    U64,
    Bytes,
    EndEffectorState,
    Floats,
    Header,
    Pose,
    StageTime,
    Text,
    Time,
    many,
    maybe,
)


@dataclass
class PolicyToken:
    id: U32
    confidence: F32
    runner_up: U32
    runner_up_confidence: F32


@dataclass
class ActionRow:
    values: Floats


@dataclass
class StageSketch:
    stage: Text
    count: U64
    crc32: U32
    rms: F64
    samples: many(F32, limits.CONFIDENCE_MAX)


@dataclass
class LookInput:
    camera: Text
    stamp: Time
    width: U32
    height: U32
    rgb_crc32: U32
    depth_crc32: maybe(U32)
    intrinsics: Floats
    base_from_camera: maybe(Pose)
    state: maybe(EndEffectorState)


@dataclass
class PolicyLook:
    header: Header
    look: U64
    sequence: U64
    episode: U32
    policy_id: Text
    bundle_sha256: Text
    stats_key: Text
    instruction: Text
    input: maybe(LookInput)
    committed: many(PolicyToken, limits.TOKENS_MAX)
    failure: Text
    failure_detail: Text
    tokens: many(PolicyToken, limits.TOKENS_MAX)
    normalized: many(ActionRow, limits.CHUNK_LEN_MAX)
    actions: many(ActionRow, limits.CHUNK_LEN_MAX)
    stages: many(StageTime, limits.STAGES_MAX)
    sketches: many(StageSketch, limits.SKETCHES_MAX)
    depth_source: Text
    took_ms: F64
    age_ms: F64
    dropped: U64


@dataclass
class PointField:
    name: Text
    offset: U32
    datatype: U8
    count: U32


@dataclass
class PointCloud2:
    header: Header
    height: U32
    width: U32
    fields: many(PointField, limits.FIELDS_MAX)
    is_bigendian: Bool
    point_step: U32
    row_step: U32
    data: Bytes
    is_dense: Bool


@dataclass
class EpisodeMark:
    header: Header
    episode: U32
    task: Text
    seed: U32
    instruction: Text
    outcome: Text
    detail: Text


@dataclass
class RunInfo:
    header: Header
    protocol: U32
    version: Text
    session: U64
    policy_id: Text
    bundle_sha256: Text
    stats_key: Text
    precision: Text
    provider: Text
    control_hz: F64
    clock_offset_s: F64
    deployment: Bytes
    embodiment: Bytes
