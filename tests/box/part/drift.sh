# What another hand changes is told, and put right where the bundle says so.
# shellcheck shell=bash

drift_says() {
    local got=0
    campanile config drift > "$BOX_WORK/drift.log" 2>&1 || got=$?
    cat "$BOX_WORK/drift.log"
    [ "$got" = "$1" ] && { [ -z "${2:-}" ] || grep -qF -- "$2" "$BOX_WORK/drift.log"; }
}

bundle beta <<'T'
[file."/etc/reported"]
content = "ours\n"
[file."/etc/enforced"]
content = "ours\n"
on_drift = "enforce"
[sysctl."net.ipv4.ip_forward"]
value = "1"
T
check 'apply' apply
check 'nothing differs' drift_says 0
on beta sh -c 'echo theirs >> /etc/reported'
check 'a hand edit is told' eventually 20 drift_says 10 /etc/reported
on beta sysctl -q net.ipv4.ip_forward=0
check 'a kernel parameter set by hand is told' eventually 30 drift_says 10 net.ipv4.ip_forward
on beta sh -c 'echo theirs > /etc/enforced'
check 'what is enforced is put right' eventually 30 says ours on beta cat /etc/enforced
check 'an apply puts all right' apply
check 'nothing differs afterwards' eventually 20 drift_says 0
