"""Trains the small checkpoint: `python -m egogrid_train.train DATA_DIR RUN_DIR --minutes 10`.

From: the shards in `DATA_DIR` (new ones are picked up while it runs). To: `RUN_DIR/checkpoint` in the released format,
rewritten every few minutes, and `RUN_DIR/state.pt`, from which an interrupted run resumes.
Loss: cross-entropy over the whole vocabulary at the 13 positions after the prompt (12 action tokens and eos).
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from egogrid_metaworld import instruction
from egogrid_train import checkpoint, grid, text
from egogrid_train.data import PLACE_SCALE_M, FrameStore, jitter, nearest_cells, soft_targets
from egogrid_train.episodes import CHUNK
from egogrid_train.expert import MT5, TASKS
from egogrid_train.grid import ACTION_TOKENS, CELLS
from egogrid_train.model import ModelConfig, SpatialVla, capped, prefix_mask
from egogrid_train.tables import ActionRows
from egogrid_train.vision_input import View
from torch import nn
from tqdm import tqdm

SUFFIX = 3 * CHUNK
EASY_WEIGHT = 0.1
"""Weight of rotation, gripper and eos positions together against translation's 1: they are learned in minutes. Where the
gripper has to decide something, `--gripper-weight` adds to its third."""
PLACES_WEIGHT, PLACES_ROUND_OFF = 2.0, 0.1
"""The second: below 1 cm an error counts by its square, above by its size, or the last centimetres would teach nothing."""
WARMUP_STEPS = 100
CLIP_NORM = 1.0
EMA_KEEP = 0.998
FED_SIGMA = 0.06
SIZES = ("vision_width", "vision_layers", "vision_heads", "vision_mlp", "width", "layers", "heads", "kv_heads", "head_dim", "mlp", "n_freqs")


class Trainee(nn.Module):
    """Network and action rows together; `forward` is the loss."""

    def __init__(self, config: ModelConfig, cells: grid.Grid, gripper_weight: float = 0.0) -> None:
        super().__init__()
        self.easy_weights = [EASY_WEIGHT / 3, EASY_WEIGHT / 3 + gripper_weight, EASY_WEIGHT / 3]
        self.model, self.rows = SpatialVla(config), ActionRows(cells, config.width)
        self.places = nn.Linear(config.width, 6)
        self.register_buffer("points", torch.from_numpy(cells.points).float(), persistent=False)
        self.register_buffer("usable", torch.from_numpy(cells.counts > 0), persistent=False)
        prompts = [text.prompt_ids(instruction(task), 0) for task in TASKS]
        longest = max(map(len, prompts))
        self.register_buffer("prompts", torch.tensor([p + [0] * (longest - len(p)) for p in prompts]), persistent=False)
        self.step_choice = 0
        self.register_buffer("lengths", torch.tensor([len(p) for p in prompts]), persistent=False)

    def forward(self, task, pixels, points, label, fed_cells, targets, places):
        """`fed_cells` `[batch, 4]`: translation cells fed back; `targets` `[batch, 4, vocabulary]`: soft targets; `places`
        `[batch, 6]`: where object and goal are. Loss; of it translation's cross-entropy; mean error of the places."""
        model, config = self.model, self.model.config
        embed_rows, head_rows = self.rows()
        batch, patches = len(task), config.patches
        prompt_length = patches + self.prompts.shape[1]
        lengths = patches + self.lengths[task]
        prompt = model.language_model["model"]["embed_tokens"](self.prompts[task])
        gripper = CELLS + 1 + (label[..., 3] < 0).long()  # effort -1 opens
        fed = torch.stack([fed_cells, torch.full_like(fed_cells, CELLS), gripper], -1).flatten(1)
        x = torch.cat([model.image_features(pixels, points), prompt, F.embedding(fed, embed_rows)], 1)
        valid = torch.arange(prompt_length)[None] < lengths[:, None]
        positions = torch.cat([torch.arange(prompt_length).expand(batch, -1), lengths[:, None] + torch.arange(SUFFIX)], 1)
        keep = torch.cat([lengths[:, None] - 1, torch.arange(prompt_length, prompt_length + SUFFIX).expand(batch, -1)], 1)
        states = model.decode_states(x, positions, prefix_mask(valid, SUFFIX), keep=keep)
        words = model.language_model["lm_head"].weight[: config.action_begin]
        head = torch.cat([words, head_rows]).T
        logits = lambda x: capped((x @ head.type_as(x)).float()).flatten(0, 1)  # noqa: E731
        begin = config.action_begin
        move = F.cross_entropy(logits(states[:, 0:SUFFIX:3]), targets.flatten(0, 1))
        # One rotation and one gripper a sample are enough: they are learned in minutes.
        step = int(self.step_choice)
        easy = torch.stack([states[:, 3 * step + 1], states[:, 3 * step + 2], states[:, SUFFIX]], 1)
        wanted = torch.stack([torch.full_like(task, begin + CELLS), begin + gripper[:, step], torch.ones_like(task)], 1)
        each = F.cross_entropy(logits(easy), wanted.flatten(), reduction="none").view(batch, 3).mean(0)
        easy_loss = sum(w * loss for w, loss in zip(self.easy_weights, each, strict=True))
        # Actions mostly say "that way, at full speed"; a place says how far. Only taught with: no file holds this layer.
        off = (self.places(states[:, 0]) - places).float()
        found = F.smooth_l1_loss(off, torch.zeros_like(off), beta=PLACES_ROUND_OFF)
        return move + easy_loss + PLACES_WEIGHT * found, move.detach(), off.detach().abs().mean()

    def materialized(self) -> SpatialVla:
        """A copy of the network whose tables hold the computed rows: what the file stores."""
        model = SpatialVla(self.model.config)
        model.load_state_dict(self.model.state_dict())
        embed_rows, head_rows = self.rows()
        begin = model.config.action_begin
        with torch.no_grad():
            model.spatial_embed_tokens.weight.copy_(embed_rows)
            model.language_model["model"]["embed_tokens"].weight[begin:] = embed_rows
            model.language_model["lm_head"].weight[begin:] = head_rows
        return model


