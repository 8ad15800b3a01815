"""The files behind ./launch/gpu-setup: is there a driver and room, libraries out of wheels into one directory, TensorRT linked beside them.

One flat directory, because that is what is found without settings: each of NVIDIA's libraries looks in its own directory for the others
(RUNPATH `$ORIGIN`), ONNX Runtime looks for its providers in its own, and Egogrid loads what lies there before it starts a provider.
Python's standard library only: nothing is installed yet when this runs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import zipfile
from pathlib import Path

# What runtime/src/execution/chain/nvidia.rs looks for, and the wheel of requirements-gpu.lock that it is in.
LIBRARIES = {
    "libonnxruntime.so": "onnxruntime-gpu",
    "libonnxruntime_providers_shared.so": "onnxruntime-gpu",
    "libonnxruntime_providers_cuda.so": "onnxruntime-gpu",
    "libonnxruntime_providers_tensorrt.so": "onnxruntime-gpu",
    "libcudart.so.13": "nvidia-cuda-runtime",
    "libcublas.so.13": "nvidia-cublas",
    "libcublasLt.so.13": "nvidia-cublas",
    "libcurand.so.10": "nvidia-curand",
    "libcufft.so.12": "nvidia-cufft",
    "libnvrtc.so.13": "nvidia-cuda-nvrtc",
    "libnvJitLink.so.13": "nvidia-nvjitlink",
    "libcudnn.so.9": "nvidia-cudnn-cu13",
    "libcudnn_graph.so.9": "nvidia-cudnn-cu13",
    "libcudnn_ops.so.9": "nvidia-cudnn-cu13",
    "libcudnn_cnn.so.9": "nvidia-cudnn-cu13",
    "libcudnn_adv.so.9": "nvidia-cudnn-cu13",
    "libcudnn_heuristic.so.9": "nvidia-cudnn-cu13",
    "libcudnn_engines_precompiled.so.9": "nvidia-cudnn-cu13",
    "libcudnn_engines_runtime_compiled.so.9": "nvidia-cudnn-cu13",
}
# Not on PyPI: what is called tensorrt-cu13 there fetches a wheel from an index of NVIDIA's own, which no lock of ours can hold.
TENSORRT_LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10", "libnvinfer_plugin.so.10")
DRIVER_MIN = 580
# Wheels 1.6 GB, libraries 2.4 GB, and some room: both are there at the same time.
SPACE_GB = 5
STAMP = "egogrid.stamp"
SHARED = re.compile(r"lib[^/]*\.so(\.\d+)*$")
ENV = """# Sourced: the GPU's libraries for this shell. Written by ./launch/gpu-setup.
EGOGRID_GPU_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export EGOGRID_ORT_LIB=$EGOGRID_GPU_DIR/libonnxruntime.so
# TensorRT loads parts of itself by name while it builds an engine.
export LD_LIBRARY_PATH=$EGOGRID_GPU_DIR${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
"""


class Refused(Exception):
    """Says what was found, what is needed and what to do."""


def driver(root: str = "/") -> str:
    """Version of the running NVIDIA driver. `root`: where /proc and /dev are."""
    told, wsl = Path(root, "proc/driver/nvidia/version"), Path(root, "dev/dxg")
    remedy = f"install the NVIDIA driver, {DRIVER_MIN} or newer, which CUDA 13 needs; --download-only fetches the libraries without one"
    if not told.is_file():
        if wsl.exists():
            return "of the Windows host"
        raise Refused(f"no NVIDIA driver: there is neither {told} nor {wsl}; {remedy}")
    version = next((word for word in told.read_text().split() if re.fullmatch(r"\d+(\.\d+)+", word)), None)
    if version is None or int(version.split(".")[0]) < DRIVER_MIN:
        raise Refused(f"NVIDIA driver {version or 'of unknown version'} found; {remedy}")
    return version


def space(into: str, needed_gb: float = SPACE_GB) -> None:
    """Room for it, and nothing of somebody else's in the way: what is there is replaced."""
    place = Path(into).absolute()
    if place.exists() and not (place / STAMP).is_file() and any(place.iterdir()):
        raise Refused(f"{place} exists and was not made by ./launch/gpu-setup; choose an empty or new directory with --into")
    while not place.exists():
        place = place.parent
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb < needed_gb:
        raise Refused(f"{free_gb:.1f} GB are free at {place}, {needed_gb:g} GB are needed; free some, or choose another place with --into")


def locked(lock: str) -> dict[str, str]:
    """Version of each package; every one must have a hash."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", Path(lock).read_text()):
        if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)", block):
            if "--hash=sha256:" not in block:
                raise Refused(f"{lock}: {match[1]} has no hash; make it again with launch/scripts/lock.sh")
            found[match[1]] = match[2]
    return found


def only_named(requirements: str, lock: str) -> None:
    """Leaves of the lock what the requirements name themselves."""
    named = {match[1] for line in Path(requirements).read_text().splitlines() if (match := re.match(r"([A-Za-z0-9._-]+)==", line))}
    blocks = re.split(r"\n(?=\S)", Path(lock).read_text().rstrip("\n"))
    kept = [block for block in blocks if block.startswith("#") or block.split("==")[0] in named]
    Path(lock).write_text("\n".join(kept) + "\n")


def digest(lock: str) -> str:
    return hashlib.sha256(Path(lock).read_bytes()).hexdigest()


def is_current(into: str, lock: str) -> bool:
    """Whether exactly these libraries are there; what was interrupted has no stamp."""
    stamp = Path(into, STAMP)
    return stamp.is_file() and stamp.read_text().strip() == digest(lock) and all(Path(into, name).is_file() for name in LIBRARIES)


def unpack(wheels: str, into: str, lock: str) -> None:
    """Every shared library of the wheels, side by side; each wheel is deleted after it."""
    part = Path(f"{into}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for wheel in sorted(Path(wheels).glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                name = member.filename.rsplit("/", 1)[-1]
                if SHARED.fullmatch(name):
                    # ONNX Runtime's carries its whole version in its name.
                    name = "libonnxruntime.so" if name.startswith("libonnxruntime.so.") else name
                    with archive.open(member) as source, open(part / name, "xb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
                    (part / name).chmod(0o755)
        wheel.unlink()
    absent = [f"{name} ({package})" for name, package in LIBRARIES.items() if not (part / name).is_file()]
    if absent:
        shutil.rmtree(part)
        raise Refused(f"the wheels of {lock} do not hold {', '.join(absent)}; correct launch/requirements-gpu.in and make the lock again")
    (part / "env.sh").write_text(ENV)
    (part / STAMP).write_text(digest(lock) + "\n")
    shutil.rmtree(into, ignore_errors=True)
    part.rename(into)


def check_tensorrt(directory: str) -> None:
    absent = [name for name in TENSORRT_LIBRARIES if not Path(directory, name).is_file()]
    if absent:
        raise Refused(
            f"{directory} has no {', '.join(absent)}; give the directory that holds them, of TensorRT 10 for CUDA 13: "
            "docs/providers.md says where to get it"
        )


def link_tensorrt(directory: str, into: str) -> None:
    check_tensorrt(directory)
    for file in sorted(Path(directory).resolve().iterdir()):
        if SHARED.fullmatch(file.name) and file.name.startswith(("libnvinfer", "libnvonnxparser")):
            link = Path(into, file.name)
            link.unlink(missing_ok=True)
            link.symlink_to(file)


COMMANDS = {
    "driver": driver,
    "space": space,
    "is-current": is_current,
    "unpack": unpack,
    "check-tensorrt": check_tensorrt,
    "link-tensorrt": link_tensorrt,
    "only-named": only_named,
}


def main(arguments: list[str]) -> int:
    try:
        return 1 if COMMANDS[arguments[0]](*arguments[1:]) is False else 0
    except (Refused, OSError, zipfile.BadZipFile) as error:
        print(f"\033[1megogrid\033[0m error: {error}", file=sys.stderr)
        return 4


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
