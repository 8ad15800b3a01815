"""The object `egogrid` of `config.json`: what a checkpoint may say beyond its released format. Absent = official behaviour."""

from __future__ import annotations

from egogrid_export.fields import Fields

# As far as the runtime goes.
CONTROL_HZ_MAX = 1000.0


def read_extension(top: Fields, known: set[str]) -> Fields:
    """Any key that the family does not know is refused."""
    extension = Fields(top.values.get("egogrid", {}), f"{top.where} egogrid")
    extension.only(known)
    return extension


def control_hz(extension: Fields) -> float | None:
    """The rate that the checkpoint was trained at, where it says one."""
    if not extension.has("control_hz"):
        return None
    if extension.number("control_hz") > CONTROL_HZ_MAX:
        extension.refuse("control_hz", f"at most {CONTROL_HZ_MAX}", "correct it")
    return extension.number("control_hz")
