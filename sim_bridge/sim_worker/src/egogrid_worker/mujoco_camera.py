"""One RGB-D camera over MuJoCo's own renderer, for every simulator that has a MuJoCo model. Needs `mujoco`.

From: a compiled MuJoCo model and its state. To: `Observation.rgb` u8 `[height, width, 3]` and `Observation.depth_m`
f32 `[height, width]`, top row first, with the intrinsics and the pose they belong to.
Axes of the camera are optical, metres: x right, y down, z forward; depth is z, not the length of the ray.
Pixel centres have whole coordinates (ROS, OpenCV): the middle of an image of `n` pixels is `(n - 1) / 2`.
"""

import atexit
import os
from dataclasses import dataclass

import numpy as np

import mujoco

# Not `mujoco.GLContext`: that one is GLFW, which needs a display, unless MUJOCO_GL was set before the first import.
if os.environ.get("MUJOCO_GL") == "osmesa":
    from mujoco.osmesa import GLContext
else:
    from mujoco.egl import GLContext


@dataclass(frozen=True)
class CameraPose:
    """Where the camera stands in the base frame, what it looks at, and its vertical field of view. No roll."""

    position_m: tuple[float, float, float]
    looks_at_m: tuple[float, float, float]
    fovy_deg: float

    def angles_rad(self) -> tuple[float, float]:
        """Azimuth and elevation of the line of sight."""
        forward = np.subtract(self.looks_at_m, self.position_m)
        return float(np.arctan2(forward[1], forward[0])), float(np.arcsin(forward[2] / np.linalg.norm(forward)))

    def moved(self, shift_m: tuple[float, float, float], left_deg: float, up_deg: float) -> "CameraPose":
        """Shifted in the base frame, then turned around itself; without roll as before."""
        azimuth, elevation = np.add(self.angles_rad(), np.radians([left_deg, up_deg]))
        distance = np.linalg.norm(np.subtract(self.looks_at_m, self.position_m))
        position = np.add(self.position_m, shift_m)
        forward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
        looks_at = position + distance * forward
        return CameraPose(tuple(map(float, position)), tuple(map(float, looks_at)), self.fovy_deg)

    def base_from_camera(self) -> np.ndarray:
        """f64 `[4, 4]`: a point in camera optical axes to the base frame."""
        azimuth, elevation = self.angles_rad()
        ca, sa, ce, se = np.cos(azimuth), np.sin(azimuth), np.cos(elevation), np.sin(elevation)
        forward, up = np.array([ce * ca, ce * sa, se]), np.array([-se * ca, -se * sa, ce])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross(forward, up), -up, forward], axis=1)
        pose[:3, 3] = self.position_m
        return pose

    def intrinsics_px(self, image_px: int) -> np.ndarray:
        """f64 `[3, 3]` for a square image of `image_px` pixels, pixel centres at whole coordinates."""
        return intrinsics_px(self.fovy_deg, image_px)


def intrinsics_px(fovy_deg: float, image_px: int) -> np.ndarray:
    """f64 `[3, 3]` for a square image of `image_px` pixels, pixel centres at whole coordinates."""
    focal_px = image_px / 2 / np.tan(np.radians(fovy_deg) / 2)
    center_px = (image_px - 1) / 2
    return np.array([[focal_px, 0, center_px], [0, focal_px, center_px], [0, 0, 1]])


_gl: GLContext | None = None


def make_current(image_px: int) -> None:
    """The process's only GL context: with several, MuJoCo returns black or stale frames. Whoever comes first sets its size."""
    global _gl
    if _gl is None:
        _gl = GLContext(image_px, image_px)
        atexit.register(_gl.free)  # before the display is closed under it
    _gl.make_current()


def metres(model: mujoco.MjModel, reversed_z: np.ndarray) -> np.ndarray:
    """f32 depth of what `mjDEPTH_ZEROFAR` reads; 0 where nothing was hit."""
    near, far = (plane * model.stat.extent for plane in (model.vis.map.znear, model.vis.map.zfar))
    depth_m = near * far / (reversed_z.astype(np.float64) * (far - near) + near)
    return np.where(reversed_z > 0, depth_m, 0.0).astype(np.float32)


class RgbdCamera:
    """Renders one model. Any number may live in a process; all use the shared GL context.

    `base_m` is where the base frame stands in MuJoCo's world, whose axes it has; `hidden_groups` are geoms that are not drawn
    (simulators put the shapes that collide into a group of their own).
    """

    def __init__(
        self, model: mujoco.MjModel, image_px: int, pose: CameraPose,
        base_m: tuple[float, float, float] = (0.0, 0.0, 0.0), hidden_groups: tuple[int, ...] = (),
    ) -> None:
        self.pose = pose
        self._base_m = np.asarray(base_m, float)
        self.image_px = image_px
        self._model = model
        # Shadows and multisampling cost ten times the rest of a software-rendered frame.
        model.vis.quality.shadowsize = 0
        model.vis.quality.offsamples = 0
        model.vis.global_.offwidth = image_px
        model.vis.global_.offheight = image_px
        model.vis.global_.fovy = pose.fovy_deg
        make_current(image_px)
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[list(hidden_groups)] = 0
        self._viewpoint = mujoco.MjvCamera()
        self._viewpoint.type = mujoco.mjtCamera.mjCAMERA_FREE
        azimuth, elevation = pose.angles_rad()
        self._viewpoint.azimuth, self._viewpoint.elevation = np.degrees([azimuth, elevation])
        self._viewpoint.lookat[:] = np.add(pose.looks_at_m, self._base_m)
        self._viewpoint.distance = float(np.linalg.norm(np.subtract(pose.looks_at_m, pose.position_m)))
        self._viewport = mujoco.MjrRect(0, 0, image_px, image_px)
        self._rgb = np.empty((image_px, image_px, 3), np.uint8)
        self._depth = np.empty((image_px, image_px), np.float32)

    def render(self, data: mujoco.MjData, markers_m: tuple = ()) -> tuple[np.ndarray, np.ndarray]:
        """Colour and depth of `data` as it is (`mj_forward` must have run).

        Nothing hit (beyond the far plane) is 0 in the depth image: no measurement. `markers_m` are centres (base frame) of
        pure green balls of 1 cm, which tests use to check the geometry.
        """
        make_current(self.image_px)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._viewpoint, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        for marker_m in markers_m:
            geom = self._scene.geoms[self._scene.ngeom]
            mujoco.mjv_initGeom(
                geom, mujoco.mjtGeom.mjGEOM_SPHERE, np.full(3, 0.01), np.add(marker_m, self._base_m),
                np.eye(3).ravel(), np.array([0, 1, 0, 1], np.float32),
            )
            geom.emission = 1.0
            self._scene.ngeom += 1
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        mujoco.mjr_readPixels(self._rgb, self._depth, self._viewport, self._context)
        return self._rgb[::-1].copy(), metres(self._model, self._depth[::-1])
