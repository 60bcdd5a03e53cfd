# The power fails in the middle of a backup: what was stored before can be restored, and the next run goes on.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016

stored_bytes() { du --summarize --bytes "$VM_WORK/aggregator/backup" 2> /dev/null | cut -f 1 || echo 0; }
stored_more() { [ "$(stored_bytes)" -gt "$1" ]; }
run_now() { campanile backup run vm; }
comes_back() {
    vm rm -rf /srv/back
    campanile restore vm /srv/data --to /srv/back && vm diff -r /srv/data /srv/back/srv/data
}

vm sh -c 'mkdir -p /srv/data && for i in $(seq 12); do head -c 1048576 /dev/urandom > /srv/data/$i; done; sync'
bundle << T
[backup.data]
paths = ["/srv/data"]
schedule = "@daily"
keep = { daily = 7 }
escrow = ["$(cat "$CAMPANILE_CONFIG_DIR/escrow.pub")"]
T
check 'a policy' apply
check 'a first snapshot' run_now
vm sh -c 'for i in $(seq 13 60); do head -c 1048576 /dev/urandom > /srv/data/$i; done; sync'
stored=$(stored_bytes)
(run_now > "$VM_WORK/run.log" 2>&1 || true) &
running=$!
check 'the next is being stored' eventually 120 stored_more $((stored + 6000000))
machine_cut
printf '        the power fails with %s of 48 MiB stored\n' "$((($(stored_bytes) - stored) / 1048576))"
machine_boot
check 'started again, the node is online' eventually 180 is_online vm
wait "$running"
check 'the run that was cut did not count as done' is_not grep -q ' ok ' "$VM_WORK/run.log"
check 'the next run saves all of it' eventually 120 run_now
check 'what is stored reads back' campanile backup check vm
check 'and comes back as it was' comes_back
check 'the node is well backed up' campanile backup status vm
