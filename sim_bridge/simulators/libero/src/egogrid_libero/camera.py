"""LIBERO's camera: what it sees, through robosuite's settings, and where it stands.

From: a model and its state. To: colour u8 `[256, 256, 3]` and depth f32 `[256, 256]` in metres, as OpenGL has them: **bottom row first**.
The official evaluation turns that by 180 degrees, which makes a picture that is upright and, as its rows were upside down but its columns in
order, **mirrored**: left is right. Policies are trained on such pictures. No camera has one: its lens can be told, its pose cannot.
Pixel centres have whole coordinates (`egogrid_worker.mujoco_camera`).
"""

import numpy as np
from egogrid_worker import mujoco_camera
from egogrid_worker.mujoco_camera import CameraPose
from egogrid_worker.stress import Stress

import mujoco

IMAGE_PX = 256
NAME = "agentview"
_COLLISION_GROUP = 0
_OPTICAL = np.diag([1.0, -1.0, -1.0])
"""MuJoCo's cameras have y up and look along -z."""


class Renderer:
    """Draws one model as robosuite 1.4 does: shadows, four samples a pixel, no shapes that only collide. `fast`: without the first two."""

    def __init__(self, model: mujoco.MjModel, fast: bool) -> None:
        if fast:
            model.vis.quality.shadowsize = 0
            model.vis.quality.offsamples = 0
        self._model = model
        mujoco_camera.make_current(IMAGE_PX)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[_COLLISION_GROUP] = 0
        self._viewpoint = mujoco.MjvCamera()
        self._viewpoint.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._viewpoint.fixedcamid = model.camera(NAME).id
        self._viewport = mujoco.MjrRect(0, 0, IMAGE_PX, IMAGE_PX)
        self._rgb = np.empty((IMAGE_PX, IMAGE_PX, 3), np.uint8)
        self._depth = np.empty((IMAGE_PX, IMAGE_PX), np.float32)

    def render(self, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
        """Colour and depth, bottom row first; depth is 0 where nothing was hit. The arrays are used again by the next call."""
        mujoco_camera.make_current(IMAGE_PX)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._viewpoint, mujoco.mjtCatBit.mjCAT_ALL, self._scene)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._rgb, self._depth, self._viewport, self._context)
        return self._rgb, mujoco_camera.metres(self._model, self._depth)

    def close(self) -> None:
        """Gives the graphics memory back: an evaluation makes one renderer per episode."""
        mujoco_camera.make_current(IMAGE_PX)
        self._context.free()


def intrinsics_px(model: mujoco.MjModel) -> np.ndarray:
    """f64 `[3, 3]`; the same for the picture and its mirror image, as the middle is in the middle."""
    return mujoco_camera.intrinsics_px(model.camera(NAME).fovy[0], IMAGE_PX)


def base_from_camera(model: mujoco.MjModel, base_m: np.ndarray) -> np.ndarray:
    """f64 `[4, 4]`, of the camera itself; it is fixed to the world."""
    pose, turn = np.eye(4), np.empty(9)
    mujoco.mju_quat2Mat(turn, model.camera(NAME).quat)
    pose[:3, :3] = turn.reshape(3, 3) @ _OPTICAL
    pose[:3, 3] = model.camera(NAME).pos - base_m
    return pose


def move(model: mujoco.MjModel, asked: Stress) -> None:
    """Puts the camera where an evaluation asks for it; untouched otherwise."""
    if not (any(asked.camera_shift_m) or any(asked.camera_turn_deg)):
        return
    usual = base_from_camera(model, np.zeros(3))
    pose = CameraPose(tuple(usual[:3, 3]), tuple(usual[:3, 3] + usual[:3, 2]), float(model.camera(NAME).fovy[0]))
    moved = pose.moved(asked.camera_shift_m, *asked.camera_turn_deg).base_from_camera()
    model.camera(NAME).pos = moved[:3, 3]
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, (moved[:3, :3] @ _OPTICAL).ravel())
    model.camera(NAME).quat = quaternion
