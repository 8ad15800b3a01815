"""What is worth keeping of a long run, in a few megabytes: `python -m egogrid_train.pack WORK_DIR OUT_DIR`.

From: the newest finished round of `train_mt10.sh`. To: its averaged weights in float16, the grid, the statistics, the
curves and a manifest of everything that was trained on. `--unpack OUT_DIR WORK_DIR` makes the round again, so that
`train_mt10.sh WORK_DIR` goes on after it. The optimizer is not kept (each round begins with a new one), nor are DAgger's pictures.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from egogrid_train import checkpoint, grid
from egogrid_train.curves import rounds
from egogrid_train.train import Trainee
from safetensors.torch import load_file, save_file


def newest(work_dir: Path) -> Path:
    """The folder of the last round that is trained to its end."""
    finished = [run for run in sorted((work_dir / "runs").glob("round*")) if (run / "summary.json").exists()]
    if not finished:
        raise SystemExit(f"no finished round in {work_dir / 'runs'}: expected runs/roundNN/summary.json; let train_mt10.sh run on")
    return finished[-1]


def pack(work_dir: Path, out_dir: Path) -> None:
    run = newest(work_dir)
    state = torch.load(run / "state.pt", weights_only=False)
    out_dir.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.half().contiguous() for name, tensor in state["average"].items()}
    save_file(weights, out_dir / "average.safetensors", metadata={"format": "pt"})
    (out_dir / "average.safetensors").chmod(0o644)
    for name in ("grid.npz", "summary.json", "evaluation.json"):
        if (run / name).exists():
            shutil.copyfile(run / name, out_dir / name)
        else:  # of an earlier round
            (out_dir / name).unlink(missing_ok=True)
    for name in ("config.json", "processor_config.json"):
        shutil.copyfile(run / "checkpoint" / name, out_dir / name)
    (out_dir / "curves.json").write_text(json.dumps({"rounds": rounds(work_dir)}, indent=1))
    steps = sum(json.loads(path.read_text())["steps"] for path in (work_dir / "runs").glob("round*/summary.json"))
    manifest = {"round": run.name, "steps": steps, "shards": state["shards"],
                "seeds": "a shard's name ends in its first seed; eight seeds a shard and task"}
    (out_dir / "manifest.json").write_text(json.dumps(manifest, indent=1))


def unpack(packed: Path, work_dir: Path) -> Path:
    """Makes `runs/roundNN` again; refuses to touch a folder that has rounds."""
    if any((work_dir / "runs").glob("round*")):
        raise SystemExit(f"{work_dir} has rounds of its own; unpack into an empty folder, or go on without unpacking")
    manifest = json.loads((packed / "manifest.json").read_text())
    run = work_dir / "runs" / manifest["round"]
    partial = run.with_name(run.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in ("grid.npz", "evaluation.json"):
        if (packed / name).exists():
            shutil.copyfile(packed / name, partial / name)
    config = checkpoint.config_of(packed)
    cells = grid.load(packed / "grid.npz")
    trainee = Trainee(config, cells)
    trainee.load_state_dict({name: tensor.float() for name, tensor in load_file(packed / "average.safetensors").items()})
    torch.save({"average": trainee.state_dict()}, partial / "state.pt")
    key, statistics = checkpoint.statistics_in(packed)
    steps_executed = json.loads((packed / "config.json").read_text())["egogrid"]["steps_executed"]
    checkpoint.save(partial / "checkpoint", trainee.materialized(), cells, checkpoint.ego3d_of(packed), statistics, steps_executed, key)
    summary = json.loads((packed / "summary.json").read_text()) | {"steps": manifest["steps"]}
    (partial / "summary.json").write_text(json.dumps(summary, indent=1))
    partial.rename(run)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--unpack", action="store_true", help="from a packed folder to a working folder")
    args = parser.parse_args()
    if args.unpack:
        print(unpack(args.source, args.target))
    else:
        pack(args.source, args.target)


if __name__ == "__main__":
    main()
