"""What a script says to a person while it works: on standard error, because standard output is for results."""

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
