"""Tests named `test_torch_*` are collected only where torch can be imported: CI does not install it."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_torch_*.py"]
if not importlib.util.find_spec("metaworld"):
    collect_ignore_glob.append("test_*.py")
