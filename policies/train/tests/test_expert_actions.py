"""Promise: what `egogrid_train.actions` writes is what `egogrid grid show --data` takes, `[n, 7]` in the normalized cube."""

import os
import subprocess
import sys

import numpy as np
from egogrid_metaworld import MetaWorldEnv
from egogrid_train.actions import rows
from egogrid_train.episodes import EPISODE_STEPS_MAX, NATIVE_PX, VALIDATION_SEEDS


def test_an_episode_of_the_expert_is_rows_in_the_cube_and_the_same_each_time():
    env = MetaWorldEnv(NATIVE_PX)
    found = np.array(rows(env, "drawer-close", VALIDATION_SEEDS[0]))
    assert found.shape[1] == 7 and 1 < len(found) < EPISODE_STEPS_MAX
    assert np.abs(found[:, :3]).max() <= 1.0 and np.abs(found[:, :3]).max() > 0.1
    assert not found[:, 3:6].any() and set(found[:, 6]) <= {0.0, 1.0}
    assert np.array_equal(found, np.array(rows(env, "drawer-close", VALIDATION_SEEDS[0])))


def test_training_needs_no_wire():
    """The lock file of training has no zenoh: the simulator must be usable without it."""
    blocked = "import sys; sys.modules['zenoh'] = None; import egogrid_train.episodes"
    done = subprocess.run([sys.executable, "-c", blocked], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
