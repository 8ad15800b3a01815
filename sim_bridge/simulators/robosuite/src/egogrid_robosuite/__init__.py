"""robosuite as Egogrid sees it: a Panda that turns its hand, one RGB-D camera, metres and radians in the base frame, robosuite's own success.

From: the `robosuite` package (MuJoCo). To: `worker.py` here (the wire).
"""

from egogrid_robosuite.tasks import UnknownTask, instruction, task_names

__all__ = ["UnknownTask", "instruction", "task_names"]
