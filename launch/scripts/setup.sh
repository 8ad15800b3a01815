#!/usr/bin/env bash
# Everything that ./launch/demo and ./launch/test need on a fresh Debian or Ubuntu machine with Rust and Python:
# system packages, the virtual environment from its lock file, the ONNX Runtime library. Each part is skipped when
# it is already there, so a second run sets nothing up again. Sourced: leaves the exports below in the shell.
. "$(dirname "${BASH_SOURCE[0]}")/say.sh"

export EGOGRID_PYTHON=$EGOGRID_ROOT/.venv/bin/python
export EGOGRID_ORT_LIB=$EGOGRID_ROOT/third_party/onnxruntime/libonnxruntime.so
# The simulator renders in software without a display.
export MUJOCO_GL=${MUJOCO_GL:-egl}
export PYTHONUNBUFFERED=1

need_tools() {
    command -v cargo >/dev/null || die "cargo not found, Rust 1.95 or newer is needed: https://rustup.rs"
    command -v python3 >/dev/null || die "python3 not found, Python 3.11 or newer is needed: apt-get install python3 python3-venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || die "$(python3 --version) found, Python 3.11 or newer is needed"
}

# Packages as "name:file that proves it is there".
system_packages() {
    local missing=() libraries
    libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
    [[ $libraries == *libEGL.so.1* ]] || missing+=(libegl1)
    [[ $libraries == *libGL.so.1* ]] || missing+=(libgl1)
    compgen -G '/usr/lib/*/dri/swrast_dri.so' >/dev/null || compgen -G '/usr/lib/*/libgallium*.so' >/dev/null \
        || missing+=(libgl1-mesa-dri libegl-mesa0)
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    [ ${#missing[@]} -eq 0 ] && return
    say "installing system packages: ${missing[*]}"
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    command -v apt-get >/dev/null || die "not a Debian or Ubuntu machine; install what provides: ${missing[*]}"
    "${sudo[@]}" apt-get update -qq && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null \
        || die "could not install ${missing[*]}; install them by hand and run again"
}

# An environment from its lock (and the `-nodeps.lock` beside it), with source folders of this checkout. The stamp holds where and what was
# installed: a moved checkout or a changed lock installs again, and an interrupted installation is not trusted.
environment_at() {
    local folder=$1 locks=("$2") lock want site
    [ -f "${2%.lock}-nodeps.lock" ] && locks+=("${2%.lock}-nodeps.lock")
    shift 2
    want=$(echo "$EGOGRID_ROOT $* $(cat "${locks[@]}" | sha256sum)")
    [ "$(cat "$folder/egogrid.stamp" 2>/dev/null)" = "$want" ] && return
    say "making the Python environment (${folder#"$EGOGRID_ROOT/"}), about a minute"
    python3 -m venv --clear "$folder"
    # A lock is whole: whatever is not in it was left out on purpose (`requirements-nodeps.in`).
    for lock in "${locks[@]}"; do
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: --no-deps -r "$lock" \
            || die "pip could not install ${lock#"$EGOGRID_ROOT/"}; see its message above"
    done
    site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf "$EGOGRID_ROOT/%s\n" "$@" > "$site/egogrid.pth"
    echo "$want" > "$folder/egogrid.stamp"
}

virtual_environment() {
    environment_at "$EGOGRID_ROOT/.venv" "$EGOGRID_ROOT/launch/requirements.lock" \
        policies/export/src policies/train/src sim_bridge/sim_worker/src sim_bridge/simulators/metaworld/src
}

# What a simulator needs that cannot live in the environment of the others: `.venv-NAME`.
simulator_environment() {
    local folder=$EGOGRID_ROOT/sim_bridge/simulators/$1
    [ -f "$folder/requirements.lock" ] || die "$1: no simulator with an environment of its own; see sim_bridge/simulators" 2
    environment_at "$EGOGRID_ROOT/.venv-$1" "$folder/requirements.lock" sim_bridge/sim_worker/src "sim_bridge/simulators/$1/src"
}

# The library comes out of the locked wheel: no second download, one version for Python and Rust.
onnx_runtime() {
    [ -e "$EGOGRID_ORT_LIB" ] && [ "$EGOGRID_ORT_LIB" -nt "$EGOGRID_ROOT/.venv/egogrid.stamp" ] && return
    local library
    library=$("$EGOGRID_PYTHON" -c 'import glob, pathlib, importlib.util as u
root = pathlib.Path(u.find_spec("onnxruntime").origin).parent
print(max(glob.glob(str(root / "capi" / "libonnxruntime.so.*"))))') || die "the onnxruntime wheel holds no libonnxruntime.so; delete .venv and run again"
    mkdir -p "$(dirname "$EGOGRID_ORT_LIB")"
    cp "$library" "$EGOGRID_ORT_LIB.part" && mv "$EGOGRID_ORT_LIB.part" "$EGOGRID_ORT_LIB"
}

# The release binary of a user. Only the first time is long, and only that one shows what it does.
build_egogrid() {
    local quiet=(--quiet)
    if [ ! -x "$EGOGRID_ROOT/target/release/egogrid" ]; then
        say "building egogrid; the first time this takes a while"
        quiet=()
    fi
    cargo build "${quiet[@]}" --release --locked --manifest-path "$EGOGRID_ROOT/Cargo.toml" -p egogrid-launch --bin egogrid
}

need_tools
system_packages
virtual_environment
onnx_runtime
