"""The Python half of the wire: see `sim_bridge/PROTOCOL.md`.

From: any object that is a `Simulator`. To: the Rust side's `SimClient`, over zenoh on loopback.
Names are imported when first asked for: training uses a simulator without a wire (`stress.py`), and needs no zenoh for it.
"""

import importlib

_HOMES = {"Capabilities": "simulator", "Observation": "simulator", "Simulator": "simulator", "WireError": "errors", "main": "cli"}

__all__ = ["Capabilities", "Observation", "Simulator", "WireError", "main"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
