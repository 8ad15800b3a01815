"""The Python half of the wire: see `sim_bridge/PROTOCOL.md`.

From: any object that is a `Simulator`. To: the Rust side's `SimClient`, over zenoh on loopback.
"""

from egogrid_worker.cli import main
from egogrid_worker.errors import WireError
from egogrid_worker.simulator import Capabilities, Observation, Simulator

__all__ = ["Capabilities", "Observation", "Simulator", "WireError", "main"]
