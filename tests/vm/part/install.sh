# From packages to a node that is online, and what systemd accounts for then.
# What stands in single quotes is for the machine.
# shellcheck shell=bash disable=SC2016

seconds() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

install_packages() {
    local package
    for package in "$VM_PACKAGES"/campanile-agent_*.deb "$VM_PACKAGES"/campanile_*.deb; do
        vm_write "/srv/${package##*/}" < "$package"
    done
    began=$EPOCHREALTIME
    vm sh -c 'dpkg --install /srv/*.deb'
    echo "$began" > "$VM_WORK/began"
}
enrol() { campanile token create -l 'role=vm' --ttl 1h | vm campanile-agent enroll --token-file - --name vm; }

check 'installs' install_packages
vm sh -c 'printf "%s\n" "highest_tier = 2" "classes = [\"observe\", \"backup\", \"config\", \"command\", \"shell\"]" \
    "[limits]" "memory_bytes = 134217728" "cpu_percent = 50" "tasks = 64" > /etc/campanile/policy.toml'
check 'enrols' enrol
check 'starts' vm systemctl start campanile-agent
check 'online' eventually 120 is_online vm
printf '        installed, enrolled and online within %s s\n' "$(seconds "$(cat "$VM_WORK/began")")"
check 'an order wakes the steward' eventually 120 order true
check 'doctor finds nothing wrong' eventually 60 vm campanile-agent doctor

# A minute of nothing but being there.
used_before=$(property campanile-agent CPUUsageNSec)
measured_from=$EPOCHREALTIME
sleep 60
used_after=$(property campanile-agent CPUUsageNSec)
awk -v before="$used_before" -v after="$used_after" -v seconds="$(seconds "$measured_from")" 'BEGIN {
    printf "        campanile-agent: CPU %.2f %% of this emulated processor over %d s\n", (after - before) / seconds / 1e7, seconds }'

# accounted UNIT LIMIT: systemd accounts for its memory, which is beneath what the unit allows.
accounted() {
    local now peak limit
    now=$(property "$1" MemoryCurrent)
    limit=$(property "$1" MemoryMax)
    peak=$(vm cat "/sys/fs/cgroup/campanile.slice/$1.service/memory.peak")
    awk -v unit="$1" -v now="$now" -v peak="$peak" -v limit="$limit" 'BEGIN {
        printf "%s: memory %.1f MiB, at most %.1f MiB of %d MiB\n", unit, now / 2^20, peak / 2^20, limit / 2^20 }' |
        tee "$VM_WORK/accounted"
    [ "$now" -gt 0 ] && [ "$limit" = "$2" ] && [ "$peak" -le "$2" ]
}
check 'the memory of the agent is accounted for and within its limit' accounted campanile-agent $((64 * 1048576))
printf '        %s\n' "$(cat "$VM_WORK/accounted")"
check 'and that of the steward' accounted campanile-steward $((128 * 1048576))
printf '        %s\n' "$(cat "$VM_WORK/accounted")"
