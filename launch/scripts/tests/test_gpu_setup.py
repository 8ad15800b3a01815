"""./launch/gpu-setup without a download: refusals, the lock, made-up wheels, and nothing that the runtime looks for is left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import gpu_libraries
from gpu_libraries import LIBRARIES, TENSORRT_LIBRARIES, Refused

ROOT = Path(__file__).resolve().parents[3]
LOCK = ROOT / "launch/requirements-gpu.lock"
CHAIN = ROOT / "runtime/src/execution/chain/nvidia.rs"
# Comes with the driver, which no wheel holds.
DRIVERS = {"libcuda.so", "libcuda.so.1"}


def setup(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "launch/gpu-setup", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def wheels(directory: Path, names: list[str]) -> Path:
    """One wheel for each package, with files as NVIDIA and Microsoft lay them out."""
    directory.mkdir()
    for package in set(LIBRARIES.values()):
        with zipfile.ZipFile(directory / f"{package}.whl", "w") as archive:
            archive.writestr(f"{package}/lib/__init__.py", "")
            for name in names:
                if LIBRARIES[name] == package:
                    archive.writestr(f"{package}/lib/{name}", name)
            if package == "onnxruntime-gpu":
                archive.writestr(f"{package}/capi/onnxruntime_pybind11_state.cpython-311-x86_64-linux-gnu.so", "Python's")
                archive.writestr(f"{package}/capi/libonnxruntime.so.1.31.1", "versioned")
    return directory


def test_wrong_arguments_are_exit_code_2_and_say_what_is_right() -> None:
    for arguments in (["--tensorrt"], ["--into"], ["--everything"], ["cuda"]):
        done = setup(*arguments)
        assert done.returncode == 2, arguments
        assert "usage:" in done.stderr and arguments[0] in done.stderr
    assert setup("--help").returncode == 0


def test_without_a_driver_it_is_refused_before_anything_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no NVIDIA driver.*580.*--download-only"):
        gpu_libraries.driver(str(tmp_path))
    if not Path("/proc/driver/nvidia/version").exists() and not Path("/dev/dxg").exists():
        done = setup("--into", tmp_path / "gpu")
        assert done.returncode == 4 and "no NVIDIA driver" in done.stderr
    assert not (tmp_path / "gpu").exists()


def test_a_driver_is_taken_by_its_version(tmp_path: Path) -> None:
    told = tmp_path / "proc/driver/nvidia/version"
    told.parent.mkdir(parents=True)
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build\n"
    told.write_text(line.format("580.65.06"))
    assert gpu_libraries.driver(str(tmp_path)) == "580.65.06"
    for text in (line.format("575.57.08"), "no version"):
        told.write_text(text)
        with pytest.raises(Refused, match="580 or newer"):
            gpu_libraries.driver(str(tmp_path))
    told.unlink()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/dxg").touch()
    assert "Windows" in gpu_libraries.driver(str(tmp_path))


def test_too_little_room_and_a_directory_of_somebody_elses_are_refused(tmp_path: Path) -> None:
    gpu_libraries.space(str(tmp_path / "new/place"), needed_gb=0)
    with pytest.raises(Refused, match=r"GB are free at .*1e\+06 GB are needed"):
        gpu_libraries.space(str(tmp_path), needed_gb=1_000_000)
    (tmp_path / "thesis.tex").write_text("mine")
    done = setup("--download-only", "--into", tmp_path)
    assert done.returncode == 4 and "was not made by" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_the_lock_holds_exactly_what_is_asked_for_with_hashes(tmp_path: Path) -> None:
    asked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "launch/requirements-gpu.in").read_text(), re.MULTILINE))
    assert gpu_libraries.locked(str(LOCK)) == asked
    assert "onnxruntime-gpu 1.31.1" in CHAIN.read_text() and asked["onnxruntime-gpu"] == "1.31.1"
    bare = tmp_path / "bare.lock"
    bare.write_text("numpy==2.0.0\n")
    with pytest.raises(Refused, match="no hash"):
        gpu_libraries.locked(str(bare))


def test_every_library_that_the_runtime_looks_for_is_in_a_wheel_of_the_lock() -> None:
    code = CHAIN.read_text().split("#[cfg(test)]")[0]
    looked_for = set(re.findall(r'"(lib[\w.]+\.so[\d.]*)"', code)) - DRIVERS - set(TENSORRT_LIBRARIES)
    assert len(looked_for) > 15
    assert looked_for <= set(LIBRARIES), looked_for - set(LIBRARIES)
    assert set(LIBRARIES) - looked_for == {"libonnxruntime.so"}
    versions = gpu_libraries.locked(str(LOCK))
    for library, package in LIBRARIES.items():
        major = library.partition(".so.")[2]
        assert package in versions and versions[package].startswith(major), f"{library} in {package} {versions.get(package)}"
    assert f"driver, {gpu_libraries.DRIVER_MIN} or newer" in code


def test_wheels_become_one_directory_with_a_stamp_and_a_file_to_source(tmp_path: Path) -> None:
    into = tmp_path / "gpu"
    named = [name for name in LIBRARIES if name != "libonnxruntime.so"]
    gpu_libraries.unpack(str(wheels(tmp_path / "wheels", named)), str(into), str(LOCK))
    assert {file.name for file in into.iterdir()} == {*LIBRARIES, "env.sh", gpu_libraries.STAMP}
    assert (into / "libonnxruntime.so").read_text() == "versioned"
    assert gpu_libraries.is_current(str(into), str(LOCK))
    assert not list((tmp_path / "wheels").iterdir()), "each wheel is deleted when it is unpacked"
    script = f'. "{into}/env.sh"; echo "$EGOGRID_ORT_LIB $LD_LIBRARY_PATH"'
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"LD_LIBRARY_PATH": "/before"})
    assert shell.stdout.split() == [f"{into}/libonnxruntime.so", f"{into}:/before"]
    # Nothing to do the second time, even without a network.
    assert setup("--download-only", "--into", into).returncode == 0
    (into / "libcufft.so.12").unlink()
    assert not gpu_libraries.is_current(str(into), str(LOCK))


def test_wheels_that_lack_a_library_leave_nothing_behind(tmp_path: Path) -> None:
    named = [name for name in LIBRARIES if name not in ("libonnxruntime.so", "libcufft.so.12")]
    with pytest.raises(Refused, match=r"libcufft.so.12 \(nvidia-cufft\)"):
        gpu_libraries.unpack(str(wheels(tmp_path / "wheels", named)), str(tmp_path / "gpu"), str(LOCK))
    assert [file.name for file in tmp_path.iterdir()] == ["wheels"]


def test_tensorrt_is_linked_whole_and_refused_when_a_part_is_missing(tmp_path: Path) -> None:
    lib, into = tmp_path / "lib", tmp_path / "gpu"
    lib.mkdir(), into.mkdir()
    for name in (*TENSORRT_LIBRARIES, "libnvinfer_builder_resource.so.10.16.1", "libother.so.1"):
        (lib / name).write_text(name)
    for _ in range(2):
        gpu_libraries.link_tensorrt(str(lib), str(into))
        linked = {file.name for file in into.iterdir()}
        assert linked == {*TENSORRT_LIBRARIES, "libnvinfer_builder_resource.so.10.16.1"}
        assert (into / "libnvinfer.so.10").resolve() == lib / "libnvinfer.so.10"
    (lib / "libnvonnxparser.so.10").unlink()
    done = setup("--download-only", "--tensorrt", lib)
    assert done.returncode == 4 and "has no libnvonnxparser.so.10;" in done.stderr
