"""What an export prints while it works: bars when a person watches, plain lines otherwise, all on stderr."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
# `ru_maxrss` counts bytes on macOS and KiB elsewhere.
MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


class Progress:
    """Silent where `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def over(self, items: Iterable[Item], what: str) -> Iterator[Item]:
        self.line(what)
        yield from tqdm(items, desc=what, disable=self.quiet or not sys.stderr.isatty(), leave=False)

    def line(self, text: str) -> None:
        if not self.quiet:
            tqdm.write(text, file=sys.stderr)


def peak_memory_mb() -> float:
    """Largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES / 1e6
