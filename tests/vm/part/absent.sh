# The power fails while the aggregator is away: the node starts without it, and nothing of that time is lost.
# shellcheck shell=bash

active() { [ "$(vm systemctl is-active campanile-agent || true)" = active ]; }
spooled() { vm sh -c 'find /var/lib/campanile/agent/spool -type f -size +0 | grep -q .'; }

# drained: of the run that began without an aggregator at least so many samples are here, and the few that a slow machine
# never took are counted.
drained() {
    curl --silent --fail --cacert "$CAMPANILE_CA" --header "Authorization: Bearer $CAMPANILE_TOKEN" \
        "$CAMPANILE_URL/api/v1/nodes/vm/coverage" | python3 -c '
import json, sys
run = json.load(sys.stdin)["runs"][-1]
print(run)
sys.exit(not (run["received"] >= int(sys.argv[1]) and run["missing"] == 0 and run["gaps"] * 10 < run["received"]))' "$1"
}

aggregator_stop
machine_cut
machine_boot
check 'without an aggregator the agent is active' eventually 120 active
check 'and keeps its samples' eventually 60 spooled
sleep 20
check 'it stays active' active
aggregator_start > "$VM_WORK/start.log" 2>&1 || fail 'the aggregator does not start again'
began=$EPOCHREALTIME
check 'the aggregator is back: the node is online' eventually 180 is_online vm
printf '        online %s s after the aggregator\n' "$(seconds "$began")"
check 'every sample of the time without it is there or counted' eventually 120 drained 15
check 'and orders run' eventually 60 order true
