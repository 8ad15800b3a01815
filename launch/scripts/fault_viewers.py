"""What looking costs: ticks and commands at 100 Hz with nobody, a live view, one that is wedged, and one over a slow link, in turns.

A turn of each after the other, so that what else the machine does meets all of them; ratios are of medians over the turns.
"""

from __future__ import annotations

import signal
import statistics
from collections.abc import Callable
from pathlib import Path

import fault_trace
from fault_cases import TICK_MS, free_port, peer
from fault_numbers import Made, Number, driven
from fault_processes import EGOGRID, ROOT, Process, Scene
from terminal import say

TURNS, RATIO_MAX = 3, 1.01
SLOW_BYTES_S = 125_000
"""1 Mbit/s: a sixth of what the pictures of the shipped deployment are."""


def view(scene: Scene, endpoint: str | None = None) -> Process:
    """Writes a file: what a viewer draws with it is no business of the daemon's."""
    bundle = ROOT / "policies/shipped/metaworld/bundle"
    options = ["--connect", endpoint or scene.endpoint, "--bundle", str(bundle), "--save", str(scene.directory / "view.rrd"), "--json"]
    viewer = scene.start("view", [str(EGOGRID), "view", *options])
    viewer.wait_log("viewing ")
    return viewer


def _wedged(scene: Scene) -> None:
    view(scene).signal(signal.SIGSTOP)


def _slow(scene: Scene) -> None:
    endpoint = f"tcp/127.0.0.1:{free_port()}"
    peer(scene, "slow", "--connect", scene.endpoint, "--listen", endpoint, "--bytes-s", str(SLOW_BYTES_S))
    view(scene, endpoint)


KINDS: dict[str, Callable[[Scene], object] | None] = {
    "nobody": None,
    "a live view": view,
    "a live view that is stopped (SIGSTOP)": _wedged,
    "a live view over 1 Mbit/s": _slow,
}


def viewers() -> Made:
    return Made(f"what looking costs, {TURNS} turns of {len(KINDS)}", _viewers)


def _viewers(out: Path) -> list[Number]:
    late: dict[str, list[float]] = {kind: [] for kind in KINDS}
    between: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(TURNS):
        for number, (kind, beside) in enumerate(KINDS.items()):
            drive = driven(out / f"view-{turn}-{number}", realtime=True, busy=False, beside=beside)
            late[kind].append(drive.told["tick_late_ms"]["p99"])
            between[kind].append(fault_trace.quantile(drive.intervals_ms, 0.99))
            say(f"    {kind}: tick {late[kind][-1]:.3f} ms late, {between[kind][-1]:.2f} ms between commands (p99)")
    nobody, found = "nobody", []
    for kind in KINDS:
        spread = f"{min(late[kind]):.3g} to {max(late[kind]):.3g}"
        found.append(Number(f"{kind}: lateness of ticks p99, ms (median of {TURNS}; {spread})", statistics.median(late[kind]), None))
        if kind != nobody:
            # A tick and its lateness: what the robot gets.
            ticks = [TICK_MS + statistics.median(late[one]) for one in (kind, nobody)]
            found.append(Number(f"{kind}: tick p99 over that with nobody", ticks[0] / ticks[1], RATIO_MAX))
            commands = statistics.median(between[kind]) / statistics.median(between[nobody])
            found.append(Number(f"{kind}: interval between commands p99 over that with nobody", commands, RATIO_MAX))
    return found
