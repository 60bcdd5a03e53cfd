#!/usr/bin/env bash
# Runs the parts and prints a line for each check. Started by scripts/vm.sh, in namespaces of its own.
# Functions and variables are those of all files together.
# shellcheck disable=SC2034,SC2317
set -euo pipefail
cd "$(dirname "$0")"

LOG=$VM_WORK/check.log
# shellcheck source=tests/check.sh
source ../check.sh
# shellcheck source=tests/vm/machine.sh
source ./machine.sh
# shellcheck source=tests/vm/fleet.sh
source ./fleet.sh

# Every part goes on from the one before: the first installs.
parts=("$@")
[ $# -gt 0 ] || parts=(install limits absent apply backup)
[ "${parts[0]}" = install ] || parts=(install "${parts[@]}")

network_up
fleet_found > "$VM_WORK/fleet.log" 2>&1 || fail "the fleet does not start: $(tail -n 5 "$VM_WORK/fleet.log")"
machine_make
machine_boot
printf '        the machine answers %s s after its start\n' "$SECONDS"
for part in "${parts[@]}"; do
    printf -- '-- %s\n' "$part"
    # shellcheck source=/dev/null
    source "./part/$part.sh"
done
printf 'vm: %d passed, %d failed, %d skipped, %d s\n' "$PASSED" "$FAILED" "$SKIPPED" "$SECONDS"
[ "$FAILED" != 0 ] || exit 0
vm journalctl -o short-precise > "$VM_LOGS/journal" || true
cp "$VM_WORK/console" "$VM_WORK/aggregator.log" "$VM_LOGS" || true
printf 'vm: journal and console of the machine, and the log of the aggregator, are in %s\n' "$VM_LOGS"
exit 1
