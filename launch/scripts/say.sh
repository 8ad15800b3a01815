# What every script in launch/ says and how it ends. Sourced.
set -euo pipefail

EGOGRID_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export EGOGRID_ROOT

say() { printf '\033[1megogrid\033[0m %s\n' "$*" >&2; }
die() { say "error: $1"; exit "${2:-4}"; }
