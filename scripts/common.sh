# Sourced by the other scripts.
# shellcheck shell=bash
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Programs that are fetched without being installed live here.
CAMPANILE_TOOLS="${CAMPANILE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/campanile/tools}"
export CAMPANILE_TOOLS
export PATH="$CAMPANILE_TOOLS/bin:$HOME/.cargo/bin:$PATH:/usr/sbin:/sbin"
TARGET_DIR="${CARGO_TARGET_DIR:-target}"
export TARGET_DIR

say() { printf '== %s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() { command -v "$1" > /dev/null 2>&1; }
