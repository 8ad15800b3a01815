"""Reading one JSON object field by field: type and range are checked where the value is taken, and errors name the place."""

from __future__ import annotations

import math
from typing import Any

from egogrid_export.errors import CheckpointError, MissingError


class Fields:
    """One object of a configuration file. `where` is how errors call it."""

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict):
            raise CheckpointError(f"{where} is {_short(values)}", "an object", f"repair {where}")
        self.values, self.where = values, where

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def only(self, known: set[str]) -> None:
        """Refuses any other key: a typo must not become a default."""
        unknown = sorted(set(self.values) - known)
        if unknown:
            raise CheckpointError(f"{self.where} has the unknown key {unknown[0]!r}", f"only {sorted(known)}", "correct or remove it")

    def child(self, name: str) -> Fields:
        return Fields(self._take(name), f"{self.where} {name}")

    def integer(self, name: str, default: int | None = None, low: int = 1, high: int = 1 << 31) -> int:
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(name, value, f"an integer in {low}..={high}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number above zero."""
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
            self._refuse(name, value, "a finite number above 0")
        return float(value)

    def boolean(self, name: str, default: bool | None = None) -> bool:
        value = self._take(name, default)
        if not isinstance(value, bool):
            self._refuse(name, value, "true or false")
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self._take(name, default)
        if value not in choices:
            self._refuse(name, value, " | ".join(choices))
        return value

    def vector(self, name: str, length: int, default: list[float] | None = None) -> list[float]:
        """Exactly `length` finite numbers."""
        value = self._take(name, default)
        if not isinstance(value, list) or len(value) != length or not all(map(_finite, value)):
            self._refuse(name, value, f"{length} finite numbers")
        return [float(x) for x in value]

    def refuse(self, name: str, expected: str, todo: str) -> None:
        raise CheckpointError(f"{self.where} {name} is {_short(self.values.get(name))}", expected, todo)

    def _take(self, name: str, default: Any = None) -> Any:
        value = self.values.get(name, default)
        if value is None:
            raise MissingError(f"{self.where} has no {name}", "it in the file", "use the files of one complete checkpoint")
        return value

    def _refuse(self, name: str, value: Any, expected: str) -> None:
        raise CheckpointError(f"{self.where} {name} is {_short(value)}", expected, f"repair {self.where}")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
