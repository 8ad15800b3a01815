"""Reads LIBERO's task files (`.bddl`): what LIBERO takes from the package `bddl` 1.0.1, which has no wheel.

From: the text of a file. To: nested lists of lower-case words, one for each pair of brackets. A comment begins with `;`.
"""

import re
import sys
from types import ModuleType

_COMMENT, _WORD = re.compile(r";.*$", re.MULTILINE), re.compile(r"[()]|[^\s()]+")


def scan_tokens(filename: str) -> list:
    """The one expression of the file."""
    with open(filename, encoding="utf-8") as file:
        words = _WORD.findall(_COMMENT.sub("", file.read()).lower())
    above, current = [], []
    for word in words:
        if word == "(":
            above.append(current)
            current = []
        elif word == ")":
            if not above:
                raise ValueError(f"{filename}: a closing bracket too many")
            above[-1].append(current)
            current = above.pop()
        else:
            current.append(word)
    if above or len(current) != 1:
        raise ValueError(f"{filename}: expected one expression in brackets, found {len(current)}, {len(above)} not closed")
    return current[0]


def package_predicates(group: list, goals: list, name: str, part: str) -> None:
    """Adds the conditions of a goal, `(and A B …)` or a single one, to `goals`; `name` and `part` belong to the original's messages."""
    goals.extend(group[1:] if group[0] == "and" else [group])


def stand_in() -> None:
    """From here on `from bddl.parsing import *` finds these two functions."""
    parsing = ModuleType("bddl.parsing", __doc__)
    parsing.scan_tokens, parsing.package_predicates = scan_tokens, package_predicates
    package = ModuleType("bddl")
    package.parsing = parsing
    sys.modules.update({"bddl": package, "bddl.parsing": parsing})
