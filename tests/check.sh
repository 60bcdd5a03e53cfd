# Checks that print a line each and are counted. Sourced by the run.sh of machines (tests/box) and of a machine with a
# kernel of its own (tests/vm), which set LOG to a file that each check may overwrite.
# shellcheck shell=bash disable=SC2034,SC2154,SC2317

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

PASSED=0
FAILED=0
SKIPPED=0

# check WHAT COMMAND...: a line for it, and what the command said when it fails.
check() {
    local what=$1
    shift
    if ("$@") > "$LOG" 2>&1; then
        PASSED=$((PASSED + 1))
        printf 'ok      %s\n' "$what"
    else
        FAILED=$((FAILED + 1))
        printf 'FAILED  %s: %s\n' "$what" "$*"
        tail -n 25 "$LOG" | sed 's/^/        | /'
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

# is_online NODE: so says the aggregator.
is_online() { campanile node ls -o json | python3 -c '
import json, sys
sys.exit(not any(n["name"] == sys.argv[1] and n["liveness"] == "online" for n in json.load(sys.stdin)))' "$1"; }
