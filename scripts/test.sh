#!/usr/bin/env bash
# Every test: unit, structure, frames, simulation, end to end, documentation, scripts. Prints the totals last.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# step NAME COMMAND...: runs it, keeps its output for the totals, goes on when it fails.
step() {
    local name=$1
    shift
    say "$name"
    if ! "$@" 2>&1 | tee -a "$log"; then
        failed=1
        say "$name: failed"
    fi
}

# The end-to-end tests start the real programs. Built together with the tests, so that all share one set of
# features and nothing is compiled twice.
say "building"
cargo build --locked --workspace --lib --bins --tests

if cargo nextest --version > /dev/null 2>&1; then
    step "tests" cargo nextest run --locked --workspace
    step "documentation tests" cargo test --locked --workspace --doc
else
    # Includes the documentation tests.
    step "tests" cargo test --locked --workspace --no-fail-fast
fi
step "the page in a browser" scripts/browser.sh --if-present
# With the programs that the tests ran.
step "transport matrix, short form" env CAMPANILE_MATRIX_BIN="$TARGET_DIR/debug" scripts/matrix.sh --short --if-possible
step "a machine with its own kernel, short form" env PROGRAMS="$TARGET_DIR/debug" scripts/vm.sh --short --if-possible
if [ -x bench/run.sh ]; then
    step "bench harness" bench/run.sh --self-test
fi

# Lines of both runners:
#   test result: ok. 12 passed; 0 failed; 1 ignored; ...
#   Summary [   3.2s] 120 tests run: 119 passed (1 slow), 1 failed, 2 skipped
sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
    function count(word,    found) {
        found = match($0, "[0-9]+ " word)
        return found ? substr($0, RSTART, RLENGTH) + 0 : 0
    }
    /^test result:/ || /^ *Summary \[/ {
        passed += count("passed"); bad += count("failed") + count("timed out"); skipped += count("ignored") + count("skipped")
    }
    END { printf "totals: %d passed, %d failed, %d skipped\n", passed, bad, skipped; exit passed == 0 }'
exit "$failed"