def model_config(**sizes) -> ModelConfig:
    _, vocabulary = text.tokenizer_json()
    return ModelConfig(vocabulary.size, vocabulary.action_begin, vocabulary.image, ACTION_TOKENS, **sizes)


class Run:
    """Optimizer, averaged weights, schedule and files of one training run."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.args, self.rng = args, np.random.default_rng(args.seed)
        self.ego3d = checkpoint.Ego3d(frame=args.frame) if args.frame == "base" else checkpoint.Ego3d("camera", (0, 0, 2), 2.0)
        view = View(args.size_px, args.patch_px, args.reso)
        self.store = FrameStore(args.data_dir, self.ego3d, view, args.shards_max)
        args.run_dir.mkdir(parents=True, exist_ok=True)
        state_path = args.run_dir / "state.pt"
        state = torch.load(state_path, weights_only=False) if state_path.exists() else None
        if state is None:
            self.store.refresh()
        else:
            self.store.add(state["shards"])
        if empty := [task for task in args.tasks if not self.store.count(task)]:
            raise SystemExit(f"no frames of {', '.join(empty)} in {args.data_dir}: collect them, or leave them out of --tasks")
        grid_path = args.run_dir / "grid.npz"
        if not grid_path.exists():
            moves = self.store.labels()[..., :3].reshape(-1, 3)
            source = grid.load(args.grid) if args.grid else grid.fit(moves)
            grid.save(grid.with_points(source.edges, moves), grid_path)
        self.cells = grid.load(grid_path)
        config = model_config(ego3d=not args.no_ego3d, image_px=view.size_px, patch_px=view.patch_px, reso=view.reso, **args.size)
        self.trainee = Trainee(config, self.cells, args.gripper_weight)
        self.average = Trainee(config, self.cells)
        if args.start_from and state is None:
            start = torch.load(args.start_from, weights_only=False)["average"]
            self.trainee.load_state_dict({**{f"places.{k}": v for k, v in self.trainee.places.state_dict().items()}, **start})
        self.average.load_state_dict(self.trainee.state_dict())
        tables = [p for n, p in self.trainee.named_parameters() if "free" in n or "embed" in n or p.ndim < 2]
        names = {id(p) for p in tables}
        rest = [p for p in self.trainee.parameters() if id(p) not in names]
        self.optimizer = torch.optim.AdamW(
            [{"params": rest, "weight_decay": 0.02}, {"params": tables, "weight_decay": 0.0}], lr=args.lr, betas=(0.9, 0.98),
            fused=True,
        )
        self.step, self.elapsed_s, self.entropy = 0, 0.0, 0.0
        if state is not None:
            self.trainee.load_state_dict(state["trainee"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.elapsed_s = state["step"], state["elapsed_s"]
            self.rng.bit_generator.state = state["numpy_rng"]
            torch.set_rng_state(state["torch_rng"])
        self.loss = torch.compile(self.trainee) if args.compile else self.trainee

    def progress(self) -> float:
        """0 to 1, by steps where `--steps` is given, otherwise by processor time."""
        return self.step / self.args.steps if self.args.steps else self.elapsed_s / (60 * self.args.minutes)

    def learn(self, weights: np.ndarray) -> tuple[float, float]:
        """One step; returns translation's cross-entropy above the entropy of its targets, nats, and how far off object
        and goal were placed, centimetres an axis."""
        args = self.args
        lr = args.lr * min(1.0, (self.step + 1) / WARMUP_STEPS)
        lr *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress())))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        chosen, pixels, points, label, places = self.store.batch(self.rng, args.batch, weights, args.shift)
        pixels = jitter(pixels, self.rng, args.jitter)
        with torch.no_grad():
            moves = label[..., :3]
            targets = soft_targets(moves, self.trainee.points, self.trainee.usable)
            if self.step % 10 == 0 or not self.entropy:  # only reported; moves slowly
                self.entropy = -(targets * targets.clamp(min=1e-12).log()).sum(-1).mean()
            begin = self.trainee.model.config.action_begin
            targets = F.pad(targets, (begin, self.trainee.model.config.vocab_size - begin - CELLS))
            # What is fed back is as wrong as a prediction: a cell near the label, not always the nearest.
            fed = nearest_cells(moves + FED_SIGMA * torch.randn_like(moves), self.trainee.points, self.trainee.usable)
            self.trainee.step_choice = int(self.rng.integers(CHUNK))
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.fp32):
            loss, move, off = self.loss(torch.from_numpy(chosen), pixels, points, label, fed, targets, places)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trainee.parameters(), CLIP_NORM)
        self.optimizer.step()
        keep = min(EMA_KEEP, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.trainee.parameters()), 1 - keep)
        self.step += 1
        return float(move - self.entropy), 100 * float(off) * float(PLACE_SCALE_M)

    def save(self) -> None:
        state = {"trainee": self.trainee.state_dict(), "average": self.average.state_dict(),
                 "optimizer": self.optimizer.state_dict(), "step": self.step, "elapsed_s": self.elapsed_s,
                 "shards": self.store.read, "numpy_rng": self.rng.bit_generator.state, "torch_rng": torch.get_rng_state()}
        partial = self.args.run_dir / "state.partial"
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.args.run_dir / "state.pt")
        statistics = checkpoint.statistics_of(self.store.labels(), self.store.episodes)
        checkpoint.save(self.args.run_dir / "checkpoint", self.average.materialized(), self.cells, self.ego3d,
                        statistics, self.args.steps_executed, self.args.key, ego3d_used=not self.args.no_ego3d)

    def run(self) -> None:
        weights = np.array([float(task in self.args.tasks) for task in TASKS])
        for name, weight in (item.split("=") for item in self.args.weight):
            weights[TASKS.index(name)] = float(weight)
        unit = self.args.steps or round(60 * self.args.minutes)
        saved = looked = time.monotonic()
        last = time.process_time()
        recent: list[tuple[float, float]] = []
        with tqdm(total=unit, unit="step" if self.args.steps else "s") as bar:
            while self.progress() < 1:
                recent.append(self.learn(weights))
                now = time.monotonic()
                spent = time.process_time()  # of a processor: a busy machine makes a run longer, not worse
                self.elapsed_s += spent - last
                last = spent
                if now - looked > 30:
                    looked = now
                    self.store.refresh()
                if now - saved > 60 * self.args.save_minutes:
                    saved = now
                    self.save()
                if self.step % 50 == 0:
                    bar.n = min(unit, self.step if self.args.steps else int(self.elapsed_s))
                    bar.set_postfix(step=self.step, **self.recently(recent[-200:]), frames=len(self.store.where))
        self.save()
        self.finish(self.recently(recent[-500:]))

    @staticmethod
    def recently(learned: list[tuple[float, float]]) -> dict[str, float]:
        excess, off_cm = np.mean(learned, axis=0) if learned else (math.nan, math.nan)
        return {"excess_nats": round(float(excess), 4), "places_off_cm": round(float(off_cm), 3)}

    def finish(self, recently: dict[str, float]) -> None:
        """`summary.json`: what tells others that this run is at its end."""
        summary = {"steps": self.step, "elapsed_s": round(self.elapsed_s), "frames": len(self.store.where),
                   "episodes": self.store.episodes, **recently,
                   "parameters": sum(p.numel() for p in self.trainee.model.parameters())}
        partial = self.args.run_dir / "summary.partial"
        partial.write_text(json.dumps(summary, indent=1))
        partial.rename(self.args.run_dir / "summary.json")
        print(json.dumps(summary))


def _size(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if name not in SIZES or not value.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=N with one of {', '.join(SIZES)}")
    return name, int(value)


class _Sizes(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, dict(values))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=0, help="train by steps instead of time")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-minutes", type=float, default=4.0)
    parser.add_argument("--steps-executed", type=int, default=4)
    parser.add_argument("--frame", choices=("base", "camera"), default="base")
    parser.add_argument("--no-ego3d", action="store_true", help="the ablation: no position encoding")
    parser.add_argument("--grid", type=Path, help="keep the edges of this grid.npz")
    parser.add_argument("--start-from", type=Path, help="state.pt of another run: its averaged weights")
    parser.add_argument("--shards-max", type=int, help="read only the first shards by name")
    parser.add_argument("--tasks", nargs="+", default=list(MT5), choices=TASKS, help="(default: the five of the shipped policy)")
    parser.add_argument("--key", default="metaworld_mt5/1.0.0", help="statistics key of the checkpoint (default: %(default)s)")
    parser.add_argument("--size-px", type=int, default=112, help="side of the model's picture (default: %(default)s)")
    parser.add_argument("--patch-px", type=int, default=14, help="(default: %(default)s)")
    parser.add_argument("--reso", type=int, default=2, help="depth cells a patch and axis (default: %(default)s)")
    parser.add_argument("--size", nargs="*", type=_size, default={}, action=_Sizes, metavar="NAME=N", help="e.g. width=128 vision_layers=2")
    parser.add_argument("--gripper-weight", type=float, default=0.0, help="added to the gripper's loss (default: %(default)s)")
    parser.add_argument("--jitter", type=float, default=1.0, help="of colour and brightness; 1 is 15 %% and 16 of 255 (default: %(default)s)")
    parser.add_argument("--shift", type=int, default=0, metavar="CELLS", help="move pictures and points by up to so many depth cells (default: %(default)s)")
    parser.add_argument("--weight", nargs="*", default=[], metavar="TASK=W", help="oversample a task")
    parser.add_argument("--fp32", action="store_true")
    parser.add_argument("--compile", action="store_true")
    return parser


def main() -> None:
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    Run(args).run()


if __name__ == "__main__":
    main()
