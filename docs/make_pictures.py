"""Pictures of the rerun viewer for the README, from a real recording, without a display.

From: an `.rrd` that `./launch/demo` wrote. To: `docs/pictures/demo.png`, the whole viewer at one look of a
successful episode. Needs what `docs/pictures/README.md` lists. The viewer has no way to be told a time, but shows the
newest data: it gets the recording up to that look only, and the layout that the recording brings along.
"""

import argparse
import itertools
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.compute as pc
import rerun as rr
import rerun.blueprint as rrb
from PIL import Image
from rerun.experimental import Chunk, RrdReader, ViewerClient, send_chunks

PICTURES = Path(__file__).parent / "pictures"
VIEWER_START_S_MAX = 60.0
SETTLE_S_MAX = 60.0
TITLE_BAR_SHARE = 0.028
"""The uppermost part of the window: menus, and warnings about a missing GPU."""


class Recorded(rrb.Blueprint):
    """The layout as it stands in a recording."""

    def __init__(self, chunks: list[Chunk]) -> None:
        super().__init__()
        self._chunks = chunks

    def _log_to_stream(self, stream: rr.RecordingStream) -> None:
        send_chunks(self._chunks, recording=stream)


def episodes(chunks: list[Chunk]) -> list[tuple[str, bool, int, int]]:
    """`(task, success, first look, last look)` of every episode, from the recording's own log."""
    lines = []
    for chunk in chunks:
        if chunk.entity_path == "/log":
            batch = chunk.to_record_batch()
            for look, text in zip(batch["look"].to_pylist(), batch["TextLog:text"].to_pylist()):
                lines += [(look, line) for line in text]
    found, begun = [], None
    for look, line in sorted(lines, key=lambda entry: entry[0]):
        if begins := re.match(r"episode \d+: (\S+) with seed", line):
            begun = (begins[1], look)
        elif re.match(r"(SUCCESS|FAILED|STOPPED|NOT RUN).* after \d+ steps", line) and begun:
            found.append((begun[0], line.startswith("SUCCESS"), begun[1], look))
            begun = None
    return found


def busiest(chunks: list[Chunk], first: int, last: int) -> int:
    """A look late in the episode whose steps lead far: the hand has arrived, and something moves."""
    begin, end = first + 0.65 * (last - first), first + 0.9 * (last - first)
    reaches = {int(end): 0.0}
    for chunk in chunks:
        if chunk.entity_path == "/world/chunk/executed":
            batch = chunk.to_record_batch()
            for look, strips in zip(batch["look"].to_pylist(), batch["LineStrips3D:strips"].to_pylist()):
                if begin <= look <= end and strips and strips[0]:
                    reaches[look] = math.dist(strips[0][0], strips[0][-1])
    far = 0.9 * max(reaches.values())
    return max(look for look, reach in reaches.items() if reach >= far)


def until(chunk: Chunk, look: int) -> list[Chunk]:
    """The rows of `chunk` up to `look`; chunks without a time stay whole."""
    batch = chunk.to_record_batch()
    if "look" not in batch.schema.names:
        return [chunk]
    kept = batch.filter(pc.less_equal(batch["look"], look))
    if kept.num_rows == batch.num_rows:
        return [chunk]
    return list(Chunk.from_record_batch(kept)) if kept.num_rows else []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def written(path: Path) -> Image.Image:
    """The viewer writes its pictures in the background: waits for a whole one."""
    end = time.monotonic() + SETTLE_S_MAX
    while True:
        try:
            with Image.open(path) as picture:
                return picture.convert("RGB")
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


class Viewer:
    """A viewer without a window, on loopback only; ended with its whole process group."""

    def __init__(self, size_px: str) -> None:
        port = free_port()
        command = [sys.executable, "-m", "rerun", "--headless", "--bind", "127.0.0.1", "--port", str(port)]
        environment = {**os.environ, "RERUN_ANALYTICS": "0", "RUST_LOG": "error"}
        self._process = subprocess.Popen(
            [*command, "--window-size", size_px, "--hide-welcome-screen"], env=environment, start_new_session=True
        )
        self.url = f"rerun+http://127.0.0.1:{port}/proxy"
        end = time.monotonic() + VIEWER_START_S_MAX
        while self._process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.2)
        self.close()
        raise RuntimeError(
            f"the viewer did not start within {VIEWER_START_S_MAX:.0f} s; install mesa-vulkan-drivers (see docs/pictures/README.md)"
        )

    def picture(self, scratch: Path) -> Image.Image:
        """The window, once two pictures in a row are the same."""
        client = ViewerClient.connect(self.url)
        before, end = None, time.monotonic() + SETTLE_S_MAX
        for count in itertools.count():
            time.sleep(2.0)
            path = scratch / f"{count}.png"
            client.save_screenshot(str(path))
            now = written(path)
            if before is not None and now.tobytes() == before.tobytes():
                return now
            if time.monotonic() > end:
                print(f"the window still moves after {SETTLE_S_MAX:.0f} s; this is its last state", file=sys.stderr)
                return now
            before = now

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(timeout=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path, help="the demo.rrd of a run")
    parser.add_argument("--task", default="drawer-open", help="show a successful episode of this task")
    parser.add_argument("--look", type=int, help="show this look, whatever it is")
    parser.add_argument("--whole", action="store_true", help="show where the recording ends: for those of `egogrid view --save`")
    parser.add_argument("--size", default="1700x1000", help="of the viewer, pixels")
    parser.add_argument("--out", type=Path, default=PICTURES / "demo.png")
    args = parser.parse_args()

    reader = RrdReader(args.recording)
    chunks = reader.stream().to_chunks()
    layouts = reader.blueprints()
    if not layouts:
        sys.exit(f"{args.recording} has no layout; record it with ./launch/demo")
    look = args.look
    if look is None and not args.whole:
        fitting = [(first, last) for task, success, first, last in episodes(chunks) if success and task == args.task]
        if not fitting:
            sys.exit(f"{args.recording} has no successful episode of {args.task}; name another --task or a --look")
        first, last = fitting[-1]
        look = busiest(chunks, first, last)

    viewer = Viewer(args.size)
    try:
        recording = rr.RecordingStream("egogrid")
        recording.connect_grpc(viewer.url)
        recording.send_blueprint(Recorded(reader.stream(store=layouts[-1]).to_chunks()))
        shown = chunks if args.whole else [part for chunk in chunks for part in until(chunk, look)]
        send_chunks(shown, recording=recording)
        recording.flush()
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            window = viewer.picture(Path(scratch))
            window.crop((0, int(TITLE_BAR_SHARE * window.height), *window.size)).save(args.out, optimize=True)
        recording.disconnect()
    finally:
        viewer.close()
    print(f"{'the end' if args.whole else f'look {look}'} of {args.recording}: {args.out}")


if __name__ == "__main__":
    main()
