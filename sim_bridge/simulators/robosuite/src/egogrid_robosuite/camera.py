"""Where the camera of each furniture stands, base frame. How it renders: `egogrid_worker.mujoco_camera`.

Nearer than robosuite's `agentview`, in which a cube is 6 of 224 pixels wide; from the front, so that the arm hides little.
"""

from egogrid_worker.mujoco_camera import CameraPose

TABLE = CameraPose(position_m=(1.15, 0.25, 0.55), looks_at_m=(0.5, 0.0, -0.03), fovy_deg=40.0)
"""Cubes, nuts and pegs on the table; the hand before it moves is at the upper edge."""
DOOR = CameraPose(position_m=(1.15, 0.25, 0.6), looks_at_m=(0.42, -0.2, 0.15), fovy_deg=45.0)
"""The door stands at the robot's right: the handle, the gap that opens and the hand."""
BINS = CameraPose(position_m=(1.35, 0.1, 0.85), looks_at_m=(0.55, 0.12, -0.02), fovy_deg=48.0)
"""Two bins side by side are a metre wide."""
COLLISION_GROUP = 0
"""robosuite puts the shapes that collide into this group, and what one shall see into group 1."""
