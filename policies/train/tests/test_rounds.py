"""Promises of what decides the next round, and of the views. Needs no torch and no pictures."""

import json

import numpy as np
import pytest
from egogrid_train import curves
from egogrid_train.episodes import DEPTH_UNIT_M, Frames
from egogrid_train.expert import MT5, TASKS
from egogrid_train.statistics import wilson
from egogrid_train.vision_input import View


def finished(work, number, won, steps=100):
    run = work / "runs" / f"round{number:02}"
    run.mkdir(parents=True)
    summary = {"steps": steps, "elapsed_s": 1, "frames": 10, "episodes": 2, "excess_nats": 0.5}
    (run / "summary.json").write_text(json.dumps(summary))
    rows = {task: {"episodes": 10, "successes": count} for task, count in won.items()}
    (run / "evaluation.json").write_text(json.dumps({"first_seed": 50_000, "tasks": rows}))
    return run


def test_the_order_of_tasks_begins_with_the_shipped_policys():
    """Shards hold indices: a task that moves would relabel old data."""
    assert TASKS[:5] == MT5 == ("drawer-close", "drawer-open", "door-open", "button-press-topdown", "window-open")
    assert TASKS[5:] == ("window-close", "reach", "push", "pick-place", "peg-insert-side")


def test_curves_add_up_steps_of_rounds_that_were_not_evaluated(tmp_path):
    finished(tmp_path, 0, {"reach": 1})
    (finished(tmp_path, 1, {"reach": 9}) / "evaluation.json").unlink()
    finished(tmp_path, 2, {"reach": 9})
    (tmp_path / "runs" / "round03").mkdir()  # still training
    assert [(row["round"], row["steps"]) for row in curves.rounds(tmp_path)] == [(0, 100), (2, 300)]


def test_failing_and_unknown_tasks_are_weak_and_failing_ones_weigh_more(tmp_path):
    finished(tmp_path, 0, {"reach": 0, "push": 10, "door-open": 5})
    rows = curves.rounds(tmp_path)
    assert "push" not in curves.weak(rows) and {"reach", "door-open", "peg-insert-side"} <= set(curves.weak(rows))
    weights = curves.weights(rows)
    assert weights["reach"] > weights["door-open"] > weights["push"] > 0
    first = curves.weights([])
    assert curves.weak([]) == list(TASKS) and {first[task] for task in MT5} == {curves.WEIGHT_OF_SOLVED}
    assert {first[task] for task in TASKS[5:]} == {curves.WEIGHT_OF_FAILING}


def test_wilson_agrees_with_published_values():
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(50, 50) == pytest.approx((0.9287, 1.0), abs=1e-4)


def test_a_view_whose_parts_do_not_divide_is_refused():
    assert View(128, 16, 4).cells == 32
    for sizes in ((112, 15, 1), (112, 14, 4)):
        with pytest.raises(ValueError, match="must divide"):
            View(*sizes)


class Look:
    def __init__(self, depth_m):
        self.rgb, self.depth_m = np.zeros((8, 8, 3), np.uint8), depth_m


def test_a_shard_keeps_depth_to_a_twentieth_of_a_millimetre_and_refuses_what_does_not_fit(tmp_path):
    depth_m = np.random.default_rng(0).uniform(0.3, 6.5, (8, 8)).astype(np.float32)
    depth_m[0, 0] = 0  # no measurement
    frames = Frames()
    frames.add("reach", 3, Look(depth_m), np.zeros((4, 4)), np.zeros(6))
    frames.save(tmp_path / "shard.npz")
    [path] = tmp_path.glob("*.npz")
    back = np.load(path)["depth"][0] * DEPTH_UNIT_M
    assert np.abs(back - depth_m).max() <= 0.51 * DEPTH_UNIT_M and back[0, 0] == 0
    for bad in (7.0, -0.1, np.nan):
        with pytest.raises(ValueError, match="does not fit"):
            frames.add("reach", 3, Look(np.full((8, 8), bad, np.float32)), np.zeros((4, 4)), np.zeros(6))
