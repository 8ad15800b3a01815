"""`python -m egogrid_libero.suites` prints the benchmark's suites for `simulator.toml`. A test holds the file to this."""

import json

from egogrid_libero.tasks import suites


def main() -> None:
    for name, tasks in suites().items():
        print(f"{name} = {json.dumps(tasks)}")


if __name__ == "__main__":
    main()
