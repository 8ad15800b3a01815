"""One short episode, to the bit: `python played.py TASK SEED` prints what another process shall print too."""

import hashlib
import sys

import numpy as np
from egogrid_robosuite.env import RobosuiteEnv

MOVE_M, TURN_RAD = np.array([0.03, -0.02, -0.03]), np.array([0.05, -0.1, 0.2])


def played(env: RobosuiteEnv, task: str, seed: int, steps: int = 8) -> str:
    """A digest of pictures, depth and the path of the hand."""
    digest = hashlib.sha256()
    env.reset(task, seed)
    for step in range(steps):
        look = env.observe() if step % 4 == 0 else None
        for seen in (look.rgb, look.depth_m) if look else ():
            digest.update(np.ascontiguousarray(seen).tobytes())
        env.step(MOVE_M, TURN_RAD, step % 2)
        for state in env.world().hand():
            digest.update(np.ascontiguousarray(state).tobytes())
        digest.update(env.world().data.qpos.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(played(RobosuiteEnv(64), sys.argv[1], int(sys.argv[2])))
