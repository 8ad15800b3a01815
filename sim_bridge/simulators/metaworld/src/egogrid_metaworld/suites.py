"""The benchmark's own sets of tasks, from the `metaworld` package: `python -m egogrid_metaworld.suites` prints them for `simulator.toml`.

A test holds the file to this.
"""

import json

from metaworld.env_dict import ML45_V3, MT10_V3, MT25_V3, MT50_V3

SHIPPED = ("drawer-close", "drawer-open", "door-open", "button-press-topdown", "window-open")
"""The tasks of the shipped policy (`mt5`), which is no set of the benchmark."""


def suites() -> dict[str, list[str]]:
    """Names without the `-v3` ending, in the benchmark's order."""
    sets = {"mt10": MT10_V3, "mt25": MT25_V3, "mt50": MT50_V3, "ml45-test": ML45_V3["test"]}
    return {"mt5": list(SHIPPED)} | {name: [task.removesuffix("-v3") for task in tasks] for name, tasks in sets.items()}


def main() -> None:
    for name, tasks in suites().items():
        print(f"{name} = {json.dumps(tasks)}")


if __name__ == "__main__":
    main()
