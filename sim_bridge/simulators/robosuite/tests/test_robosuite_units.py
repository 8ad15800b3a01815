"""The scales of `egogrid_worker.osc_pose` are those of robosuite's controller."""

from egogrid_robosuite.world import World
from egogrid_worker.osc_pose import ROTATION_RAD, TRANSLATION_M


def test_the_scales_are_the_controllers_own():
    controller = World("lift", 0).env.robots[0].composite_controller.part_controllers["right"]
    assert controller.output_max.tolist() == [TRANSLATION_M] * 3 + [ROTATION_RAD] * 3 == (-controller.output_min).tolist()
    assert (controller.input_max.tolist(), controller.input_min.tolist()) == ([1] * 6, [-1] * 6)
