"""Figures of the daemon at 100 Hz, as it counts them itself: how late ticks are, what runs outside ONNX Runtime, and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fault_trace
from fault_processes import CONTROL_HZ, Memory, NotAsExpected, Scene, summary

DRIVE_S = 20.0
TICK_LATE_MS_MAX, OUTSIDE_ONNX_MS_MAX, GROWTH_MIB_MAX = 1.0, 2.0, 8.0
# Below the control thread, which it must not delay.
PROBE, PROBE_PRIORITY = str(Path(__file__).parent / "fault_probe.py"), 79
# Buffers and caches are filled in the beginning.
WARM_SHARE = 0.2


@dataclass(frozen=True)
class Number:
    """`target` None: told, not asked for."""

    name: str
    value: float | None
    target: float | None
    failed: str | None = None

    @property
    def ok(self) -> bool:
        return self.failed is None and (self.target is None or (self.value is not None and self.value <= self.target))

    def row(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "target": self.target, "ok": self.ok, "failed": self.failed}

    def cells(self) -> list[str]:
        target = "–" if self.target is None else f"{self.target:g}"
        return [self.name, self.failed or f"{self.value:.3g}", target, "yes" if self.ok else "**no**"]


@dataclass(frozen=True)
class Made:
    name: str
    run: Callable[[Path], list[Number]]


def made(one: Made, out: Path) -> list[Number]:
    """A measurement that could not be made is a row that is not ok."""
    try:
        return one.run(out)
    except NotAsExpected as error:
        return [Number(one.name, None, None, str(error).replace("\n", " ").replace("|", "/"))]


@dataclass(frozen=True)
class Drive:
    """What the daemon tells at its end, and the intervals between its commands, from their stamps.

    `machine_late_ms`: quantiles of a thread that only sleeps, at the same time; None without real-time priority.
    """

    told: dict[str, Any]
    intervals_ms: list[float]
    machine_late_ms: dict[str, float] | None


def numbers() -> list[Made]:
    return [Made("ticks with and without real-time priority", _priority)]


def _priority(out: Path) -> list[Number]:
    found: list[Number] = []
    for what, realtime in (("with real-time priority", True), ("without", False)):
        drive = driven(out / f"ticks-{what.replace(' ', '-')}", realtime, busy=True)
        told = drive.told
        late = told["tick_late_ms"]
        target = TICK_LATE_MS_MAX if realtime else None
        found += [
            Number(f"tick lateness p99.9 {what}, every processor busy, ms ({told['ticks']} ticks)", late["p999"], target),
            Number(f"tick lateness, largest {what}, ms", late["max"], None),
            Number(f"ticks left out {what}", told["ticks_missed"], None),
        ]
        if realtime:
            machine = drive.machine_late_ms or {}
            found += [
                Number("the same of a thread that only sleeps, beside it: p99.9, ms", machine["p999"], None),
                Number("the same of a thread that only sleeps, beside it: largest, ms", machine["max"], None),
            ]
            found.append(Number("outside ONNX Runtime p99, every processor busy, ms", told["outside_onnx_ms"]["p99"], OUTSIDE_ONNX_MS_MAX))
    return found


def driven(directory: Path, realtime: bool, busy: bool, beside: Callable[[Scene], object] | None = None) -> Drive:
    """Looks without a pause, two threads for the policy; `busy`: and as many busy processes beside it as there are processors.

    `beside`: starts what listens to the daemon.
    """
    lines = {} if realtime else {"priority": 'priority = { unbounded = "to see what it is worth" }'}
    with Scene(directory) as scene:
        daemon = scene.daemon(lines, threads=2)
        if beside:
            beside(scene)
        scene.world("--episodes", "100", task="drawer-open,window-open")
        scene.wait_moving()
        probe = scene.start("probe", [sys.executable, PROBE, str(1e3 / CONTROL_HZ), str(PROBE_PRIORITY)]) if realtime else None
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)] if busy else []
        try:
            time.sleep(DRIVE_S)
        finally:
            for process in others:
                process.kill()
                process.wait()
        if probe:
            probe.end()
        told = summary(daemon)
        intervals = fault_trace.intervals_ms(scene.trace().received)
    priority = next(iter(remark for remark in told["remarks"] if remark.startswith("real-time priority")), "")
    if realtime and not priority.endswith("yes"):
        raise NotAsExpected(f"this system gives none: {priority}")
    return Drive(told, intervals, json.loads(probe.printed()) if probe else None)


def soak(minutes: float) -> Made:
    return Made(f"{minutes:g} minutes of driving", lambda out: _soak(out, minutes))


def _soak(out: Path, minutes: float) -> list[Number]:
    """Growth from the end of the warm-up to the end, of means over a tenth of the time each: one sample is noise."""
    with Scene(out / "soak") as scene:
        daemon = scene.daemon()
        scene.world("--episodes", "100000", task="drawer-open,window-open")
        scene.wait_moving()
        memory = Memory(daemon.child.pid)
        ended = time.monotonic() + minutes * 60
        while time.monotonic() < ended:
            if daemon.child.poll() is not None:
                raise NotAsExpected("the daemon ended")
            time.sleep(1.0)
        samples = memory.end()
        told = summary(daemon)
    tenth = max(len(samples) // 10, 1)
    first = int(len(samples) * WARM_SHARE)
    growth = sum(samples[-tenth:]) / tenth - sum(samples[first : first + tenth]) / tenth
    return [
        Number(f"growth of the daemon's memory in {minutes:g} minutes, MiB ({told['ticks']} ticks)", growth, GROWTH_MIB_MAX),
        Number("the daemon's memory at the end, MiB", samples[-1], None),
    ]
