# What is limited stays within, and what runs out of memory comes back.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016

restarts() { property campanile-agent NRestarts; }
restarted() { [ "$(restarts)" -gt "$1" ]; }
agent_group=/sys/fs/cgroup/campanile.slice/campanile-agent.service

# hog: something in the agent's group that takes all the memory it can have.
hog() { vm sh -c "echo \$\$ > $agent_group/cgroup.procs && exec tail /dev/zero"; }

before=$(restarts)
check 'what takes more than the agent may have is killed' is_not hog
check 'by the kernel, for want of memory' eventually 60 says 'oom-kill' vm journalctl -u campanile-agent -o cat
check 'systemd starts the agent again' eventually 120 restarted "$before"
check 'and it is online' eventually 180 is_online vm
check 'the machine itself never ran out' is_not says 'Out of memory: Killed' vm journalctl -k -o cat

check 'an order that takes more memory than the policy allows fails' code 3 order tail /dev/zero
check 'and the next one runs' order true
check 'the agent was not touched' is_online vm

# Ten seconds of a loop get five of the processor.
spin='t=$SECONDS; while [ $((SECONDS - t)) -lt 10 ]; do :; done; read -r _ _ _ _ _ _ _ _ _ _ _ _ _ user system _ < /proc/$$/stat; echo "ticks $((user + system))"'
within_half() {
    local said ticks
    said=$(order bash -c "$spin")
    echo "$said"
    ticks=$(sed -n 's/.*ticks \([0-9]*\).*/\1/p' <<< "$said" | head -n 1)
    echo "$ticks" > "$VM_WORK/ticks"
    [ "$ticks" -gt 200 ] && [ "$ticks" -lt 650 ]
}
check 'an order has half of a processor, as the policy says' within_half
printf '        %s of 10 s\n' "$(awk '{ printf "%.1f s", $1 / 100 }' "$VM_WORK/ticks")"
check 'and no more processes than it says' says 'fork' order bash -c 'for i in $(seq 100); do sleep 20 & done; wait'
check 'the node is online after all that' eventually 60 is_online vm
