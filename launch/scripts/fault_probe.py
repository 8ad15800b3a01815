"""How late a thread of real-time priority wakes that does nothing but sleep: what the machine itself, or the one that lends it, adds.

`python fault_probe.py PERIOD_MS PRIORITY`, until SIGTERM. To stdout: `{"wakes", "p50", "p99", "p999", "max"}`, milliseconds late.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from fault_trace import NS_PER_MS, quantile


def main() -> None:
    period_ns, ended = round(float(sys.argv[1]) * NS_PER_MS), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(sys.argv[2])))
    late_ms: list[float] = []
    due_ns = time.monotonic_ns() + period_ns
    while not ended.is_set():
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
        now_ns = time.monotonic_ns()
        late_ms.append((now_ns - due_ns) / NS_PER_MS)
        due_ns += period_ns * (1 + (now_ns - due_ns) // period_ns)
    late_ms.sort()
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    print(json.dumps({"wakes": len(late_ms)} | {name: quantile(late_ms, share) for name, share in shares.items()}))


if __name__ == "__main__":
    main()
