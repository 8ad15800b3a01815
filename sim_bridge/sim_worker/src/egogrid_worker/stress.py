"""What an evaluation may ask of a simulator besides its own world: PROTOCOL.md, "Arguments of a worker".

From: the command line. To: `Stress`, which a simulator applies when it loads a world. A worker that cannot do one of these does not
take the option, so that asking for it is an error and never a world without it.
"""

import argparse
from dataclasses import dataclass

SHIFT_M_MAX, TURN_DEG_MAX, LIGHT_MAX = 1.0, 45.0, 4.0


@dataclass(frozen=True)
class Stress:
    """Nothing of it by default."""

    expert: bool = False
    """The scripted expert acts; what is asked for is not executed."""
    camera_shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In the base frame."""
    camera_turn_deg: tuple[float, float] = (0.0, 0.0)
    """To the left and up, around the camera itself."""
    camera_untold: bool = False
    """The policy is told the pose that the camera had before it was moved."""
    light: float = 1.0
    """Factor of every light."""
    colours_seed: int | None = None
    """Other colours for everything that the robot does not wear; the seed names them."""


def add_arguments(args: argparse.ArgumentParser) -> None:
    args.add_argument("--expert", action="store_true", help="the scripted expert acts instead of whoever asks")
    args.add_argument("--camera-shift-m", type=_numbers(3, SHIFT_M_MAX), default=(0.0, 0.0, 0.0), metavar="X,Y,Z", help="in the base frame")
    args.add_argument("--camera-turn-deg", type=_numbers(2, TURN_DEG_MAX), default=(0.0, 0.0), metavar="LEFT,UP", help="of the camera")
    args.add_argument("--camera-untold", action="store_true", help="tell the pose that it had before it was moved")
    args.add_argument("--light", type=_light, default=1.0, metavar="F", help="factor of every light (default: %(default)s)")
    args.add_argument("--colours-seed", type=_seed, metavar="N", help="other colours of the world")


def of(args: argparse.Namespace) -> Stress:
    return Stress(args.expert, args.camera_shift_m, args.camera_turn_deg, args.camera_untold, args.light, args.colours_seed)


def _numbers(count: int, limit: float):
    def parse(text: str) -> tuple[float, ...]:
        numbers = tuple(float(part) for part in text.split(","))
        if len(numbers) != count or not all(abs(number) <= limit for number in numbers):  # written so that NaN fails
            raise argparse.ArgumentTypeError(f"{text!r}, expected {count} numbers of at most {limit}")
        return numbers

    return parse


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r}, expected 0 to {(1 << 32) - 1}")
    return seed


def _light(text: str) -> float:
    factor = float(text)
    if not 0 <= factor <= LIGHT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}, expected 0 to {LIGHT_MAX}")
    return factor
