"""What policies are shown in each simulator, one row a run: `python docs/simulators_picture.py OUT.png RUN…`.

From: directories of `egogrid eval`, which keep the first picture of each task. To: the picture in `simulators.md`. At most six tasks a run.
"""

import sys
from pathlib import Path

from PIL import Image

SIDE_PX, GAP_PX, TASKS_MAX = 192, 4, 6


def main() -> None:
    out, runs = Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]]
    rows = [sorted((run / "tasks").glob("*.png"))[:TASKS_MAX] for run in runs]
    if not rows or not all(rows):
        sys.exit("usage: simulators_picture.py OUT.png RUN…, each a directory that `egogrid eval --out` wrote")
    step = SIDE_PX + GAP_PX
    sheet = Image.new("RGB", (max(map(len, rows)) * step - GAP_PX, len(rows) * step - GAP_PX), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(Image.open(picture).convert("RGB").resize((SIDE_PX, SIDE_PX), Image.LANCZOS), (column * step, row * step))
    sheet.save(out, optimize=True)


if __name__ == "__main__":
    main()
