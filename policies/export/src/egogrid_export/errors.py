"""What can go wrong in an export. Every error says what was found, what was expected and what to do next.

The exit codes are those of the whole project: 2 wrong use or configuration, 3 a check did not hold, 4 something needed is missing.
"""

from __future__ import annotations


class ExportError(Exception):
    """Base of all errors that a user can act on; anything else that escapes is a bug."""

    exit_code = 2

    def __init__(self, found: str, expected: str, todo: str) -> None:
        super().__init__(f"{found}; expected {expected}; {todo}")
        self.found, self.expected, self.todo = found, expected, todo


class UsageError(ExportError):
    """The command line asks for something that cannot be."""


class CheckpointError(ExportError):
    """A file of the checkpoint says something that this exporter does not accept."""


class MissingError(ExportError):
    """A file, a tensor or a library that the export needs is not there."""

    exit_code = 4


class CheckError(ExportError):
    """A graph that was written does not compute what the reference computes."""

    exit_code = 3
