#!/usr/bin/env bash
# Writes every lock file (exact versions with hashes): launch/requirements.lock, launch/requirements-gpu.lock, for which 1.6 GB are
# downloaded, and those of simulators with an environment of their own. With arguments only those, e.g. launch/scripts/lock.sh launch/requirements-gpu
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet pip-tools
if [ $# -eq 0 ]; then
    inputs=(launch/requirements.in launch/requirements-gpu.in sim_bridge/simulators/*/requirements*.in)
    set -- "${inputs[@]%.in}"
fi
for name in "$@"; do
    "$scratch/venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
        --no-emit-find-links --no-emit-trusted-host --no-header --output-file "$scratch/made.lock" "$name.in"
    { echo "# Made by launch/scripts/lock.sh from $name.in; do not edit."; cat "$scratch/made.lock"; } > "$name.lock"
    rm "$scratch/made.lock"
done
# What these need is left out: of the GPU's wheels only shared libraries are taken, and a simulator's `requirements-nodeps.in` names what it
# can run without.
for name in "$@"; do
    case $name in *requirements-gpu | *-nodeps) python3 launch/scripts/gpu_libraries.py only-named "$name.in" "$name.lock" ;; esac
done
