#!/usr/bin/env bash
# Writes launch/requirements.lock (exact versions with hashes) from launch/requirements.in.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet pip-tools
"$scratch/venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
    --no-emit-find-links --no-emit-trusted-host --no-header --output-file launch/requirements.lock launch/requirements.in
sed -i '1i # Made by launch/scripts/lock.sh from launch/requirements.in; do not edit.' launch/requirements.lock
