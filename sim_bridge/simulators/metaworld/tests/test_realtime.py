"""The camera process shows the world that the robot is in, to the pixel."""

import numpy as np
import pytest
from egogrid_metaworld.env import MetaWorldEnv
from egogrid_metaworld.realtime_camera import STATE, Scene

import mujoco


@pytest.mark.parametrize("task", ["drawer-open", "button-press-topdown", "window-open"])
def test_the_camera_of_another_process_sees_the_same_picture(task):
    env, scene = MetaWorldEnv(image_px=64), Scene(64)
    env.reset(task, 5)
    for step in range(12):
        env.step(np.array([0.004, 0.006, -0.005, step % 2]))
    sim = env.privileged().env
    state = np.empty(mujoco.mj_stateSize(sim.model, STATE))
    mujoco.mj_getState(sim.model, sim.data, state, STATE)
    direct = env.observe()
    seen = scene.show(task, 5, state.tolist())
    assert np.array_equal(seen.rgb, direct.rgb)
    np.testing.assert_allclose(seen.depth_m, direct.depth_m, atol=1e-5)
