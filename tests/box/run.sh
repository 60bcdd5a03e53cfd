#!/usr/bin/env bash
# Runs the parts and prints a line for each check. Started by scripts/box.sh, in namespaces of its own.
# Functions and variables are those of all files together.
# shellcheck disable=SC2034,SC2317
set -euo pipefail
cd "$(dirname "$0")"

LOG=$BOX_WORK/check.log
# shellcheck source=tests/check.sh
source ../check.sh
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
