"""One short episode, to the bit: `python played.py TASK SEED` prints what another process shall print too."""

import hashlib
import sys

import numpy as np
from egogrid_libero.env import LiberoEnv

MOVE_M, TURN_RAD = np.array([0.03, -0.02, -0.03]), np.array([0.05, -0.1, 0.2])


def played(env: LiberoEnv, task: str, seed: int, steps: int = 4) -> str:
    """A digest of pictures and the path of the hand."""
    digest = hashlib.sha256()
    env.reset(task, seed)
    for step in range(steps):
        if step % 3 == 0:
            look = env.observe()
            digest.update(look.rgb.tobytes() + look.base_from_ee.tobytes())
        env.step(MOVE_M, TURN_RAD, step % 2)
        digest.update(env.world().data.qpos.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(played(LiberoEnv(), sys.argv[1], int(sys.argv[2])))
