#!/usr/bin/env bash
# Runs the parts and prints a line for each check. Started by scripts/box.sh, in namespaces of its own.
# Functions and variables are those of all files together.
# shellcheck disable=SC2034,SC2317
set -euo pipefail
cd "$(dirname "$0")"

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

PASSED=0
FAILED=0
SKIPPED=0

# check WHAT COMMAND...: a line for it, and what the command said when it fails.
check() {
    local what=$1 log=$BOX_WORK/check.log
    shift
    if ("$@") > "$log" 2>&1; then
        PASSED=$((PASSED + 1))
        printf 'ok      %s\n' "$what"
    else
        FAILED=$((FAILED + 1))
        printf 'FAILED  %s: %s\n' "$what" "$*"
        tail -n 25 "$log" | sed 's/^/        | /'
    fi
}

skip() {
    SKIPPED=$((SKIPPED + 1))
    printf 'skipped %s: %s\n' "$1" "$2"
}

# code CODE COMMAND...: it ends with this exit code.
code() {
    local wanted=$1 got=0
    shift
    "$@" || got=$?
    [ "$got" = "$wanted" ] || { echo "exit code $got, not $wanted" && return 1; }
}

# eventually SECONDS COMMAND...: it succeeds within that time.
eventually() {
    local until=$((SECONDS + $1))
    shift
    while ! "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.2
    done
}

# says TEXT COMMAND...: its output holds this.
says() {
    local text=$1 output
    shift
    output=$("$@" 2>&1) || true
    printf '%s\n' "$output"
    [[ $output == *"$text"* ]]
}

# is_not COMMAND...: it fails.
is_not() { ! "$@"; }

# shellcheck source=tests/box/machine.sh
source ./machine.sh
# shellcheck source=tests/box/fleet.sh
source ./fleet.sh

parts=("$@")
[ $# -gt 0 ] || parts=(resources apt dnf drift lockout deb rpm)

network_up
for number in "${!NODES[@]}"; do
    machine_make "${NODES[$number]}" $((number + 2))
    machine_boot "${NODES[$number]}"
done
fleet_found > "$BOX_WORK/fleet.log" 2>&1 || fail "the fleet does not start: $(tail -n 5 "$BOX_WORK/fleet.log")"
for node in "${NODES[@]}"; do
    check "$node: enrolled, agent and steward run" node_start "$node"
done
[ "$FAILED" = 0 ] || fail "there is no fleet to configure"
for part in "${parts[@]}"; do
    printf -- '-- %s\n' "$part"
    # shellcheck source=/dev/null
    source "./part/$part.sh"
done
printf 'box: %d passed, %d failed, %d skipped, %d s\n' "$PASSED" "$FAILED" "$SKIPPED" "$SECONDS"
[ "$FAILED" != 0 ] || exit 0
for node in "${NODES[@]}"; do
    on "$node" journalctl -o short-precise > "$BOX_LOGS/$node.log" || true
done
printf 'box: journals of the machines are in %s\n' "$BOX_LOGS"
exit 1
