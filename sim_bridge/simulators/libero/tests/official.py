"""The official OpenVLA evaluation's own calls, written down again: what `egogrid_libero` is held to, and nothing of it is used here.

`run_libero_eval.py` of openvla/openvla: one environment and one seed for each task, a reset before each episode, a stored initial state, ten steps of
waiting, then a picture that is turned by 180 degrees and an action, again and again.
"""

import numpy as np
from egogrid_libero import bddl_reader

bddl_reader.stand_in()

from libero.libero import benchmark  # noqa: E402
from libero.libero.envs import OffScreenRenderEnv  # noqa: E402

DUMMY = [0, 0, 0, 0, 0, 0, -1]


def played(suite: str, task: int, episodes: int, actions: np.ndarray) -> list[dict]:
    """What the last of `episodes` episodes shows: after waiting, and after each of `actions` f64 `[steps, 7]`, gripper as the environment has it."""
    tasks = benchmark.get_benchmark_dict()[suite]()
    states = tasks.get_task_init_states(task)
    env = OffScreenRenderEnv(bddl_file_name=tasks.get_task_bddl_file_path(task), camera_heights=256, camera_widths=256)
    env.seed(0)
    for episode in range(episodes):
        env.reset()
        obs = env.set_init_state(states[episode])
    looks = []
    for step in [DUMMY] * 10 + actions.tolist():
        obs, _, done, _ = env.step(step)
        looks.append({
            "image": obs["agentview_image"][::-1, ::-1].copy(), "hand_m": obs["robot0_eef_pos"].copy(),
            "fingers": obs["robot0_gripper_qpos"].copy(), "joints": env.sim.data.qpos.copy(), "done": done,
        })
    env.close()
    return looks[9:]
