"""Where the camera of all Meta-World tasks stands. How it renders: `egogrid_worker.mujoco_camera`."""

from egogrid_worker.mujoco_camera import CameraPose

NEAR_CAMERA = CameraPose(position_m=(0.65, 0.2, 0.95), looks_at_m=(0.0, 0.7, 0.07), fovy_deg=44.0)
"""The one camera of all tasks: the table fills the picture and every pixel has a depth. The benchmark's own cameras are
far away: objects are 10 of 112 pixels wide there."""
