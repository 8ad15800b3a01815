"""The scales of `egogrid_worker.osc_pose` are those of LIBERO's controller."""

from egogrid_libero.tasks import named, task_names
from egogrid_libero.world import World
from egogrid_worker.osc_pose import ROTATION_RAD, TRANSLATION_M


def test_the_scales_are_the_controllers_own():
    controller = World(named(task_names()[0]))._env.robots[0].controller
    assert controller.output_max.tolist() == [TRANSLATION_M] * 3 + [ROTATION_RAD] * 3 == (-controller.output_min).tolist()
    assert (controller.input_max.tolist(), controller.input_min.tolist()) == ([1] * 6, [-1] * 6)
    assert controller.use_delta and controller.use_ori
