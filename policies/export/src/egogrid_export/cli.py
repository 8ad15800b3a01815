"""`python -m egogrid_export CHECKPOINT_DIR BUNDLE_DIR`: arguments in, exit code out; progress and errors go to stderr.

Exit codes: 0 fine, 2 wrong use or checkpoint, 3 a written graph differs from the reference, 4 something is missing, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from egogrid_export.bundle import bundle_directory
from egogrid_export.checkpoint import Checkpoint
from egogrid_export.errors import CheckpointError, ExportError, UsageError
from egogrid_export.lora import MergedCheckpoint
from egogrid_export.measured import ACTION_BOUND, ACTION_BOUND_MAX
from egogrid_export.observations import OBSERVATIONS_DEFAULT, OBSERVATIONS_MAX
from egogrid_export.openvla.export import export as export_openvla
from egogrid_export.openvla.images import PREPROCESSINGS
from egogrid_export.openvla.prompt import PROMPTS
from egogrid_export.options import BATCH_MAX, DEPTH_CHOICES, Options
from egogrid_export.precision import PRECISIONS
from egogrid_export.progress import Progress, peak_memory_mb
from egogrid_export.spatialvla.adapted import AdaptedCheckpoint
from egogrid_export.spatialvla.export import export as export_spatialvla

# `model_type` of config.json to the family's exporter.
FAMILIES = {"spatialvla": export_spatialvla, "openvla": export_openvla}
# Options that only one family has.
OPTIONS_OF_FAMILY = {"prompt": "openvla", "preprocessing": "openvla", "depth": "spatialvla", "grid": "spatialvla", "grid_head": "spatialvla",
                     "batch": "spatialvla"}
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    progress = Progress(options.quiet)
    started = time.monotonic()
    try:
        checkpoint = Checkpoint(options.checkpoint) if options.lora is None else MergedCheckpoint(options.checkpoint, options.lora)
        family = checkpoint.json("config.json").get("model_type")
        if family not in FAMILIES:
            raise CheckpointError(f"config.json model_type is {family!r}", " | ".join(FAMILIES), "export another checkpoint")
        _refuse_options_of_others(options, family)
        if options.grid is not None:
            checkpoint = AdaptedCheckpoint(checkpoint, options.grid, options.grid_head != "keep")
        with bundle_directory(options.bundle, options.replace) as work:
            FAMILIES[family](checkpoint, work, options, progress)
    except ExportError as error:
        print(f"egogrid_export: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"egogrid_export: {error}; expected files that can be read and written; nothing was written", file=sys.stderr)
        return UsageError.exit_code
    except KeyboardInterrupt:
        print("egogrid_export: interrupted, nothing was written", file=sys.stderr)
        return INTERRUPTED
    progress.line(f"wrote {options.bundle} in {time.monotonic() - started:.1f} s, peak memory {peak_memory_mb():.0f} MB")
    return 0


def _refuse_options_of_others(options: Options, family: str) -> None:
    for option, owner in OPTIONS_OF_FAMILY.items():
        if getattr(options, option) is not None and family != owner:
            raise UsageError(f"--{option.replace('_', '-')} for a checkpoint of family {family}", f"it only for {owner}", "leave it out")


def _parse(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m egogrid_export",
        description="An official-format VLA checkpoint (released or fine-tuned) to a bundle for the Egogrid runtime.",
        epilog="example: python -m egogrid_export tests/fixtures/spatialvla_golden/ckpt out/bundle --replace",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT_DIR", type=Path, help="config.json, *.safetensors, tokenizer.json, …")
    parser.add_argument("bundle", metavar="BUNDLE_DIR", type=Path, help="where the bundle is to lie; must not exist yet")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32", help="of the weights (default: %(default)s)")
    parser.add_argument(
        "--depth", choices=tuple(DEPTH_CHOICES), help="where depth comes from (default: what the checkpoint was trained with)"
    )
    parser.add_argument("--lora", metavar="ADAPTER_DIR", type=Path, help="merge a LoRA adapter of the peft library into the weights")
    parser.add_argument(
        "--grid", metavar="FILE", type=Path, help="SpatialVLA: adapt it to these grids of `egogrid grid fit --like`; nothing is trained"
    )
    parser.add_argument(
        "--grid-head", choices=("adapt", "keep"), help="with --grid: interpolate the head's rows too, or keep them (default: adapt)"
    )
    parser.add_argument("--prompt", choices=tuple(PROMPTS), help="OpenVLA: the prompt it was trained with (default: what the files say)")
    parser.add_argument(
        "--preprocessing", choices=PREPROCESSINGS, help=f"OpenVLA: what comes before the processor (default: {PREPROCESSINGS[0]}, nothing)"
    )
    parser.add_argument("--cases", metavar="DIR", type=Path, help="own golden cases, NAME.json each, instead of synthetic ones")
    parser.add_argument(
        "--observations",
        metavar="N",
        type=_count,
        default=OBSERVATIONS_DEFAULT,
        help="how many a precision other than fp32 is measured on; 0 leaves that out (default: %(default)s)",
    )
    parser.add_argument(
        "--action-bound",
        metavar="A",
        type=_bound,
        default=ACTION_BOUND,
        help="how much a precision may change a normalized action before the bundle is marked (default: %(default)s)",
    )
    parser.add_argument(
        "--references", metavar="DIR", type=Path, help="keep the reference's answers to the observations there, and take them from there"
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        type=_batch,
        help="SpatialVLA, fp32, fp16 or bf16: further graphs that take N observations at once, for evaluations (default: none)",
    )
    parser.add_argument("--replace", action="store_true", help="replace a bundle that lies at BUNDLE_DIR")
    parser.add_argument("--skip-check", action="store_true", help="do not run the written graphs (needs no onnxruntime)")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    given = parser.parse_args(arguments)
    if given.grid_head is not None and given.grid is None:
        parser.error("--grid-head is for --grid")
    return Options(
        checkpoint=given.checkpoint,
        bundle=given.bundle,
        precision=PRECISIONS[given.precision],
        depth=given.depth,
        cases=given.cases,
        lora=given.lora,
        prompt=given.prompt,
        preprocessing=given.preprocessing,
        replace=given.replace,
        check=not given.skip_check,
        quiet=given.quiet,
        observations=given.observations,
        action_bound=given.action_bound,
        references=given.references,
        grid=given.grid,
        grid_head=given.grid_head,
        batch=given.batch,
    )


def _count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= OBSERVATIONS_MAX:
        raise argparse.ArgumentTypeError(f"{count}, expected 0 to {OBSERVATIONS_MAX}")
    return count


def _batch(text: str) -> int:
    batch = int(text)
    if not 2 <= batch <= BATCH_MAX:
        raise argparse.ArgumentTypeError(f"{batch}, expected 2 to {BATCH_MAX}")
    return batch


def _bound(text: str) -> float:
    bound = float(text)
    if not 0 <= bound <= ACTION_BOUND_MAX:  # written so that NaN fails
        raise argparse.ArgumentTypeError(f"{bound}, expected 0 to {ACTION_BOUND_MAX}: normalized actions reach from -1 to 1")
    return bound
