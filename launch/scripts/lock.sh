#!/usr/bin/env bash
# Writes the lock files (exact versions with hashes): launch/requirements.lock, and launch/requirements-gpu.lock, for which
# 1.6 GB are downloaded. With arguments only those, e.g. launch/scripts/lock.sh requirements-gpu
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet pip-tools
[ $# -gt 0 ] || set -- requirements requirements-gpu
for name in "$@"; do
    "$scratch/venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
        --no-emit-find-links --no-emit-trusted-host --no-header --output-file "$scratch/$name.lock" "launch/$name.in"
    { echo "# Made by launch/scripts/lock.sh from launch/$name.in; do not edit."; cat "$scratch/$name.lock"; } > "launch/$name.lock"
done
# Of the GPU's wheels only shared libraries are taken: what their Python code needs is left out.
if [[ " $* " == *" requirements-gpu "* ]]; then
    python3 launch/scripts/gpu_libraries.py only-named launch/requirements-gpu.in launch/requirements-gpu.lock
fi
