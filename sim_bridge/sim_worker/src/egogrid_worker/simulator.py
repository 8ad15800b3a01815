"""What a simulator must be to be served, and the message that its observation becomes.

From: NumPy arrays of the simulator. To: `messages.SimObservation`'s parts. Pictures top row first, `[height, width]`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from egogrid_worker.errors import WireError
from egogrid_worker.limits import IMAGE_SIDE_PX_MAX
from egogrid_worker.messages import (
    CameraFrame, CameraInfo, EndEffectorState, Header, Image, Point, Pose, Quaternion, Time,
)


@dataclass(frozen=True)
class Capabilities:
    """Fixed for the life of the process."""

    simulator: str
    """name and version"""
    tasks: tuple[str, ...]
    control_hz: float
    translation_m_max: float
    """largest |translation| of one step, per axis"""
    rotation_rad_max: float
    """largest |rotation| of one step, per axis; 0 = does not rotate"""
    image_px: tuple[int, int]
    """width, height"""
    depth: bool


@dataclass(frozen=True)
class Observation:
    """One look. Axes of the camera are optical: x right, y down, z forward; metres."""

    rgb: np.ndarray
    """u8 `[height, width, 3]`"""
    depth_m: np.ndarray | None
    """f32 `[height, width]`; 0 or NaN = no measurement"""
    intrinsics_px: np.ndarray
    """f64 `[3, 3]`"""
    base_from_camera: np.ndarray
    """f64 `[4, 4]`"""
    base_from_ee: np.ndarray
    """f64 `[4, 4]`"""
    gripper: float
    """0 closed to 1 open"""
    sim_time_s: float
    """since the reset"""
    camera: str = "front"


class Simulator(Protocol):
    """Called from the main thread only, one call at a time, in the order of the queries."""

    def capabilities(self) -> Capabilities: ...

    def reset(self, task: str, seed: int) -> str:
        """Begin the episode; answers with the instruction."""

    def step(self, translation_m: np.ndarray, rotation_rad: np.ndarray, gripper: float) -> bool:
        """Execute one step inside the limits; answers whether the task is solved."""

    def observe(self) -> Observation: ...


def camera_frame(look: Observation) -> CameraFrame:
    header = Header(stamp(look.sim_time_s), look.camera)
    return CameraFrame(
        name=look.camera,
        image=_image(header, look.rgb, np.uint8, (3,), "rgb8"),
        depth=None if look.depth_m is None else _image(header, look.depth_m, np.float32, (), "32FC1"),
        camera_info=_camera_info(header, look.intrinsics_px, look.rgb.shape[1], look.rgb.shape[0]),
        base_from_camera=pose(look.base_from_camera),
    )


def end_effector_state(look: Observation) -> EndEffectorState:
    return EndEffectorState(Header(stamp(look.sim_time_s), "base"), pose(look.base_from_ee), float(look.gripper), [])


def stamp(time_s: float) -> Time:
    """Rounded to whole nanoseconds."""
    sec, nanosec = divmod(round(time_s * 1e9), 1_000_000_000)
    return Time(sec, nanosec)


def _image(header: Header, pixels: np.ndarray, dtype: type, channels: tuple[int, ...], encoding: str) -> Image:
    height, width = pixels.shape[:2]
    sides_ok = 1 <= min(height, width) and max(height, width) <= IMAGE_SIDE_PX_MAX
    if pixels.dtype != dtype or pixels.shape[2:] != channels or not sides_ok:
        raise WireError("simulator", f"{encoding} pixels are {pixels.dtype} {pixels.shape}, expected {np.dtype(dtype)} "
                                     f"[height, width{', 3' if channels else ''}] with sides 1 to {IMAGE_SIDE_PX_MAX}")
    packed = np.ascontiguousarray(pixels).astype(np.dtype(dtype).newbyteorder("<"), copy=False)
    step = packed.itemsize * width * int(np.prod(channels))
    return Image(header, height, width, encoding, 0, step, memoryview(packed).cast("B"))


def _camera_info(header: Header, k: np.ndarray, width: int, height: int) -> CameraInfo:
    p = np.zeros((3, 4))
    p[:, :3] = k
    return CameraInfo(
        header, height, width, "plumb_bob", [0.0] * 5,
        np.asarray(k, float).ravel().tolist(), np.eye(3).ravel().tolist(), p.ravel().tolist(),
    )


def pose(matrix: np.ndarray) -> Pose:
    """From a rigid f64 `[4, 4]`; anything else is an error."""
    matrix = np.asarray(matrix, float)
    rotation = matrix[:3, :3]
    rigid = matrix.shape == (4, 4) and np.isfinite(matrix).all() and np.allclose(matrix[3], [0, 0, 0, 1])
    if not (rigid and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) and np.linalg.det(rotation) > 0):
        raise WireError("simulator", f"not a rigid transform: {matrix.tolist()}")
    x, y, z, w = _quaternion(rotation)
    return Pose(Point(*matrix[:3, 3].tolist()), Quaternion(x, y, z, w))


def _quaternion(r: np.ndarray) -> tuple[float, float, float, float]:
    """x, y, z, w. The largest of the four is computed first, so that nothing is divided by a small number."""
    # Four times the squares of x, y, z, w.
    squares = np.array([
        1 + r[0, 0] - r[1, 1] - r[2, 2], 1 - r[0, 0] + r[1, 1] - r[2, 2],
        1 - r[0, 0] - r[1, 1] + r[2, 2], 1 + r[0, 0] + r[1, 1] + r[2, 2],
    ])
    # Row i: four times the products of component i with x, y, z, w.
    products = np.array([
        [squares[0], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
        [r[0, 1] + r[1, 0], squares[1], r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
        [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], squares[2], r[1, 0] - r[0, 1]],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3]],
    ])
    row = products[int(np.argmax(squares))]
    x, y, z, w = (row / np.linalg.norm(row)).tolist()
    return x, y, z, w
