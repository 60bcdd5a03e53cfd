#!/usr/bin/env bash
# Our figures beside their budgets. Usage: bench/run.sh [--json FILE] [--only PART,...] [--seconds N] [--self-test]
# Builds release binaries into target/bench (CAMPANILE_BENCH_TARGET), starts fleets in a scratch folder, ends them.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

command -v python3 > /dev/null || fail "python3 is missing: install it (Debian: python3-minimal)"
case " $* " in
    *" --self-test "*) exec python3 -B -m unittest discover --start-directory bench --pattern 'test_*.py' ;;
    *" --help "* | *" -h "*) exec python3 -B bench/main.py --help ;;
esac

target="${CAMPANILE_BENCH_TARGET:-target/bench}"
mkdir -p "$target/bin"
target=$(cd "$target" && pwd)
build() {
    printf '== building: %s\n' "$*" >&2
    CARGO_TARGET_DIR="$target" cargo build --locked "$@"
}
build --profile release-agent -p campanile-agent --bins
build --release -p campanile-aggregator -p campanile-cli --bins
install -m 755 "$target/release-agent/campanile-agent" "$target/release/campanile-aggregator" \
    "$target/release/campanile" "$target/bin/"
build --release -p campanile-tests --bin swarm --bin envelope --bin manual --bin passage
install -m 755 "$target"/release/{swarm,envelope,manual,passage} "$target/bin/"
exec python3 -B bench/main.py --bin-dir "$target/bin" "$@"
