"""A trained checkpoint as the beginning of a larger one: `python -m egogrid_train.grow CHECKPOINT OUT_DIR --reso 4 …`.

From: a checkpoint of `train.py` and another view with as many patches. To: `OUT_DIR/{state.pt, grid.npz}`, for `train.py
--grid --start-from`. The patch filter is resized (same response to a picture enlarged alike), every depth cell takes its
share of the cell that it is a part of, action rows become free rows. What the old network knew is nearly kept; the rest of
a larger view is learned.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from egogrid_train import checkpoint, grid
from egogrid_train.train import Trainee
from egogrid_train.vision_input import View, overlap

_FILTER = "vision_tower.vision_model.embeddings.patch_embedding.weight"
_POINTS = "position_embedding_3d.position_embedding_head.0.weight"


def grown_filter(weight: torch.Tensor, patch_px: int) -> torch.Tensor:
    """`[width, 3, old, old]` to `[width, 3, patch_px, patch_px]`: each weight is shared out over the pixels that its own
    covers, so sums stay what they were."""
    share = torch.from_numpy(overlap(weight.shape[-1], patch_px)).to(weight.dtype)
    return share @ weight @ share.T


def grown_points(weight: torch.Tensor, old_reso: int, reso: int) -> torch.Tensor:
    """`[width, old^2 * 3 * encoded]` to `[width, reso^2 * 3 * encoded]`."""
    if reso % old_reso:
        raise ValueError(f"{reso} depth cells a side do not divide into {old_reso}: choose a multiple")
    factor, width = reso // old_reso, weight.shape[0]
    cells = weight.view(width, old_reso, old_reso, -1) / factor**2
    return cells.repeat_interleave(factor, 1).repeat_interleave(factor, 2).reshape(width, -1)


def grow(source: Path, view: View) -> tuple[Trainee, grid.Grid]:
    """The checkpoint in `source` as a trainee for `view`."""
    model, _, cells = checkpoint.load(source)
    old = model.config
    config = replace(old, image_px=view.size_px, patch_px=view.patch_px, reso=view.reso)
    if config.patches != old.patches:
        raise ValueError(f"{view} has {config.patches} patches, {source} {old.patches}: positions cannot be carried over; keep the number")
    trainee = Trainee(config, replace(cells, counts=np.ones(len(cells.points), int)))
    weights = model.state_dict()
    weights[_FILTER] = grown_filter(weights[_FILTER], view.patch_px)
    weights[_POINTS] = grown_points(weights[_POINTS], old.reso, view.reso)
    trainee.model.load_state_dict(weights)
    begin = config.action_begin
    with torch.no_grad():
        embed, head = trainee.rows()
        trainee.rows.embed_free += weights["spatial_embed_tokens.weight"] - embed
        trainee.rows.head_free += weights["language_model.lm_head.weight"][begin:] - head
    return trainee, cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--size-px", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--patch-px", type=int, default=16, help="(default: %(default)s)")
    parser.add_argument("--reso", type=int, default=4, help="(default: %(default)s)")
    args = parser.parse_args()
    trainee, cells = grow(args.checkpoint, View(args.size_px, args.patch_px, args.reso))
    args.out_dir.mkdir(parents=True, exist_ok=True)
    grid.save(cells, args.out_dir / "grid.npz")
    torch.save({"average": trainee.state_dict()}, args.out_dir / "state.pt")


if __name__ == "__main__":
    main()
