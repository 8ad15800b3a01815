"""Promises of stopping and going on. Collected only where torch can be imported."""

import json

import numpy as np
import pytest
import torch
from egogrid_train import checkpoint, pack, train
from egogrid_train.episodes import NATIVE_PX, Frames

ARGUMENTS = ["--tasks", "reach", "push", "--key", "made/1.0.0", "--steps", "8", "--batch", "4", "--fp32", "--size-px", "32",
             "--patch-px", "16", "--reso", "2", "--size", "width=32", "vision_width=33"]


class Look:
    def __init__(self, rng):
        self.rgb = rng.integers(0, 256, (NATIVE_PX, NATIVE_PX, 3), np.uint8)
        self.depth_m = rng.uniform(0.5, 1.5, (NATIVE_PX, NATIVE_PX)).astype(np.float32)


def shard(path, seed):
    rng, frames = np.random.default_rng(seed), Frames()
    for task in ("reach", "push"):
        for _ in range(3):
            frames.add(task, seed, Look(rng), rng.uniform(-1, 1, (4, 4)), rng.uniform(0, 1, 6))
    frames.save(path)


@pytest.fixture
def run(tmp_path):
    """Makes a `Run` of the named folder over one shard."""
    (tmp_path / "data").mkdir()
    shard(tmp_path / "data" / "m.npz", 1)
    torch.set_num_threads(1)
    return lambda name: train.Run(train.parser().parse_args([str(tmp_path / "data"), str(tmp_path / name), *ARGUMENTS]))


def learned(made, steps):
    for _ in range(steps):
        made.learn(np.array([float(task in made.args.tasks) for task in train.TASKS]))
    return made


def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(run, tmp_path):
    """Weights, optimizer, random numbers and the order of the frames: equal bit for bit, although a shard that sorts
    before the others has come meanwhile."""
    straight = learned(run("straight"), 8)
    learned(run("killed"), 4).save()
    (tmp_path / "killed" / "state.partial").write_bytes(b"half a file")
    shard(tmp_path / "data" / "a.npz", 2)
    resumed = run("killed")
    assert resumed.step == 4 and resumed.store.read == ["m.npz"]
    learned(resumed, 4)
    for kind in ("trainee", "average"):
        ours, theirs = getattr(resumed, kind).state_dict(), getattr(straight, kind).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), kind
    assert resumed.store.refresh() == 1 and resumed.store.read == ["m.npz", "a.npz"]


def test_a_task_without_frames_is_an_error_before_training(run, tmp_path):
    arguments = [str(tmp_path / "data"), str(tmp_path / "none"), *ARGUMENTS, "--tasks", "reach", "door-open"]
    with pytest.raises(SystemExit, match="no frames of door-open"):
        train.Run(train.parser().parse_args(arguments))


def test_shards_of_other_seeds_are_not_trained_on(run, tmp_path):
    shard(tmp_path / "data" / "b.npz", 50_000)
    with pytest.raises(ValueError, match="must not be trained on"):
        run("other")


def test_a_packed_round_becomes_a_round_again(run, tmp_path):
    """The same network up to float16, and what the next round starts from."""
    work = tmp_path / "work"
    made = learned(run("work/runs/round03"), 8)
    made.save()
    made.finish({"excess_nats": 0.5})
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "evaluation.json").write_text("of an earlier round")
    pack.pack(work, tmp_path / "packed")
    assert not (tmp_path / "packed" / "evaluation.json").exists()
    assert sum(path.stat().st_size for path in (tmp_path / "packed").iterdir()) < 10_000_000
    again = pack.unpack(tmp_path / "packed", tmp_path / "elsewhere")
    assert again.name == "round03" and json.loads((again / "summary.json").read_text())["steps"] == 8
    ours, theirs = (checkpoint.load(run_dir / "checkpoint")[0].state_dict() for run_dir in (again, work / "runs" / "round03"))
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-3) for name in theirs)
    started = train.Run(train.parser().parse_args([
        str(tmp_path / "data"), str(tmp_path / "next"), *ARGUMENTS, "--grid", str(again / "grid.npz"), "--start-from", str(again / "state.pt")]))
    assert started.step == 0 and (started.cells.edges[0] == made.cells.edges[0]).all()
    with pytest.raises(SystemExit, match="rounds of its own"):
        pack.unpack(tmp_path / "packed", tmp_path / "elsewhere")
